"""CVAT for images 1.1: masks as runs inside their box.

Never CVAT for video: its importer keeps one mask of a track.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from xml.sax.saxutils import escape, quoteattr

from vos.export.clip import Clip, ExportFrame
from vos.export.journal import ExportFiles
from vos.export.pictures import save_image
from vos.export.runs import runs_of
from vos.files import whole_file


def write_cvat(
    frames: Iterator[ExportFrame], clip: Clip, files: ExportFiles
) -> Generator[ExportFrame, None, None]:
    """Write ``name/annotations.xml`` and ``name/images/*.jpg`` while frames pass by.

    An image's ``id`` is the frame's index in the source, so that annotations find their frames in
    a task that was made of the video itself.

    Yields:
        The same frames.

    Raises:
        OutputError: the disk refuses.
    """
    path = files.claim(clip.name, "annotations.xml")
    if path is None:  # it is written last, so the images are there too
        yield from frames
        return
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        labels = "".join(
            f"<label><name>{escape(name)}</name><type>mask</type><attributes/></label>\n"
            for name in clip.categories
        )
        file.write(
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
            f"<meta><task><name>{escape(clip.name)}</name><size>{clip.num_frames}</size>"
            f"<mode>annotation</mode><labels>\n{labels}</labels></task></meta>\n"
        )
        for frame in frames:
            name = f"{frame.result.name}.jpg"
            save_image(frame, clip, files, clip.name, "images", name)
            height, width = frame.masks.labels.shape
            file.write(
                f'<image id="{frame.result.index}" name={quoteattr(name)} width="{width}" '
                f'height="{height}">\n'
            )
            for object_id, _, mask, box_xyxy, _ in frame.present():
                x0, y0, x1, y1 = box_xyxy.tolist()
                runs = runs_of(mask[y0 : y1 + 1, x0 : x1 + 1])
                file.write(
                    f'<mask label={quoteattr(clip.results.names[object_id])} source="auto" '
                    f'occluded="0" rle="{", ".join(map(str, runs))}" left="{x0}" top="{y0}" '
                    f'width="{x1 - x0 + 1}" height="{y1 - y0 + 1}" z_order="0"></mask>\n'
                )
            file.write("</image>\n")
            yield frame
        file.write("</annotations>\n")
