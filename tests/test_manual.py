"""The manual pages: the same words as the help, in a language that man reads."""

import shutil
import subprocess

import click
import pytest

from vos.cli import main, program
from vos.cli.manual import pages, to_roff


def command(*args: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(arg) for arg in args])
    return end.value.code


def test_every_command_and_every_option_has_its_line():
    by_name = {page.name: page for page in pages()}
    group = program("vos")
    context = click.Context(group)
    names = group.list_commands(context)
    assert set(by_name) == {"vos", *(f"vos {name}" for name in names)}
    assert [term for term, _ in by_name["vos"].groups["Commands"]] == list(by_name)[1:]
    for name in names:
        page = by_name[f"vos {name}"]
        terms = " ".join(term for records in page.groups.values() for term, _ in records)
        for parameter in group.get_command(context, name).get_params(context):
            if isinstance(parameter, click.Option):
                assert all(option in terms for option in parameter.opts), (name, parameter.opts)


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_the_pages_are_right_for_man():
    sources = "".join(to_roff(page, "1.2.3") for page in pages())
    shown = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-bcou"],
        input=sources,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stderr == ""
    assert "--ref-mask" in shown.stdout
    assert "vos export results --to coco --to prores" in shown.stdout


def test_pages_are_printed_and_installed(tmp_path, capsys, monkeypatch):
    assert command("man", "export") == 0
    printed = capsys.readouterr().out
    assert printed.startswith('.TH "VOS-EXPORT"')
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    assert command("man", "--install") == 0
    assert (tmp_path / "share/man/man1/vos-export.1").read_text() == printed
    assert (tmp_path / "share/man/man1/vos.1").is_file()
    assert command("man", "dance") == 2
    assert "there is no command 'dance'" in capsys.readouterr().err
    assert command("man", "export", "--install") == 2


def test_the_page_of_another_program_is_never_replaced(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    folder = tmp_path / "share/man/man1"
    folder.mkdir(parents=True)
    (folder / "vos.1").write_text('.TH VOS 1 "OpenAFS"\n')
    assert command("man", "--install") == 1
    assert "vos.1 is the manual page of another program" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["vos.1"]
    (folder / "vos.1").unlink()
    assert command("man", "--install") == 0
    assert command("man", "--install") == 0, "pages of its own are replaced"
