"""Scores of masks: DAVIS' J and F for videos, IoU for sets of images."""

from vos.score.evaluate import available_cores, evaluate
