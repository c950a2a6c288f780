"""A job's label maps in one file, as webdataset reads it, instead of a file for each frame."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from vos.files import refusals


def pack_tar(folder: Path, name: str) -> None:
    """Replace a job's label maps by a tar archive.

    ``name.tar`` holds for each frame ``name/frame.png``, its label map, ``name/frame.json``, its
    entry in the summary, and ``name/frame.edges.npz`` where there are soft edges; so webdataset
    takes each frame for a sample.
    Dots in a frame's name become underscores, for there webdataset would split it. The same results
    give the same bytes.

    Args:
        folder: Holds the results; ``name/`` goes, and ``name.tar`` comes.
        name: Name of the results.

    Raises:
        OutputError: the disk refuses.
    """
    with refusals(f"pack {folder / name}", ValueError, LookupError):
        summary = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        with tarfile.open(folder / f"{name}.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            for frame in summary["frames"]:
                key = f"{name.replace('.', '_')}/{frame['name'].replace('.', '_')}"
                _add(tar, f"{key}.json", json.dumps(frame).encode())
                for ending, file in (("png", "label_map"), ("edges.npz", "soft_edges")):
                    if file in frame:
                        path = folder / frame[file]
                        _add(tar, f"{key}.{ending}", path.read_bytes())
                        path.unlink()
        for each in (folder / name, folder / f"{name}.edges"):
            if each.is_dir():
                each.rmdir()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
