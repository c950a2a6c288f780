"""``vos completion``: what makes a shell complete the commands and their options."""

from __future__ import annotations

import click

_PROGRAMS = ("vos", "vos-run", "vos-eval")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the script that lets SHELL complete vos, vos-run and vos-eval.

    \b
      echo 'source <(vos completion bash)' >> ~/.bashrc
      echo 'source <(vos completion zsh)' >> ~/.zshrc
      vos completion fish > ~/.config/fish/conf.d/vos.fish
    """  # noqa: D301
    from click.shell_completion import get_completion_class

    from vos.cli import program

    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"this version of click completes nothing in {shell}")
    for name in _PROGRAMS:
        variable = f"_{name.replace('-', '_')}_complete".upper()
        click.echo(completion(program(name), {}, name, variable).source())
