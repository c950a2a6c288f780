"""``vos app``."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from vos.cli.command import (
    Command,
    InputOption,
    MethodOption,
    ModelOption,
    OutputOption,
    version_option,
)
from vos.cli.method_options import method_config, method_options
from vos.cli.model_options import max_pixels_option, model_choice, model_options
from vos.cli.process import prepare_process
from vos.errors import InputError

if TYPE_CHECKING:
    from vos.app.session import Session
    from vos.config import RunConfig

_OF_THIS_RUN: Final = ("device", "num_threads", "batch_size")
"""Options on which no mask depends."""


@click.command("app", cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", metavar="[VIDEO|RESULTS]", required=False)
@max_pixels_option
@click.option(
    "--out",
    cls=OutputOption,
    type=click.Path(path_type=Path),
    default=Path("results"),
    metavar="FOLDER",
    show_default=True,
    help="Folder of the results, as of vos-run.",
)
@click.option("--name", cls=OutputOption, help="Name of the results.  [default: the video's]")
@click.option(
    "--port",
    cls=InputOption,
    type=click.IntRange(0, 65535),
    default=0,
    metavar="PORT",
    help="Where the page is served.  [default: any free port]",
)
@click.option(
    "--host",
    cls=InputOption,
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Serve at another address of this machine; needs --allow-remote.",
)
@click.option(
    "--allow-remote",
    cls=InputOption,
    is_flag=True,
    help="Let other machines in, if they know the page's whole address. Nothing is encrypted on "
    "the way; ssh -L is the better choice.",
)
@click.option("--no-browser", cls=InputOption, is_flag=True, help="Only print the page's address.")
@method_options
@model_options
@version_option
def app_command(ctx: click.Context) -> None:
    """Open a page to click objects in VIDEO, to track and to correct them.

    \b
      vos app video.mp4
      vos app frames/ --out results
      vos app results/video.json

    VIDEO is a file or a folder of images. RESULTS is what vos-run or an earlier page has written: a
    summary, or a folder of results. With neither, the page goes on with what it had open last. The
    page and the command line share the results: what was begun in one goes on in the other.

    On a machine without a screen take a port, as in vos app video.mp4 --port 8080 --no-browser, and
    on your own machine ssh -L 8080:localhost:8080 MACHINE; then open the address that is printed.
    """  # noqa: D301
    options = ctx.params
    config = method_config(ctx)
    prepare_process(options["num_threads"])
    _check_installed()

    from vos.app.guard import LOOPBACK
    from vos.app.serve import bind, make_server
    from vos.app.server import create_app, new_token
    from vos.app.session import Session
    from vos.source import Selection

    host = options["host"]
    if host not in LOOPBACK and not options["allow_remote"]:
        raise InputError(
            f"at {host} other machines could open the page; pass --allow-remote as well if that is "
            "meant, or use ssh -L"
        )
    source, folder, name = _source_of(options["path"], options["out"], options["name"])
    with ExitStack() as stack:
        listener = stack.enter_context(bind(host, options["port"]))
        port = listener.getsockname()[1]
        session = Session(
            source,
            folder,
            name,
            selection=Selection(max_pixels=options["max_pixels"]),
            choose_model=partial(model_choice, ctx),
            config=config,
        )
        stack.callback(session.close)
        _check_settings(ctx, config, session)
        token = new_token()
        hosts = LOOPBACK if host in LOOPBACK else frozenset(("*",))
        app = create_app(session, token=token, hosts=hosts, port=port)
        shown_host = f"[{host}]" if ":" in host else host
        address = f"http://{shown_host}:{port}/?token={token}"

        def announce() -> None:
            click.echo(f"{session.name}: {address}")
            if not options["quiet"]:
                click.echo("Ctrl-C ends it; everything is kept", err=True)
            if not options["no_browser"] and _has_screen():
                click.launch(address)

        with suppress(KeyboardInterrupt):  # as the server is ended
            make_server(app, announce).run(sockets=[listener])


def _check_settings(ctx: click.Context, config: RunConfig, session: Session) -> None:
    """Refuse options that contradict those by which the results were made.

    Raises:
        click.UsageError: one does.
    """
    given = [
        each
        for each in ctx.command.params
        if isinstance(each, MethodOption | ModelOption)
        and each.name not in _OF_THIS_RUN
        and ctx.get_parameter_source(each.name or "") is ParameterSource.COMMANDLINE
    ]
    job = session.earlier_job() if given else None
    if job is None:
        return
    chosen = model_choice(ctx)
    for each in given:
        if isinstance(each, MethodOption):
            is_same, now = config.method == job.config.method, job.config.method.name
        else:
            field = "name" if each.name == "model" else each.name or ""
            field = "features" if field.startswith("features") else field
            is_same, now = getattr(chosen, field) == getattr(job.model, field), job.model.name
        if not is_same:
            kind = "method" if isinstance(each, MethodOption) else "model"
            raise click.UsageError(
                f"{each.opts[0]} contradicts the results {session.name} in {session.folder}, which "
                f"were made with the {kind} {now} and its settings; leave it out to go on with "
                "them, or give the new results another --name"
            )


def _check_installed() -> None:
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"the page needs {error.name}, which is not installed; "
            "pip install 'vos-persam[app]' brings it"
        ) from error


def _source_of(path: str | None, folder: Path, name: str | None) -> tuple[str, Path, str | None]:
    """Tell a video from results, and give where the results are."""
    if path is None:
        return _opened_last(folder)
    given = Path(path)
    is_summary = given.suffix.lower() == ".json" and given.is_file()
    if not is_summary and not (given.is_dir() and _holds_results(given)):
        return path, folder, name
    from vos.run.read_results import read_results

    results = read_results(given, name)
    return results.source, results.folder, results.name


def _opened_last(folder: Path) -> tuple[str, Path, str]:
    """Give what a page has changed last in a folder of results."""
    from vos.app.session import SOURCE_FILE

    files = sorted(folder.glob(f"*.app/{SOURCE_FILE}"), key=lambda file: file.stat().st_mtime_ns)
    if not files:
        raise InputError(f"say which video to open; no page has left anything in {folder} yet")
    return files[-1].read_text(encoding="utf-8"), folder, files[-1].parent.stem


def _holds_results(folder: Path) -> bool:
    from vos.run.read_results import result_names

    return bool(result_names(folder)) or folder.name in result_names(folder.parent)


def _has_screen() -> bool:
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
