"""Where results go: label maps, the overlay video, the summary.

In flow pairs of a frame and its masks, out flow the same pairs, one by one: each sink is a
generator that writes and hands on, so that sinks can be chained. There is one way of writing: what
a sink leaves on the disk after each frame is enough to go on from there in another run, with the
same bytes in the end.

    label_pngs   a palette PNG for each frame
    overlay      the frames with the masks painted over them (draw), as H.264 in pieces (video,
                 pieces) that are joined in the end, with the source's sound (joining)
    summary      a JSON document, a line for each frame, and what became of each object (tallies)
    pictures     overlays and training sets of single pictures
    sheet        several pictures in one, each with a line of text
"""

from vos.sink.draw import draw_overlay
from vos.sink.label_pngs import write_label_pngs
from vos.sink.overlay import write_overlay
from vos.sink.pieces import write_video
from vos.sink.summary import write_summary

__all__ = ["draw_overlay", "write_label_pngs", "write_overlay", "write_summary", "write_video"]
