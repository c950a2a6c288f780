"""Settings, as frozen dataclasses that check themselves."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final, Literal, get_args

from vos.errors import InputError

PriorPolicy = Literal["none", "box", "memory"]
"""What carries over from frame to frame: nothing; the previous box and its centre, as published;
or remembered cells of the reference and of the last frames (docs/tracking.md)."""

PRIOR_POLICIES: Final[tuple[str, ...]] = get_args(PriorPolicy)

Method = Literal["persam_f", "persam"]
"""How SAM is personalised: with two fitted weights per object, or without any training."""

METHODS: Final[tuple[str, ...]] = get_args(Method)

SkipPadding = Literal["none", "decoder", "all"]
"""What of a model leaves out most of the padding: nothing, the mask decoder, or the image encoder
as well."""

SKIP_PADDING: Final[tuple[str, ...]] = get_args(SkipPadding)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """Schedule of the two-parameter scale fit (arXiv 2305.03048, 3.3).

    Attributes:
        num_steps: AdamW steps on a cosine schedule.
        learning_rate: Step size at the start of the schedule.
        box_prompt: Whether the object's own box and its centre are prompts of the fit, beside the
            similarity maximum.
    """

    num_steps: int = 800
    learning_rate: float = 4e-4
    box_prompt: bool = True

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: fewer than 0 steps or a learning rate that is not positive.
        """
        if self.num_steps < 0:
            raise InputError(f"num_steps must be 0 or more, got {self.num_steps}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate must be positive, got {self.learning_rate}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsenceConfig:
    """When an object counts as lost, and when as found again.

    Evidence is compared with what the object itself gave on its reference frame, so that one
    setting serves models whose similarities and predicted IoUs live on different scales.

    Each threshold is a share of the reference's value. A return needs more than a continuation,
    because a wrong return costs the whole rest of the video. The shares were set from the spread
    seen on real video with the first weights of the embedded model: while an object was followed,
    occlusions included, its similarity peak stayed at 0.8 of the reference's or more and its
    predicted IoU above 0.3.

    Attributes:
        lose_similarity_ratio: Below this similarity peak an object counts as lost.
        lose_iou_ratio: Below this predicted IoU an object counts as lost.
        return_similarity_ratio: A lost object needs this similarity peak,
        return_iou_ratio: and this predicted IoU, to be taken up again.
    """

    lose_similarity_ratio: float = 0.6
    lose_iou_ratio: float = 0.25
    return_similarity_ratio: float = 0.8
    return_iou_ratio: float = 0.75

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: a share outside [0, 1].
        """
        for each in fields(self):
            share = getattr(self, each.name)
            if not 0 <= share <= 1:
                raise InputError(f"{each.name} must be within [0, 1], got {share}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryConfig:
    """How the ``memory`` prior follows an object (docs/tracking.md has what each part is worth).

    Attributes:
        context: Side of the window that is looked at, over the longer side of the object's box;
            None always looks at the whole frame.
        min_window_share: Least side of the window, over the frame's longer side.
        max_crops: Windows per frame; more objects share them. Bounds the time per frame.
        num_recent: Frames remembered beside the references.
        pixel_head: Whether a pixel classifier fitted to the reference makes the final mask; else
            it is SAM's own of highest predicted IoU.
        colours: Whether that classifier sees the object's colours.
        thin_parts: Whether an object too thin for the decoder's pixels gets a second classifier,
            of the frame's pixels.
        likely_parts: Whether connected parts of a mask are dropped with which it would be larger
            than the object can have become.
        contests: Whether objects in sight close their places to lost ones, and pixels that several
            objects want about equally say nothing of where any of them is.
        lose_likeness: Below this likeness to its references a followed object counts as lost.
        return_likeness: A lost object needs this likeness to be taken up again.
    """

    context: float | None = 1.8
    min_window_share: float = 0.15
    max_crops: int = 3
    num_recent: int = 3
    pixel_head: bool = True
    colours: bool = True
    thin_parts: bool = True
    likely_parts: bool = True
    contests: bool = True
    lose_likeness: float = 0.6
    return_likeness: float = 0.75

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: a context below 1, a share outside [0, 1], or a number out of range.
        """
        if self.context is not None and not self.context >= 1:
            raise InputError(f"context must be 1 or more, or None, got {self.context}")
        for name in ("min_window_share", "lose_likeness", "return_likeness"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise InputError(f"{name} must be within [0, 1], got {share}")
        if self.max_crops < 1:
            raise InputError(f"max_crops must be 1 or more, got {self.max_crops}")
        if self.num_recent < 0:
            raise InputError(f"num_recent must be 0 or more, got {self.num_recent}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """How a video or a set of images is segmented.

    Attributes:
        method: PerSAM-F, or training-free PerSAM.
        prior: What carries over from the previous frame; images have none.
        box_margin_px: Frame pixels by which a mask's box grows before it becomes a prompt.
        fit: Schedule of the scale fit; PerSAM has none.
        min_cell_coverage: A feature cell of a reference is the object's above this share of it;
            None takes the published value of the method.
        absence: Tests for loss and return of the priors ``none`` and ``box``; None keeps only the
            published behaviour, in which nothing but an empty mask makes an object lost.
        memory: Settings of the prior ``memory``.
        connected: Whether a mask found in a picture is reduced to its connected part at the
            similarity peak; always so where an object is searched several times.
        instance_similarity_ratio: In a picture where an object is searched several times, a
            further instance needs this share of the first one's similarity peak.
        batch_size: Frames encoded together; None lets the device decide. No mask depends on it.
        num_read_ahead: Frames decoded in advance by a thread; 0 decodes in the caller's own.
    """

    method: Method = "persam_f"
    prior: PriorPolicy = "memory"
    box_margin_px: int = 10
    fit: FitConfig = field(default_factory=FitConfig)
    min_cell_coverage: float | None = None
    absence: AbsenceConfig | None = field(default_factory=AbsenceConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    connected: bool = False
    instance_similarity_ratio: float = 0.8
    batch_size: int | None = None
    num_read_ahead: int = 8

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: an unknown method or prior, a negative number of pixels or frames, a share
                outside [0, 1), or a batch size below 1.
        """
        if self.method not in METHODS:
            raise InputError(f"method must be one of {', '.join(METHODS)}, got {self.method}")
        if self.prior not in PRIOR_POLICIES:
            raise InputError(f"prior must be one of {', '.join(PRIOR_POLICIES)}, got {self.prior}")
        if self.prior == "memory" and self.method != "persam_f":
            raise InputError(
                f"the prior memory fits a classifier, which the method {self.method} does without; "
                "take the prior box or none"
            )
        if self.box_margin_px < 0:
            raise InputError(f"box_margin_px must be 0 or more, got {self.box_margin_px}")
        if self.min_cell_coverage is not None and not 0 <= self.min_cell_coverage < 1:
            raise InputError(
                f"min_cell_coverage must be within [0, 1), got {self.min_cell_coverage}"
            )
        if not 0 <= self.instance_similarity_ratio <= 1:
            raise InputError(
                "instance_similarity_ratio must be within [0, 1], "
                f"got {self.instance_similarity_ratio}"
            )
        if self.num_read_ahead < 0:
            raise InputError(f"num_read_ahead must be 0 or more, got {self.num_read_ahead}")
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"batch_size must be 1 or more, got {self.batch_size}")

    @classmethod
    def published(cls) -> RunConfig:
        """Give the method exactly as published: box prior, only an empty mask means absence."""
        return cls(prior="box", absence=None)

    @classmethod
    def for_images(cls, method: Method = "persam_f") -> RunConfig:
        """Give the settings of sets of images as published: no box prompts, a longer fit.

        An object is taken to be in every picture, as it is published; set ``absence`` where
        pictures may lack it.
        """
        return cls(
            method=method,
            prior="none",
            fit=FitConfig(num_steps=1000, learning_rate=1e-3, box_prompt=False),
            min_cell_coverage=123.675 / 255,
            absence=None,
        )
