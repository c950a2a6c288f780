"""What ablation.py compares: ideas alone, the default built up, the default without one part."""

from __future__ import annotations

from dataclasses import dataclass, replace

import ideas
from published import CONFIG, Idea

from vos.config import Memory, PersamF, RunConfig

BARE = Memory(
    context=None,
    pixel_head=False,
    num_views=0,
    colours=False,
    vote=False,
    thin_parts=False,
    likely_parts=False,
    relook=False,
    return_presence=0.0,
)
LOST = {"relook": True, "return_presence": Memory().return_presence}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of the table.

    Attributes:
        name: What it is called on the command line and in the CSV.
        says: What the table says of it.
        config: Its settings.
        idea: An idea on top of the published method, which needs no settings.
    """

    name: str
    says: str
    config: RunConfig = CONFIG
    idea: Idea | None = None


def memory(name: str, says: str, config: Memory) -> Variant:
    return Variant(name=name, says=says, config=RunConfig(method=config))


def idea(name: str, says: str, own: Idea) -> Variant:
    return Variant(name=name, says=says, idea=own)


def built_up() -> tuple[Variant, ...]:
    """Add one part after another, until it is the default."""
    config, variants = BARE, [memory("+correspondence", "correspondence to memory alone", BARE)]
    for name, says, part in (
        ("+windows", "windows around the object", {"context": Memory().context}),
        ("+pixel_head", "the fitted pixel classifier", {"pixel_head": True}),
        ("+colours", "the object's colours", {"colours": True}),
        ("+thin_parts", "the classifier of frame pixels", {"thin_parts": True}),
        ("+likely_parts", "unlikely parts dropped", {"likely_parts": True}),
        ("+vote", "three masks vote, by their likeness to one another", {"vote": True}),
        ("+num_views", "drawn views of the reference", {"num_views": Memory().num_views}),
        ("memory", "lost objects are compared: the default", LOST),
    ):
        config = replace(config, **part)
        variants.append(memory(name, says, config))
    return tuple(variants)


PUBLISHED = Variant(name="published", says="the previous box, and the similarity peak")
BUILT_UP = built_up()
DEFAULT = BUILT_UP[-1]
GROUPS: dict[str, tuple[Variant, ...]] = {
    "each idea alone, on the published method": (
        idea("logits", "the previous logits as mask prompt of the first call", ideas.Logits),
        idea("motion", "the box moves at constant velocity", ideas.Motion),
        Variant(
            name="absence",
            says="tests for loss and return",
            config=RunConfig(method=PersamF()),
        ),
        idea("embedding-max", "a second, slow embedding: the greater", ideas.EmbeddingMax),
        idea("embedding-mean", "a second, slow embedding: the mean", ideas.EmbeddingMean),
        idea("contrast", "similarity less that to the background", ideas.Contrast),
        memory(
            "correspondence",
            "dense correspondence gives the prompts, whole frames",
            replace(BARE, num_recent=2),
        ),
        idea("hypotheses", "box, moved box and peak alone; the likeliest", ideas.Hypotheses),
    ),
    "built up: each row adds to the one above": BUILT_UP,
    "the default without one part": (
        memory("context=null", "whole frames", Memory(context=None)),
        memory("pixel_head=false", "SAM's own best mask", Memory(pixel_head=False)),
        memory("colours=false", "no colours", Memory(colours=False)),
        memory("thin_parts=false", "decoder pixels only", Memory(thin_parts=False)),
        memory("vote=false", "head and SAM mixed alone", Memory(vote=False)),
        memory("num_views=0", "no drawn views", Memory(num_views=0)),
        memory("relook=false", "no look at what was there before", Memory(relook=False)),
        memory("contests=false", "contested pixels as any", Memory(contests=False)),
        memory("num_recent=0", "the reference alone remembered", Memory(num_recent=0)),
        memory("num_recent=3", "and the last three frames", Memory(num_recent=3)),
        memory("num_recent=6", "and the last six", Memory(num_recent=6)),
        memory("max_windows=1", "one window for all objects", Memory(max_windows=1)),
    ),
}
VARIANTS = {each.name: each for each in (PUBLISHED, *(v for g in GROUPS.values() for v in g))}


def compared_with(variant: Variant) -> Variant:
    """Say which variant shows what this one is worth."""
    if variant in BUILT_UP[1:]:
        return BUILT_UP[BUILT_UP.index(variant) - 1]
    is_without_part = variant in list(GROUPS.values())[-1]
    return DEFAULT if is_without_part else PUBLISHED
