"""Imported by the server that forks runs: what a run imports and sets up late is there already."""

import contextlib
import gc
import io
import os
import tempfile
from pathlib import Path

from interrupted_runs import OPTIONS, make_clip, shell

_before = Path.cwd()
with tempfile.TemporaryDirectory() as _folder, contextlib.redirect_stdout(io.StringIO()):
    os.chdir(_folder)
    make_clip(Path(_folder), 4)
    shell("clip.mp4", *OPTIONS)
    shell("clip.mp4", *OPTIONS, "--published", "--fit-steps", 1, "--overwrite")
    os.chdir(_before)
# A frame and its side data hold each other. A forked process that frees them waits for ever for a
# thread of the decoder, which it does not have.
gc.collect()
