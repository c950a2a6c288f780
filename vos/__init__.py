"""Video object segmentation for people who have a video and one mask.

The data flow, one package per stage::

    source   path or stream      -> Frame          decode
    track    Frame               -> FrameMasks     find every object, by one of several methods
    sink     (Frame, FrameMasks) -> files          label maps, overlay video, summary
    score    label maps          -> Evaluation     DAVIS J&F
    export   results             -> files          what editors, annotators and trainers open

``sam`` is the model behind two calls, pictures to features and prompts to masks, which ``track``
makes, unless the method has a network of its own. ``segment`` wires source and track, ``run`` what
a user wants and the files on disk, ``sets`` whole data sets; ``cli`` is the command line. Each
stage is a plain function or generator over the frozen records of ``records``. Names below load what
they need on first use, so that importing vos costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vos.config import AbsenceConfig as AbsenceConfig
    from vos.config import Cutie as Cutie
    from vos.config import Features as Features
    from vos.config import FitConfig as FitConfig
    from vos.config import Memory as Memory
    from vos.config import Persam as Persam
    from vos.config import PersamF as PersamF
    from vos.config import RunConfig as RunConfig
    from vos.config import Sam2 as Sam2
    from vos.errors import VosError as VosError
    from vos.hint import Click as Click
    from vos.hint import Hint as Hint
    from vos.masks import read_mask as read_mask
    from vos.records import Frame as Frame
    from vos.records import FrameMasks as FrameMasks
    from vos.run.job import Absence as Absence
    from vos.run.job import Job as Job
    from vos.run.job import JobOutputs as JobOutputs
    from vos.run.job import ModelChoice as ModelChoice
    from vos.run.read_results import ResultFrame as ResultFrame
    from vos.run.read_results import Results as Results
    from vos.run.read_results import read_results as read_results
    from vos.run.references import Reference as Reference
    from vos.run.run_job import JobResult as JobResult
    from vos.run.run_job import run_job as run_job
    from vos.sam.fast.allocator import keep_freed_memory as keep_freed_memory
    from vos.sam.load import load_sam as load_sam
    from vos.sam.model import SamModel as SamModel
    from vos.score import evaluate as evaluate
    from vos.score import evaluate_images as evaluate_images
    from vos.segment.forward import segment_images as segment_images
    from vos.segment.forward import segment_video as segment_video
    from vos.source import Selection as Selection
    from vos.source import frames_from_arrays as frames_from_arrays
    from vos.source import open_source as open_source
    from vos.track.hints import mask_from_hints as mask_from_hints
    from vos.track.hints import reference_from_hints as reference_from_hints
    from vos.track.method import load_network as load_network

__version__ = "0.2.0"

_HOMES = {
    "Absence": "vos.run.job",
    "AbsenceConfig": "vos.config",
    "Click": "vos.hint",
    "Cutie": "vos.config",
    "Features": "vos.config",
    "FitConfig": "vos.config",
    "Frame": "vos.records",
    "FrameMasks": "vos.records",
    "Hint": "vos.hint",
    "Job": "vos.run.job",
    "JobOutputs": "vos.run.job",
    "JobResult": "vos.run.run_job",
    "Memory": "vos.config",
    "ModelChoice": "vos.run.job",
    "Persam": "vos.config",
    "PersamF": "vos.config",
    "Reference": "vos.run.references",
    "ResultFrame": "vos.run.read_results",
    "Results": "vos.run.read_results",
    "RunConfig": "vos.config",
    "Sam2": "vos.config",
    "SamModel": "vos.sam.model",
    "Selection": "vos.source",
    "VosError": "vos.errors",
    "evaluate": "vos.score",
    "evaluate_images": "vos.score",
    "frames_from_arrays": "vos.source",
    "keep_freed_memory": "vos.sam.fast.allocator",
    "load_network": "vos.track.method",
    "load_sam": "vos.sam.load",
    "mask_from_hints": "vos.track.hints",
    "open_source": "vos.source",
    "read_mask": "vos.masks",
    "read_results": "vos.run.read_results",
    "reference_from_hints": "vos.track.hints",
    "run_job": "vos.run.run_job",
    "segment_images": "vos.segment.forward",
    "segment_video": "vos.segment.forward",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Load a public name from its home on first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'vos' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
