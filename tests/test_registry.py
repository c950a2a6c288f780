"""Model names."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from vos.errors import UnknownModelError
from vos.sam.weights.registry import FEATURES, MODELS, ModelSpec, find_features, find_model

OWN = ["nano", "mobile_sam", "vit_b", "vit_l", "vit_h"]
HQ = ["sam_hq_vit_b", "sam_hq_vit_l", "sam_hq_vit_h"]
DINO = ["dinov2-small", "dinov2-base", "dinov2-large"]
SPECS = (*MODELS.values(), *FEATURES.values())
ROOT = Path(__file__).parents[1]


def test_every_model_is_found_under_its_own_name() -> None:
    assert list(MODELS) == OWN + HQ
    assert list(FEATURES) == DINO
    assert all(find_model(name).name == name for name in MODELS)
    assert all(find_features(name).name == name for name in FEATURES)


def test_every_file_can_be_told_by_its_hash_and_name() -> None:
    assert all(re.fullmatch("[0-9a-f]{64}", spec.sha256) for spec in SPECS)
    assert len({spec.sha256 for spec in SPECS}) == len(SPECS)
    assert len({spec.file_name for spec in SPECS}) == len(SPECS)
    assert [spec.name for spec in SPECS if spec.url is None] == ["nano"]
    assert all(spec.url.startswith("https://") for spec in SPECS if spec.url)


def test_what_needs_an_extra_is_not_among_what_vos_brings() -> None:
    assert [spec.name for spec in SPECS if spec.extra is None] == OWN
    assert {spec.extra for spec in SPECS} == {None, "models"}
    assert all("--features-checkpoint FILE" in spec.option for spec in FEATURES.values())


def rows_of(document: str) -> list[tuple[str, str, str]]:
    text = (ROOT / document).read_text()
    pattern = r"^\| `([\w-]+)`.*? \| (?:embedded, )?([\d.]+ [MG]B|unknown) \| (\d+|any) \|"
    return re.findall(pattern, text, re.M)


def row(spec: ModelSpec) -> tuple[str, str, str]:
    return spec.name, spec.size_text, str(spec.image_size or "any")


def test_the_documents_say_the_same_sizes_and_inputs() -> None:
    assert rows_of("README.md") == [row(spec) for spec in SPECS if spec.extra is None]
    assert rows_of("docs/models.md")[: len(HQ + DINO)] == [
        row(spec) for spec in SPECS if spec.extra
    ]


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
