"""Where results go: label maps, the overlay video, the summary.

Each sink is a stage over (frame, masks) pairs that hands them on, so that sinks can be chained.
"""

from vos.sink.label_pngs import write_label_pngs
from vos.sink.overlay import draw_overlay, write_overlay
from vos.sink.summary import write_summary
from vos.sink.video import write_video

__all__ = ["draw_overlay", "write_label_pngs", "write_overlay", "write_summary", "write_video"]
