"""SAM 2.1 (arXiv 2408.00714), by the package transformers: frames and reference masks to masks.

``network`` does one frame at a time with a session that it builds from ``memory``: what SAM 2.1
remembers of the references and of as many frames as it compares with, and nothing older.
``checkpoint`` reads the files that Meta publishes, whose weights have other names.
"""
