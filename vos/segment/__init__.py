"""One pass: frames and reference masks in, frames with their masks out."""
