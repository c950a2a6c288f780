"""Where to look: the frames of finished results whose masks are most likely wrong.

In flow results, as :func:`vos.read_results` gives them; out flow stretches of frames, worst first,
each with its object and a reason.

    risk     how likely each object's mask is wrong in each frame, from the summary alone
    doubts   stretches of frames that are likely wrong, and why
    sheet    pictures of them
"""

from vos.review.doubts import Doubt, find_doubtful

__all__ = ["Doubt", "find_doubtful"]
