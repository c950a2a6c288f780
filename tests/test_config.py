"""Settings: what is legal, what the methods share, and how they become JSON and come back."""

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vos
from vos.config import METHODS, AbsenceConfig, FitConfig, Memory, Persam, PersamF, RunConfig
from vos.config_json import config_from_json, config_to_json
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
    colours=st.booleans(),
    lose_likeness=SHARES,
)
CONFIGS = st.builds(
    RunConfig,
    method=MEMORIES | st.builds(PersamF, **PUBLISHED, fit=FITS) | st.builds(Persam, **PUBLISHED),
    num_read_ahead=st.integers(0, 64),
)


@given(CONFIGS)
def test_settings_come_back_from_json(config):
    text = json.dumps(config_to_json(config), allow_nan=False)
    assert config_from_json(json.loads(text)) == config


def test_a_method_is_known_by_its_name():
    assert list(METHODS) == ["memory", "persam-f", "persam"]
    for name, kind in METHODS.items():
        assert config_to_json(RunConfig(method=kind()))["method"]["name"] == name
        assert config_from_json({"method": {"name": name}}) == RunConfig(method=kind())
    assert config_from_json({}) == RunConfig()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "settings must be an object, got None"),
        ({"prior": "box"}, "settings has no 'prior'; there are method, num_read_ahead"),
        ({"method": "persam"}, "settings.method must be an object, got 'persam'"),
        ({"method": {"prior": "box"}}, "method.name must be one of memory, persam-f, persam"),
        ({"method": {"name": "persam_f"}}, "memory, persam-f, persam, got 'persam_f'"),
        ({"method": {"name": ["memory"]}}, r"got \['memory'\]"),
        ({"method": {"name": "persam", "fit": {}}}, "method has no 'fit'; there are prior, "),
        (
            {"method": {"name": "memory", "prior": "box"}},
            "method has no 'prior'; there are context",
        ),
        ({"method": {"name": "persam", "prior": "memory"}}, "prior must be 'none' or 'box'"),
        ({"method": {"name": "persam", "absence": {"lose": 1}}}, "absence has no 'lose'"),
        ({"method": {"name": "persam", "absence": 1}}, "absence must be an object or null, got 1"),
        ({"method": {"name": "persam", "batch_size": 1.0}}, "must be a whole number or null"),
        ({"method": {"name": "persam", "batch_size": True}}, "must be a whole number or null"),
        ({"method": {"name": "persam", "connected": 1}}, "connected must be true or false, got 1"),
        ({"method": {"name": "persam-f", "fit": {"num_steps": -1}}}, "num_steps must be 0 or more"),
        ({"method": {"name": "memory", "context": float("nan")}}, "context must be a number"),
        ({"method": {"name": "memory", "context": 10**400}}, "context must be a number or null"),
        ({"num_read_ahead": 10**30}, "num_read_ahead must be a whole number"),
        ({"num_read_ahead": -1}, "num_read_ahead must be 0 or more"),
    ],
)
def test_other_json_is_refused(value, message):
    with pytest.raises(InputError, match=message) as caught:
        config_from_json(value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (PersamF, {"prior": "memory"}),
        (Persam, {"box_margin_px": -1}),
        (PersamF, {"batch_size": 0}),
        (PersamF, {"min_cell_coverage": 1.0}),
        (Persam, {"instance_similarity_ratio": 1.5}),
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
