"""OpenEXR: a float channel for each object."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from vos.errors import InputError
from vos.export.clip import Clip, ExportFrame, object_stem
from vos.export.journal import ExportFiles
from vos.files import whole_file


def check_openexr(_: Clip) -> None:
    """Make sure that OpenEXR is there.

    Raises:
        InputError: it is not installed.
    """
    try:
        import OpenEXR  # noqa: F401
    except ImportError as error:
        raise InputError(
            "the format exr needs the package OpenEXR: pip install 'vos-persam[export]'"
        ) from error


def write_exr(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles
) -> Generator[ExportFrame, None, None]:
    """Write ``name/name.0001.exr``, scan lines with ZIP compression.

    Channels are 32 bit floats in [0, 1], one for each object, such as ``object_1.A``; ``A`` is all
    objects together.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk refuses.
    """
    import OpenEXR

    names = {
        object_id: f"{object_stem(clip.results.names[object_id], object_id)}.A"
        for object_id in clip.results.object_ids
    }
    for frame in frames:
        path = files.claim(*clip.sequence_parts(frame.number, None, ".exr"))
        if path is not None:
            channels = {name: frame.alpha(object_id) for object_id, name in names.items()}
            channels["A"] = frame.alpha()
            # A new one for each file: OpenEXR adds to the header that it is given.
            header = {
                "compression": OpenEXR.ZIP_COMPRESSION,
                "type": OpenEXR.scanlineimage,
                "pixelAspectRatio": float(clip.pixel_aspect),
            }
            with whole_file(path, RuntimeError) as unfinished:
                OpenEXR.File(header, channels).write(str(unfinished))
        yield frame
