"""``python -m vos``, the same as ``vos``."""

from vos.cli import main

main()
