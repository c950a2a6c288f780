"""Clips of moving shapes with exact masks."""

from vos.synthetic.config import ClipConfig
from vos.synthetic.scene import Scene, make_clip

__all__ = ["ClipConfig", "Scene", "make_clip"]
