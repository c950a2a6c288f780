"""NumPy: one compressed file with the frames, times, ids, scores and label maps of a video."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos.export.clip import Clip, ExportFrame
from vos.export.journal import ExportFiles
from vos.files import whole_file


def write_npz(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles
) -> Generator[ExportFrame, None, None]:
    """Write ``name.npz`` while frames pass by.

    It holds ``labels`` (N, H, W) uint8, ``indices`` (N,) int64, ``pts_seconds`` (N,) float64,
    ``frame_names`` (N,), ``object_ids`` (K,) int64, ``names`` (K,), ``scores`` (N, K) float32,
    ``present`` (N, K) bool, ``areas_px`` (N, K) int64 and ``boxes_xyxy`` (N, K, 4) int64.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk refuses.
    """
    path = files.claim(f"{clip.name}.npz")
    if path is None:
        yield from frames
        return
    results = clip.results
    num_objects = len(results.object_ids)
    tables: dict[str, NDArray[Any]] = {
        "scores": np.zeros((clip.num_frames, num_objects), np.float32),
        "areas_px": np.zeros((clip.num_frames, num_objects), np.int64),
        "boxes_xyxy": np.zeros((clip.num_frames, num_objects, 4), np.int64),
    }
    with (
        whole_file(path) as unfinished,
        zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        with archive.open("labels.npy", "w", force_zip64=True) as file:
            header = {
                "descr": "|u1",
                "fortran_order": False,
                "shape": (clip.num_frames, *(results.frame_hw or ())),
            }
            buffer = io.BytesIO()
            np.lib.format.write_array_header_1_0(buffer, header)
            file.write(buffer.getvalue())
            for frame in frames:
                file.write(np.ascontiguousarray(frame.masks.labels).tobytes())
                tables["scores"][frame.number] = frame.masks.scores
                tables["areas_px"][frame.number] = frame.masks.areas_px
                tables["boxes_xyxy"][frame.number] = frame.masks.boxes_xyxy
                yield frame
        columns: dict[str, NDArray[Any]] = {
            "indices": np.array([each.index for each in results.frames], np.int64),
            "pts_seconds": np.array([each.pts_seconds for each in results.frames]),
            "frame_names": np.array([each.name for each in results.frames], str),
            "object_ids": np.array(results.object_ids, np.int64),
            "names": np.array([results.names[each] for each in results.object_ids], str),
            "present": tables["areas_px"] > 0,
        }
        for name, values in (tables | columns).items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
