"""How good masks are: folders of annotations and of results go in, figures come out.

``find_pairs`` (in ``pairs``) tells which result belongs to which annotation. ``evaluate`` (``jf``)
reads each pair, brings its values to object ids (``labels``), takes J and F (``measures``) and
gives an ``Evaluation`` (``scores``): figures per frame, object and sequence, and what was left out
(``problems``). ``evaluate_images`` (``iou``) gives IoU and boundary IoU of sets of images.
``report`` writes an ``Evaluation`` to files.
"""

from vos.score.iou import evaluate_images
from vos.score.jf import evaluate

__all__ = ["evaluate", "evaluate_images"]
