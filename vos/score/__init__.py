"""Scores of masks: DAVIS' J and F for videos, IoU for sets of images."""

from vos.score.davis import evaluate

__all__ = ["evaluate"]
