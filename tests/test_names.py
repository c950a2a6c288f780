"""Names of results lead neither out of their folder nor to a device, on any system."""

from pathlib import PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos.run.names import name_fault

DEVICES = ("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "COM0", "COM1", "LPT9", "COM\u00b9")


@pytest.mark.parametrize(
    "name", ["clip", "take12:30", "file:x", "a?b*c", "con", "end.", " spaced ", ".hidden", "\udcff"]
)
def test_names_that_linux_and_macos_know(name):
    assert name_fault(name, on_windows=False) is None


@pytest.mark.parametrize("name", ["clip", "a.b.c", ".hidden", "console", "com10", "\u00e9t\u00e9"])
def test_names_that_all_systems_know(name):
    assert name_fault(name, on_windows=True) is None


@pytest.mark.parametrize("on_windows", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "/", "a/b", "a/", "../a", "a\\b", "\\\\host\\share", "C:\\a"),
        *("a\0b", "a\nb", "a\tb", "a\x7fb", "\x1b[0m", "x" * 201, "\u00e9" * 101, "\udcff" * 201),
    ],
)
def test_names_that_lead_elsewhere(name, on_windows):
    assert name_fault(name, on_windows=on_windows)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", ["{}", "{}.x", "{}.tar.gz", "{} ", "{} .x"])
def test_devices_of_windows(device, form):
    for name in (form.format(device), form.format(device.lower())):
        assert name_fault(name, on_windows=True)
        assert name_fault(name, on_windows=False) is None


@given(st.text(min_size=1, max_size=20))
def test_a_legal_name_on_windows_is_one_file_there(name):
    if name_fault(name, on_windows=True) is None:
        assert PureWindowsPath(name).parts == (name,)
        assert not set('<>:"|?*') & set(name)
        assert name[-1] not in " ."


def test_the_fault_is_said_in_words():
    assert name_fault("../up") == "it must be a plain file name"
    for name in ("x" * 300, "a\0"):
        fault = name_fault(name)
        assert fault
        assert "PV1" not in fault
