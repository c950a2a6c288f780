"""Settings, as frozen dataclasses that check themselves."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import ClassVar, Final, Literal, get_args

from vos.errors import InputError

Prior = Literal["none", "box"]
"""What PerSAM and PerSAM-F carry from frame to frame: nothing, or the previous box and its centre,
as published."""

PRIORS: Final[tuple[str, ...]] = get_args(Prior)

STRICT: Final = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
"""How pydantic reads these settings from JSON, for a job."""

_COVERAGE_OF_VIDEOS: Final = 123.675 / 215
_COVERAGE_OF_IMAGES: Final = 123.675 / 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Features of another model that the methods compare cells by, beside SAM's own.

    Attributes:
        name: A registered model of features, such as ``dinov2-small``.
        weight: Share of its cosine similarity, in (0, 1]; the rest is that of SAM's features.
        checkpoint: Weights of that model instead of the registered ones, or None.
    """

    __pydantic_config__: ClassVar = STRICT

    name: str
    weight: float = 0.5
    checkpoint: Path | None = None

    def __post_init__(self) -> None:
        """Check the weight.

        Raises:
            InputError: it is not within (0, 1].
        """
        if not 0 < self.weight <= 1:
            raise InputError(f"the weight of features must be within (0, 1], got {self.weight}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """Schedule of the two-parameter scale fit (arXiv 2305.03048, 3.3).

    Attributes:
        num_steps: AdamW steps on a cosine schedule.
        learning_rate: Step size at the start of the schedule.
        box_prompt: Whether the object's box and its centre are prompts of the fit, beside the
            similarity maximum.
    """

    __pydantic_config__: ClassVar = STRICT

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

    __pydantic_config__: ClassVar = STRICT

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
class Memory:
    """The default method: remembered cells of the references and of the last frame.

    docs/tracking.md says how it works and what each part is worth.

    Attributes:
        context: Side of the window that is encoded, over the longer side of the object's box; None
            always takes the whole frame.
        min_window_share: Least side of the window, over the frame's longer side.
        max_windows: Windows per frame; more objects share them. Bounds the time per frame.
        num_recent: Frames remembered beside the references.
        pixel_head: Whether a pixel classifier fitted to the reference makes the final mask; else
            it is SAM's own of highest predicted IoU.
        num_views: Drawn views of each reference that this classifier is fitted to as well.
        colours: Whether that classifier sees the object's colours.
        vote: Whether the classifier and SAM's mask count by how like they are to the
            correspondence, which has a vote of its own.
        thin_parts: Whether an object too thin for the decoder's pixels gets a second classifier,
            of the frame's pixels.
        likely_parts: Whether connected parts of a mask are dropped with which it would be larger
            than the object can have become.
        contests: Whether objects in sight close their pixels to lost ones, and pixels that several
            objects want about equally say nothing of where any of them is.
        relook: Whether what looks like a lost object is compared with what was there before, when
            the object was seen.
        lose_likeness: Below this likeness to its references a followed object counts as lost.
        return_likeness: A lost object needs this likeness to be taken up again.
        return_presence: And this probability of being the object.
    """

    __pydantic_config__: ClassVar = STRICT
    name: ClassVar = "memory"

    context: float | None = 1.8
    min_window_share: float = 0.15
    max_windows: int = 3
    num_recent: int = 1
    pixel_head: bool = True
    num_views: int = 2
    colours: bool = True
    vote: bool = True
    thin_parts: bool = True
    likely_parts: bool = True
    contests: bool = True
    relook: bool = True
    lose_likeness: float = 0.6
    return_likeness: float = 0.75
    return_presence: float = 0.7

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: a context below 1, a share outside [0, 1], or a number out of range.
        """
        if self.context is not None and not self.context >= 1:
            raise InputError(f"context must be 1 or more, or None, got {self.context}")
        for name in ("min_window_share", "lose_likeness", "return_likeness", "return_presence"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise InputError(f"{name} must be within [0, 1], got {share}")
        if self.max_windows < 1:
            raise InputError(f"max_windows must be 1 or more, got {self.max_windows}")
        for name in ("num_recent", "num_views"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedMethod:
    """What PerSAM-F and PerSAM have in common (arXiv 2305.03048).

    Attributes:
        prior: What carries over from the previous frame of a video; pictures have none.
        box_margin_px: Frame pixels by which a mask's box grows before it becomes a prompt.
        min_cell_coverage: A feature cell of a reference is the object's above this share of it.
            The published code arrives at its shares by sending a mask of value 215 or 255 through
            the picture's normalisation and asking for a positive result.
        absence: Tests for loss and return; None keeps only the published behaviour, in which
            nothing but an empty mask makes an object lost. In pictures an object is left out
            where its score is below one half, unless this is None.
        connected: Whether a mask found in a picture is reduced to its connected part at the
            similarity peak; always so where an object is searched several times.
        instance_similarity_ratio: In a picture where an object is searched several times, a
            further instance needs this share of the first one's similarity peak.
        batch_size: Frames encoded together; None lets the device decide. No mask depends on it.
    """

    __pydantic_config__: ClassVar = STRICT
    name: ClassVar[str]

    prior: Prior = "box"
    box_margin_px: int = 10
    min_cell_coverage: float = _COVERAGE_OF_VIDEOS
    absence: AbsenceConfig | None = AbsenceConfig()
    connected: bool = False
    instance_similarity_ratio: float = 0.8
    batch_size: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: an unknown prior, a negative number of pixels, a share outside its range,
                or a batch size below 1.
        """
        if self.prior not in PRIORS:
            raise InputError(f"prior must be one of {', '.join(PRIORS)}, got {self.prior}")
        if self.box_margin_px < 0:
            raise InputError(f"box_margin_px must be 0 or more, got {self.box_margin_px}")
        if not 0 <= self.min_cell_coverage < 1:
            raise InputError(
                f"min_cell_coverage must be within [0, 1), got {self.min_cell_coverage}"
            )
        if not 0 <= self.instance_similarity_ratio <= 1:
            raise InputError(
                "instance_similarity_ratio must be within [0, 1], "
                f"got {self.instance_similarity_ratio}"
            )
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"batch_size must be 1 or more, got {self.batch_size}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PersamF(PublishedMethod):
    """PerSAM-F: SAM is personalised by two weights per object, fitted to the reference (3.3).

    Attributes:
        fit: Schedule of the scale fit.
    """

    name: ClassVar = "persam-f"

    fit: FitConfig = FitConfig()

    @classmethod
    def for_images(cls) -> PersamF:
        """Give the settings of sets of images as published: no box prompts, a longer fit."""
        fit = FitConfig(num_steps=1000, learning_rate=1e-3, box_prompt=False)
        return cls(prior="none", fit=fit, min_cell_coverage=_COVERAGE_OF_IMAGES, absence=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Persam(PublishedMethod):
    """PerSAM: SAM is personalised without any training (3.1 and 3.2)."""

    name: ClassVar = "persam"

    min_cell_coverage: float = _COVERAGE_OF_IMAGES

    @classmethod
    def for_images(cls) -> Persam:
        """Give the settings of sets of images as published."""
        return cls(prior="none", absence=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutie:
    """Cutie (arXiv 2310.12982), a network of its own; the defaults are its authors' for DAVIS.

    Attributes:
        shorter_side_px: Frames whose shorter side is longer are reduced to this one.
        memory_every: Every which frame is remembered.
        num_recent: Frames remembered beside the references.
        num_references: References that an object is remembered from: that which it starts from,
            and those nearest to it.
    """

    __pydantic_config__: ClassVar = STRICT
    name: ClassVar = "cutie"

    shorter_side_px: int = 480
    memory_every: int = 5
    num_recent: int = 4
    num_references: int = 4

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: a number below its least value.
        """
        _check_least(self, shorter_side_px=16, memory_every=1, num_recent=1, num_references=1)


Sam2Size = Literal["tiny", "small", "base-plus", "large"]
"""The sizes of SAM 2.1."""

SAM2_SIZES: Final[tuple[Sam2Size, ...]] = get_args(Sam2Size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sam2:
    """SAM 2.1 (arXiv 2408.00714), a network of its own, prompted by masks.

    Attributes:
        size: Which of its networks.
        num_references: As of :class:`Cutie`.
    """

    __pydantic_config__: ClassVar = STRICT
    name: ClassVar = "sam2.1"

    size: Sam2Size = "tiny"
    num_references: int = 4

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: an unknown size, or a number below its least value.
        """
        if self.size not in SAM2_SIZES:
            raise InputError(f"size must be one of {', '.join(SAM2_SIZES)}, got {self.size}")
        _check_least(self, num_references=1)


def _check_least(settings: object, **least: int) -> None:
    for name, value in least.items():
        if getattr(settings, name) < value:
            raise InputError(f"{name} must be {value} or more, got {getattr(settings, name)}")


Method = Memory | PersamF | Persam | Cutie | Sam2

METHODS: Final[dict[str, type[Method]]] = {
    kind.name: kind for kind in (Memory, PersamF, Persam, Cutie, Sam2)
}
"""The methods by their names on the command line and in JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """How a video or a set of images is segmented.

    Attributes:
        method: How objects are found; each method has settings of its own.
        num_read_ahead: Frames decoded in advance by a thread; 0 decodes in the caller's.
        soft: Whether masks of a video come with soft edges, ``FrameMasks.edges``; label maps are
            the same.
    """

    __pydantic_config__: ClassVar = STRICT

    method: Method = Memory()
    num_read_ahead: int = 8
    soft: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: ``method`` is no method, a negative number of frames, or soft edges with
                a method that has none.
        """
        if not isinstance(self.method, Method):
            names = ", ".join(kind.__name__ for kind in METHODS.values())
            raise InputError(f"method must be one of {names}, got {self.method!r}")
        if self.num_read_ahead < 0:
            raise InputError(f"num_read_ahead must be 0 or more, got {self.num_read_ahead}")
        if self.soft and isinstance(self.method, Cutie | Sam2):
            raise InputError(
                f"soft edges are made of SAM's logits, and --method {self.method_choice} has none; "
                "leave out --soft, or take memory, persam-f or persam"
            )

    @property
    def method_choice(self) -> str:
        """What ``--method`` calls the method."""
        method = self.method
        return f"{method.name}-{method.size}" if isinstance(method, Sam2) else method.name

    def to_json_values(self) -> dict[str, object]:
        """Give the settings as values that JSON has; the method bears its name beside its own."""
        method = {"name": self.method.name, **asdict(self.method)}
        values: dict[str, object] = {"method": method, "num_read_ahead": self.num_read_ahead}
        # Results of earlier versions, which do not say it, are hard and can be updated.
        return values | ({"soft": True} if self.soft else {})

    @classmethod
    def published(cls) -> RunConfig:
        """Give the method exactly as published: box prior, only an empty mask means absence."""
        return cls(method=PersamF(absence=None))

    @classmethod
    def for_images(cls, method: Literal["persam_f", "persam"] = "persam_f") -> RunConfig:
        """Give the settings of sets of images as published: no box prompts, a longer fit.

        An object is taken to be in every picture, as it is published; set ``absence`` where
        pictures may lack it.

        Raises:
            InputError: an unknown method.
        """
        if method not in ("persam_f", "persam"):
            raise InputError(f"the method of images must be persam_f or persam, got {method}")
        return cls(method=PersamF.for_images() if method == "persam_f" else Persam.for_images())
