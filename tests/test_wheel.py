"""The package as it is published."""

import configparser
import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vos.sam.weights.registry import MODELS

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel of a copy, so that no build folder is left in the repository."""
    copy = tmp_path_factory.mktemp("wheel") / "copy"
    copy.mkdir()
    shutil.copytree(REPOSITORY / "vos", copy / "vos", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    (path,) = (copy / "dist").iterdir()
    assert path.name.startswith("vos_persam-")
    return zipfile.ZipFile(path)


def test_it_holds_the_embedded_weights_and_their_card(wheel):
    weights = wheel.read("vos/sam/weights/nano.safetensors")
    assert hashlib.sha256(weights).hexdigest() == MODELS["nano"].sha256
    assert "vos/sam/weights/nano.md" in wheel.namelist()
    assert "vos/py.typed" in wheel.namelist()


def test_it_holds_the_page_of_the_report(wheel):
    assert "vos/score/report/page.html" in wheel.namelist()


def test_it_holds_the_files_of_vos_app(wheel):
    packed = {name for name in wheel.namelist() if name.startswith("vos/app/static/")}
    static = (REPOSITORY / "vos" / "app" / "static").iterdir()
    assert packed == {path.relative_to(REPOSITORY).as_posix() for path in static}


def test_it_holds_every_module_and_nothing_else(wheel):
    packed = {name for name in wheel.namelist() if name.endswith(".py")}
    assert packed == {
        path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "vos").rglob("*.py")
    }


def test_its_metadata_are_those_of_setup_cfg(wheel):
    (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    text = wheel.read(metadata).decode()
    assert "Name: vos-persam" in text
    config = configparser.ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    listed = config["options"]["install_requires"].split("\n")
    names = [line.split()[0] for line in listed if line and not line.startswith("#")]
    assert len(names) >= 10
    for name in names:
        assert f"Requires-Dist: {name}" in text
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    for command in ("vos =", "vos-run =", "vos-eval ="):
        assert command in wheel.read(entry_points).decode()
