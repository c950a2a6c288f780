"""Passes through a video: who is tracked where (plan); frames in, frames with their masks out."""
