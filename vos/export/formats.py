"""The table of formats."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from vos.errors import InputError
from vos.export.alpha_video import FFV1, PRORES, VP9, write_alpha_video
from vos.export.animation import APNG, GIF, check_gif, write_animation
from vos.export.clip import Clip, ExportFrame, ExportOptions, check_video, warn_of_pixel_shape
from vos.export.coco import write_coco
from vos.export.cutout import check_cutout, write_cutout
from vos.export.cvat import write_cvat
from vos.export.exr import check_openexr, write_exr
from vos.export.journal import ExportFiles
from vos.export.label_studio import write_label_studio
from vos.export.matte import check_h264, write_matte, write_matte_video
from vos.export.npz import write_npz
from vos.export.rgba import write_rgba
from vos.export.sav import write_sav
from vos.export.sheet import write_sheet
from vos.export.timeline import write_timeline
from vos.export.webp import check_webp, write_webp
from vos.export.yolo import warn_of_specks, write_yolo
from vos.export.youtube_vis import write_youtube_vis

Write = Callable[[Iterator[ExportFrame], Clip, ExportFiles], Generator[ExportFrame, None, None]]
Check = Callable[[Clip], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFormat:
    """One format.

    Attributes:
        write: Writes files while frames pass by, and hands them on.
        check: Raises InputError if the format cannot hold the clip, before the first frame.
        pixels: Whether it reads the source: ``always``, ``never``, or for ``images`` beside it.
    """

    write: Write
    check: Check = lambda _: None
    pixels: Literal["always", "never", "images"] = "always"

    def needs_pixels(self, options: ExportOptions) -> bool:
        """Whether the source is read with these options."""
        return self.pixels == "always" or (self.pixels == "images" and options.images)


FORMATS: Final[dict[str, ExportFormat]] = {
    "coco": ExportFormat(write=write_coco, pixels="images"),
    "youtube-vis": ExportFormat(write=write_youtube_vis, check=check_video, pixels="images"),
    "npz": ExportFormat(write=write_npz, check=check_video, pixels="never"),
    "sav": ExportFormat(write=write_sav, pixels="never"),
    "yolo": ExportFormat(write=write_yolo, check=warn_of_specks, pixels="images"),
    "cvat": ExportFormat(write=write_cvat, pixels="images"),
    "label-studio": ExportFormat(write=write_label_studio, pixels="images"),
    "matte": ExportFormat(
        write=write_matte, check=partial(warn_of_pixel_shape, name="matte"), pixels="never"
    ),
    "matte-mp4": ExportFormat(write=write_matte_video, check=check_h264),
    "rgba": ExportFormat(write=write_rgba, check=partial(warn_of_pixel_shape, name="rgba")),
    "exr": ExportFormat(write=write_exr, check=check_openexr, pixels="never"),
    "prores": ExportFormat(write=partial(write_alpha_video, kind=PRORES), check=PRORES.check),
    "vp9": ExportFormat(write=partial(write_alpha_video, kind=VP9), check=VP9.check),
    "ffv1": ExportFormat(write=partial(write_alpha_video, kind=FFV1), check=FFV1.check),
    "webp": ExportFormat(write=write_webp, check=check_webp),
    "gif": ExportFormat(write=partial(write_animation, kind=GIF), check=check_gif),
    "apng": ExportFormat(write=partial(write_animation, kind=APNG), check=APNG.check),
    "cutout": ExportFormat(write=write_cutout, check=check_cutout),
    "sheet": ExportFormat(write=write_sheet),
    "timeline": ExportFormat(write=write_timeline, check=check_video, pixels="never"),
}


def find_format(name: str) -> ExportFormat:
    """Find a format by its name.

    Raises:
        InputError: there is none of this name.
    """
    if name not in FORMATS:
        raise InputError(f"there is no export format {name}; choose one of {', '.join(FORMATS)}")
    return FORMATS[name]
