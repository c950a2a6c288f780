"""Model names."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from vos.errors import UnknownModelError
from vos.sam.weights.registry import MODELS, find_model


def test_every_model_is_found_under_its_own_name() -> None:
    assert list(MODELS) == ["nano", "mobile_sam", "vit_b", "vit_l", "vit_h"]
    assert all(find_model(name).name == name for name in MODELS)


def test_every_file_can_be_told_by_its_hash_and_name() -> None:
    specs = MODELS.values()
    assert all(re.fullmatch("[0-9a-f]{64}", spec.sha256) for spec in specs)
    assert len({spec.sha256 for spec in specs}) == len({spec.file_name for spec in specs}) == 5
    assert [spec.name for spec in specs if spec.url is None] == ["nano"]
    assert all(spec.url.endswith(f"/{spec.file_name}") for spec in specs if spec.url)
    assert all(spec.url.startswith("https://") for spec in specs if spec.url)


def test_the_readme_says_the_same_sizes_and_inputs() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)`.*? \| (?:embedded, )?([\d.]+ [MG]B) \| (\d+) \|", readme, re.M)
    assert rows == [(spec.name, spec.size_text, str(spec.image_size)) for spec in MODELS.values()]


def test_the_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        MODELS["nano"] = MODELS["vit_b"]
    with pytest.raises(AttributeError):
        MODELS["nano"].sha256 = "0" * 64


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("vit-b", "vit_b"), ("ViT_H", "vit_h"), ("mobilesam", "mobile_sam"), ("nanno", "nano")],
)
def test_a_misspelt_name_is_answered_with_the_likely_one(wrong: str, meant: str) -> None:
    with pytest.raises(UnknownModelError, match=f"did you mean {meant}") as caught:
        find_model(wrong)
    assert ", ".join(MODELS) in str(caught.value)


def test_a_name_like_no_other_gets_the_list_and_no_guess() -> None:
    with pytest.raises(UnknownModelError) as caught:
        find_model("resnet")
    assert str(caught.value) == f"there is no model 'resnet'; legal are {', '.join(MODELS)}"


def test_neither_the_registry_nor_downloads_import_torch() -> None:
    program = (
        "import sys, vos.sam.weights.registry, vos.sam.weights.download; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
