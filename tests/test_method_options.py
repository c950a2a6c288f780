"""The options of the methods on the command line, and the settings they make."""

import click
import pytest
from click.testing import CliRunner

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
from vos.config import AbsenceConfig, FitConfig, Memory, Persam, PersamF, RunConfig


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
        ("--published --fit-steps 0", PersamF(absence=None, fit=FitConfig(num_steps=0))),
    ],
)
def test_options_make_settings(args, method):
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
