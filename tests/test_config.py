"""Settings: what is legal, what the methods share, and how they become JSON and come back."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vos
from vos.config import (
    METHODS,
    SAM2_SIZES,
    AbsenceConfig,
    Cutie,
    FitConfig,
    Memory,
    Persam,
    PersamF,
    RunConfig,
    Sam2,
)
from vos.errors import InputError

SHARES = st.floats(0, 1)
ABSENCE = (
    st.builds(AbsenceConfig, **{each.name: SHARES for each in fields(AbsenceConfig)}) | st.none()
)
PUBLISHED = {
    "prior": st.sampled_from(["none", "box"]),
    "box_margin_px": st.integers(0, 100),
    "min_cell_coverage": st.floats(0, 1, exclude_max=True),
    "absence": ABSENCE,
    "connected": st.booleans(),
    "instance_similarity_ratio": SHARES,
    "batch_size": st.integers(1, 64) | st.none(),
}
FITS = st.builds(
    FitConfig,
    num_steps=st.integers(0, 2000),
    learning_rate=st.floats(1e-6, 1),
    box_prompt=st.booleans(),
)
MEMORIES = st.builds(
    Memory,
    context=st.floats(1, 9) | st.none(),
    max_windows=st.integers(1, 9),
    num_recent=st.integers(0, 9),
    num_views=st.integers(0, 9),
    colours=st.booleans(),
    vote=st.booleans(),
    lose_likeness=SHARES,
)
CONFIGS = st.builds(
    RunConfig,
    method=MEMORIES
    | st.builds(PersamF, **PUBLISHED, fit=FITS)
    | st.builds(Persam, **PUBLISHED)
    | st.builds(Cutie, memory_every=st.integers(1, 9), num_references=st.integers(1, 9))
    | st.builds(Sam2, size=st.sampled_from(SAM2_SIZES)),
    num_read_ahead=st.integers(0, 64),
)


def to_json(config: RunConfig) -> dict[str, object]:
    """The settings as they stand in a job's document."""
    job = vos.Job(source="a", references=(vos.Reference(mask=Path("m")),), config=config)
    return json.loads(job.to_json())["config"]


def from_json(settings: object) -> RunConfig:
    document = {"source": "a", "references": [{"mask": "m"}], "config": settings}
    return vos.Job.from_json(json.dumps(document)).config


@given(CONFIGS)
def test_settings_come_back_from_json(config):
    assert from_json(to_json(config)) == config


def test_a_method_is_known_by_its_name():
    assert list(METHODS) == ["memory", "persam-f", "persam", "cutie", "sam2.1"]
    for name, kind in METHODS.items():
        assert to_json(RunConfig(method=kind()))["method"]["name"] == name
        assert from_json({"method": {"name": name}}) == RunConfig(method=kind())
    assert from_json({}) == RunConfig()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "config: "),
        ({"prior": "box"}, "config.prior: "),
        ({"method": "persam"}, "config.method.name must be one of memory, persam-f, persam"),
        ({"method": {"prior": "box"}}, "config.method.name must be one of"),
        ({"method": {"name": "persam_f"}}, "cutie, sam2.1, got 'persam_f'"),
        ({"method": {"name": ["memory"]}}, r"got \['memory'\]"),
        ({"method": {"name": "persam", "fit": {}}}, "config.method.fit: "),
        ({"method": {"name": "memory", "prior": "box"}}, "config.method.prior: "),
        ({"method": {"name": "persam", "prior": "memory"}}, "config.method.prior: .*'none' or"),
        ({"method": {"name": "persam", "absence": {"lose": 1}}}, "config.method.absence.lose: "),
        ({"method": {"name": "persam", "absence": 1}}, "config.method.absence: "),
        ({"method": {"name": "persam", "batch_size": 1.5}}, "config.method.batch_size: "),
        ({"method": {"name": "persam", "batch_size": True}}, "config.method.batch_size: "),
        ({"method": {"name": "persam", "connected": 1}}, "config.method.connected: "),
        ({"method": {"name": "persam-f", "fit": {"num_steps": -1}}}, "num_steps must be 0 or more"),
        ({"method": {"name": "memory", "context": float("nan")}}, "NaN"),
        ({"method": {"name": "memory", "context": 10**400}}, "config.method.context: "),
        ({"method": {"name": "sam2.1", "size": "huge"}}, "config.method.size: "),
        ({"method": {"name": "cutie", "size": "tiny"}}, "config.method.size: "),
        ({"num_read_ahead": -1}, "num_read_ahead must be 0 or more"),
    ],
)
def test_other_json_is_refused(value, message):
    with pytest.raises(InputError, match=message) as caught:
        from_json(value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (PersamF, {"prior": "memory"}),
        (Persam, {"box_margin_px": -1}),
        (PersamF, {"batch_size": 0}),
        (PersamF, {"min_cell_coverage": 1.0}),
        (Persam, {"instance_similarity_ratio": 1.5}),
        (Cutie, {"memory_every": 0}),
        (Sam2, {"size": "huge"}),
        (Sam2, {"num_references": 0}),
        (AbsenceConfig, {"lose_iou_ratio": 1.5}),
        (FitConfig, {"learning_rate": 0}),
        (RunConfig, {"num_read_ahead": -1}),
        (RunConfig, {"method": "memory"}),
    ],
)
def test_settings_are_checked(kind, settings):
    with pytest.raises(InputError, match=f"{next(iter(settings))} must be"):
        kind(**settings)


def test_a_method_takes_no_setting_of_another():
    for kind, setting in ((Memory, "fit"), (Memory, "batch_size"), (Persam, "fit")):
        with pytest.raises(TypeError, match=setting):
            kind(**{setting: None})


def test_the_published_method_is_persam_f_without_tests_for_absence():
    assert vos.RunConfig.published() == RunConfig(method=PersamF(prior="box", absence=None))
    assert vos.RunConfig() == RunConfig(method=Memory())
