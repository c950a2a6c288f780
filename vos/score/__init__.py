"""Scores of masks: DAVIS' J and F for videos, IoU for sets of images."""

from vos.score.davis import evaluate
from vos.score.images import evaluate_images

__all__ = ["evaluate", "evaluate_images"]
