"""Cutie (arXiv 2310.12982), by the package rf-cutie: frames and reference masks to masks.

``network`` builds it without what its own helpers load, and does one frame at a time; ``memory`` is
what one frame hands to the next, of fixed size: keys and values of the references and of the last
remembered frames, and of each object a summary and its sensory memory.
"""
