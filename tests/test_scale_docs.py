"""The commands and files of docs/scale.md: they parse, and say what the options are called."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from vos.cli import program
from vos.config import RunConfig

DOCS = Path(__file__).resolve().parents[1] / "docs"
VARIABLES = {
    "$SLURM_ARRAY_TASK_ID": "3",
    "$SLURM_ARRAY_TASK_COUNT": "100",
    "$JOB_COMPLETION_INDEX": "3",
    "$manifest": "jobs.jsonl",
    "$results": "results",
    "${TMPDIR:-/tmp}": "/tmp",
}


def commands(text: str) -> list[list[str]]:
    """All calls of vos in a text, with the batch system's variables filled in."""
    text = text.replace("\\\n", " ")
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    lines = re.findall(r"^ *(?:exec |ray job submit .* -- )?(vos (?:batch|davis) .*)$", text, re.M)
    return [shlex.split(line, comments=True)[1:] for line in lines]


def kubernetes() -> dict:
    return yaml.safe_load((DOCS / "scale/kubernetes.yaml").read_text())


def container() -> dict:
    (container,) = kubernetes()["spec"]["template"]["spec"]["containers"]
    return container


@pytest.mark.parametrize(
    ("text", "num_commands"),
    [
        ((DOCS / "scale.md").read_text(), 6),
        ((DOCS / "scale/slurm.sh").read_text(), 1),
        (container()["args"][0], 1),
    ],
    ids=["scale.md", "slurm.sh", "kubernetes.yaml"],
)
def test_commands_parse(text, num_commands):
    found = commands(text)
    assert len(found) == num_commands
    for name, *args in found:
        command = program("vos").get_command(None, name)
        context = command.make_context(name, args)
        assert not any("$" in str(value) for value in context.params.values())
        if "--shard" in args:
            assert context.params["shard"] == (3, 100)


def test_the_slurm_file_is_shell():
    subprocess.run(["bash", "-n", DOCS / "scale/slurm.sh"], check=True)


def test_the_kubernetes_file_has_as_many_shards_as_it_starts():
    spec = kubernetes()["spec"]
    assert spec["completionMode"] == "Indexed"
    assert f"$JOB_COMPLETION_INDEX/{spec['completions']}" in container()["args"][0]
    volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container()["volumeMounts"]} == volumes


def test_the_rows_of_the_page_are_jobs(tmp_path):
    from vos.batch.manifest import open_manifest

    rows = re.findall(r"^\{.*\}$", (DOCS / "scale.md").read_text(), re.M)
    (tmp_path / "jobs.jsonl").write_text("\n".join(rows))
    tasks = [*open_manifest(str(tmp_path / "jobs.jsonl")).tasks()]
    assert [task.name for task in tasks] == ["a", "second", "c", "d"]
    assert all(task.job.config == RunConfig() for task in tasks)
