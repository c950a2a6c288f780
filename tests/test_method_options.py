"""The options of the methods on the command line, and the settings they make."""

import click
import pytest
from click.testing import CliRunner

from vos.cli.batch import batch_command
from vos.cli.command import Command
from vos.cli.davis import davis_command
from vos.cli.images import images_command
from vos.cli.method_options import (
    image_config,
    image_method_options,
    method_config,
    method_options,
)
from vos.cli.perseg import perseg_command
from vos.cli.run import run_command
from vos.config import (
    AbsenceConfig,
    Cutie,
    FitConfig,
    Memory,
    Persam,
    PersamF,
    RunConfig,
    Sam2,
)


def settings_of(*args: str) -> RunConfig:
    """Read a video's options."""
    found = []

    @click.command(cls=Command)
    @method_options
    def command(ctx):
        found.append(method_config(ctx))

    command.main(args, standalone_mode=False)
    return found[0]


@pytest.mark.parametrize(
    ("args", "method"),
    [
        ("", Memory()),
        ("--method memory", Memory()),
        ("--method persam-f", PersamF()),
        ("--method persam", Persam()),
        ("--published", PersamF(absence=None)),
        ("--published --prior none", PersamF(prior="none", absence=None)),
        ("--published --method persam", Persam(absence=None)),
        ("--method persam --prior none --batch-size 3", Persam(prior="none", batch_size=3)),
        ("--method persam-f --fit-steps 7", PersamF(fit=FitConfig(num_steps=7))),
        ("--method cutie", Cutie()),
        ("--method sam2.1-tiny", Sam2()),
        ("--method sam2.1-base-plus", Sam2(size="base-plus")),
        ("--published --fit-steps 0", PersamF(absence=None, fit=FitConfig(num_steps=0))),
    ],
)
def test_options_make_settings(args, method, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert settings_of(*args.split()) == RunConfig(method=method)


def test_published_is_what_python_calls_so():
    assert settings_of("--published") == RunConfig.published()


@pytest.mark.parametrize(
    ("command", "args", "message"),
    [
        (run_command, "--prior box", "--prior belongs to --method persam-f and persam"),
        (run_command, "--fit-steps 4", "--fit-steps belongs to --method persam-f; the"),
        (run_command, "--batch-size 4", "--batch-size belongs to --method persam-f and persam"),
        (run_command, "--published --method memory", "--published belongs to --method persam-f"),
        (run_command, "--method memory --prior none", "the method here is memory"),
        (run_command, "--method persam --fit-steps 4", "the method here is persam\n"),
        (davis_command, "--fit-steps 4", "--fit-steps belongs to --method persam-f; the"),
        (images_command, "--method persam --fit-steps 4", "belongs to --method persam-f; the"),
        (perseg_command, "--method persam --fit-steps 4", "belongs to --method persam-f; the"),
        (run_command, "--method persam_f", "is not one of 'memory', 'persam-f', 'persam'"),
        (
            run_command,
            "--method cutie --prior none",
            "belongs to --method persam-f and persam; the",
        ),
        (run_command, "--method sam2.1-tiny --fit-steps 4", "the method here is sam2.1-tiny\n"),
        (run_command, "--method cutie --model vit_b", "--method memory, persam-f and persam; the"),
        (davis_command, "--method sam2.1-large --compile", "--compile belongs to --method memory,"),
        (images_command, "--method cutie", "is not one of 'persam-f', 'persam'"),
        (images_command, "--method memory", "is not one of 'persam-f', 'persam'"),
    ],
)
def test_an_option_of_another_method_is_an_error_that_names_its_own(command, args, message):
    sources = {
        run_command: ["video.mp4", "--ref-mask", "m.png"],
        images_command: ["ref.png", "m.png", "photos"],
    }
    done = CliRunner().invoke(command, [*sources.get(command, ["root"]), *args.split()])
    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.parametrize(("method", "extra"), [("cutie", "cutie"), ("sam2.1-small", "models")])
def test_a_package_that_is_not_installed_is_named(method, extra, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for command in (run_command, davis_command, batch_command):
        done = CliRunner().invoke(command, ["x", "--method", method])
        assert done.exit_code == 2
        assert done.output.endswith(
            f"--method {method} needs a package that is not installed: "
            f"pip install 'vos-persam[{extra}]'\n"
        )


def test_the_model_of_clicks_may_be_chosen_with_any_method(monkeypatch):
    """It only makes masks of them; without clicks it would do nothing."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    args = ["x", "--method", "cutie", "--model", "vit_b"]
    for command, more in ((run_command, ["--ref-point", "3,4"]), (batch_command, [])):
        assert "pip install" in CliRunner().invoke(command, [*args, *more]).output


def settings_of_images(*args: str, **options: object) -> RunConfig:
    """Read a set's options."""
    found = []

    @click.command(cls=Command)
    @image_method_options
    def command(ctx):
        found.append(image_config(ctx, **options))

    command.main(args, standalone_mode=False)
    return found[0]


def test_options_make_settings_of_images():
    assert settings_of_images() == RunConfig.for_images()
    assert settings_of_images("--method", "persam") == RunConfig.for_images("persam")
    few = settings_of_images(
        *("--fit-steps", "5", "--batch-size", "2"),
        maybe_absent=True,
        connected=True,
        instance_ratio=0.7,
    ).method
    assert few == PersamF(
        prior="none",
        fit=FitConfig(num_steps=5, learning_rate=1e-3, box_prompt=False),
        min_cell_coverage=123.675 / 255,
        absence=AbsenceConfig(),
        connected=True,
        instance_similarity_ratio=0.7,
        batch_size=2,
    )
