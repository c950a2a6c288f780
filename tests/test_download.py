"""Fetching weights, against a server on this machine."""

import contextlib
import dataclasses
import hashlib
import http.server
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vos.errors import CheckpointError, DownloadError
from vos.sam.weights import download
from vos.sam.weights.download import cache_folder, cached_file, fetch, sha256_of
from vos.sam.weights.registry import ModelSpec, find_model

CONTENT = bytes(range(256)) * 1000
NAME = "weights.pth"


class Server(http.server.ThreadingHTTPServer):
    """Serves one file and remembers the Range header of every request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.ranges: list[str | None] = []
        self.honours_range = True
        self.states_length = True
        self.num_sent_at_most: int | None = None
        self.delay_seconds = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{NAME}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        with contextlib.suppress(ConnectionError):
            self.answer()

    def answer(self) -> None:
        server, asked = self.server, self.headers["Range"]
        server.ranges.append(asked)
        time.sleep(server.delay_seconds)
        if self.path != f"/{NAME}":
            self.send_error(404)
            return
        start = 0
        if asked and server.honours_range:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.content):
                self.send_error(416)
                return
        self.send_response(206 if asked and server.honours_range else 200)
        if server.states_length:
            self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(server.content[start:][: server.num_sent_at_most])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def spec(server: Server, cache: Path) -> ModelSpec:
    return dataclasses.replace(
        find_model("vit_b"),
        file_name=NAME,
        url=server.url,
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        num_bytes=len(CONTENT),
    )


def partial_of(cache: Path) -> Path:
    return cache / f"{NAME}.part"


def test_fetches_once_then_finds_the_file_in_the_cache(
    spec: ModelSpec, server: Server, cache: Path
) -> None:
    assert cached_file(spec) is None
    path = fetch(spec)
    assert path == cache / NAME
    assert path.read_bytes() == CONTENT
    assert not partial_of(cache).exists()
    assert fetch(spec) == cached_file(spec) == path
    assert server.ranges == [None]


def test_no_bar_where_the_output_is_no_terminal(
    spec: ModelSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(spec)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal_unless_unwanted(
    spec: ModelSpec,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fetch(spec)
    assert NAME in capsys.readouterr().err
    (cache / NAME).unlink()
    fetch(spec, progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("num_kept", [1, 1000, len(CONTENT) - 1])
def test_takes_up_a_broken_off_download(
    spec: ModelSpec, server: Server, cache: Path, num_kept: int
) -> None:
    partial_of(cache).write_bytes(CONTENT[:num_kept])
    assert fetch(spec).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={num_kept}-"]


def test_a_complete_partial_file_needs_no_server(
    spec: ModelSpec, server: Server, cache: Path
) -> None:
    partial_of(cache).write_bytes(CONTENT)
    assert fetch(spec).read_bytes() == CONTENT
    assert server.ranges == []


def test_starts_over_where_the_server_ignores_range(
    spec: ModelSpec, server: Server, cache: Path
) -> None:
    server.honours_range = False
    partial_of(cache).write_bytes(b"x" * 1000)
    assert fetch(spec).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


@pytest.mark.parametrize("num_stale", [1000, len(CONTENT), len(CONTENT) + 1])
def test_starts_over_where_the_partial_file_is_of_another_file(
    spec: ModelSpec, server: Server, cache: Path, num_stale: int
) -> None:
    partial_of(cache).write_bytes(b"x" * num_stale)
    assert fetch(spec).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={num_stale}-", None]


def test_a_server_that_states_no_length(spec: ModelSpec, server: Server) -> None:
    server.states_length = False
    assert fetch(spec).read_bytes() == CONTENT


def test_a_server_that_sends_without_end_does_not_fill_the_disk(
    spec: ModelSpec, server: Server, cache: Path
) -> None:
    server.states_length = False
    with pytest.raises(DownloadError, match="it sends more than 9000 bytes"):
        fetch(dataclasses.replace(spec, num_bytes=9000))
    assert partial_of(cache).stat().st_size <= 9000
    assert not (cache / NAME).exists()


def test_a_truncated_download_says_so_and_can_go_on(
    spec: ModelSpec, server: Server, cache: Path
) -> None:
    server.num_sent_at_most = 5000
    with pytest.raises(DownloadError, match=f"broke off after 5000 of {len(CONTENT)} bytes"):
        fetch(spec)
    assert partial_of(cache).read_bytes() == CONTENT[:5000]
    assert not (cache / NAME).exists()
    server.num_sent_at_most = None
    assert fetch(spec).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=5000-"]


def test_a_truncated_download_is_noticed_by_the_published_size_too(
    spec: ModelSpec, server: Server, cache: Path
) -> None:
    server.states_length = False
    server.num_sent_at_most = 5000
    with pytest.raises(DownloadError, match=f"broke off after 5000 of {len(CONTENT)} bytes"):
        fetch(spec)
    assert partial_of(cache).read_bytes() == CONTENT[:5000]


def test_another_file_of_the_same_size_is_refused_and_not_kept(
    spec: ModelSpec, server: Server, cache: Path
) -> None:
    server.content = CONTENT[::-1]
    got = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(DownloadError, match=f"SHA-256 {got}"):
        fetch(spec)
    assert not partial_of(cache).exists()
    assert not (cache / NAME).exists()


def test_a_file_of_another_size_is_refused_before_it_is_read(
    spec: ModelSpec, server: Server, cache: Path
) -> None:
    server.content = b"<html>Please log in to the network"
    partial_of(cache).write_bytes(CONTENT[:10])
    server.honours_range = False
    with pytest.raises(DownloadError, match=f"34 bytes there, not {len(CONTENT)}"):
        fetch(spec)
    assert partial_of(cache).read_bytes() == CONTENT[:10]


def test_errors_name_the_url_the_hash_and_how_to_do_without_the_network(
    spec: ModelSpec, server: Server, cache: Path
) -> None:
    elsewhere = dataclasses.replace(spec, url=f"{server.url}.gone")
    with pytest.raises(DownloadError, match="404") as caught:
        fetch(elsewhere)
    for part in (elsewhere.url, spec.sha256, str(cache / NAME), "--checkpoint FILE"):
        assert str(part) in str(caught.value)


@pytest.fixture
def unhashed(spec: ModelSpec) -> ModelSpec:
    """A file whose publisher says neither its hash nor its size."""
    return dataclasses.replace(spec, sha256=None, num_bytes=None, option="--other FILE")


def test_a_file_without_a_published_hash_is_fetched_once(
    unhashed: ModelSpec, server: Server, cache: Path
) -> None:
    assert cached_file(unhashed) is None
    assert fetch(unhashed).read_bytes() == CONTENT
    assert fetch(unhashed) == cached_file(unhashed) == cache / NAME
    assert server.ranges == [None]
    smaller = dataclasses.replace(unhashed, num_bytes=len(CONTENT) - 1)
    assert cached_file(smaller) is None


def test_without_a_hash_nothing_is_joined_and_a_truncated_file_is_noticed(
    unhashed: ModelSpec, server: Server, cache: Path
) -> None:
    server.num_sent_at_most = 5000
    with pytest.raises(DownloadError, match=f"after 5000 of {len(CONTENT)} bytes; run again;"):
        fetch(unhashed)
    assert not (cache / NAME).exists()
    server.num_sent_at_most = None
    assert fetch(unhashed).read_bytes() == CONTENT
    assert server.ranges == [None, None]


def test_a_file_of_unknown_length_is_refused(unhashed: ModelSpec, server: Server) -> None:
    server.states_length = False
    with pytest.raises(DownloadError, match="does not say how long"):
        fetch(unhashed)


def test_errors_say_what_is_known_of_a_file_and_which_option_takes_it(
    unhashed: ModelSpec, server: Server, cache: Path
) -> None:
    elsewhere = dataclasses.replace(unhashed, url=f"{server.url}.gone")
    with pytest.raises(DownloadError) as caught:
        fetch(elsewhere)
    told = str(caught.value)
    assert "SHA-256" not in told
    assert f"put the file at {cache / NAME} by hand" in told
    assert told.endswith("say where it is with --other FILE")


def test_no_network(spec: ModelSpec) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed_port = unused.getsockname()[1]
    spec = dataclasses.replace(spec, url=f"http://127.0.0.1:{closed_port}/{NAME}")
    with pytest.raises(DownloadError, match="refused"):
        fetch(spec)


def test_a_server_that_does_not_answer(
    spec: ModelSpec, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT_SECONDS", 0.05)
    server.delay_seconds = 0.2
    with pytest.raises(DownloadError, match="timed out"):
        fetch(spec)


def test_a_file_put_in_place_by_hand_is_found(spec: ModelSpec, server: Server, cache: Path) -> None:
    (cache / NAME).write_bytes(CONTENT)
    assert cached_file(spec) == cache / NAME
    assert fetch(spec) == cache / NAME
    assert server.ranges == []


def test_a_damaged_cached_file_is_replaced(
    spec: ModelSpec, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = fetch(spec)
    path.write_bytes(CONTENT[:-1])
    assert cached_file(spec) is None
    with caplog.at_level(logging.WARNING, logger="vos"):
        assert fetch(spec).read_bytes() == CONTENT
    assert "another hash" in caplog.text


def test_an_unchanged_file_is_hashed_once_a_changed_one_again(
    spec: ModelSpec, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cache / NAME
    path.write_bytes(CONTENT)
    hashed: list[Path] = []
    monkeypatch.setattr(download, "sha256_of", lambda path: hashed.append(path) or sha256_of(path))
    assert cached_file(spec) == cached_file(spec) == path
    assert hashed == [path]
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(0, 1))
    assert cached_file(spec) is None
    assert hashed == [path, path]


def test_a_note_for_another_hash_or_a_broken_one_counts_for_nothing(
    spec: ModelSpec, cache: Path
) -> None:
    path = fetch(spec)
    assert cached_file(dataclasses.replace(spec, sha256="0" * 64)) is None
    path.with_name(f"{NAME}.checked").write_text("{")
    assert cached_file(spec) == path


def test_a_cache_that_cannot_be_written(spec: ModelSpec, cache: Path) -> None:
    cache.rmdir()
    cache.write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match=r"cannot keep weights.pth in .*VOS_CACHE"):
        fetch(spec)


def test_a_disk_that_takes_no_more(spec: ModelSpec, server: Server, cache: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits on file size are a POSIX matter")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(DownloadError, match=r"cannot keep .* too large"):
            fetch(spec)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert fetch(spec).read_bytes() == CONTENT


def test_processes_that_fetch_at_once_share_one_download(
    spec: ModelSpec, server: Server, cache: Path
) -> None:
    server.delay_seconds = 0.3
    program = (
        "from vos.sam.weights.download import *; from vos.sam.weights.registry import *; "
        f"fetch({spec!r})"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [process.wait(timeout=30) for process in processes] == [0, 0, 0]
    assert (cache / NAME).read_bytes() == CONTENT
    assert server.ranges == [None]


def test_the_cache_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("VOS_CACHE", "~/weights")
    assert cache_folder() == tmp_path / "weights"
    monkeypatch.setenv("VOS_CACHE", "")
    assert cache_folder().is_absolute()
    assert "vos" in cache_folder().parts


def test_the_embedded_weights_need_neither_cache_nor_network(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_model("nano")
    path = fetch(spec)
    assert path == cached_file(spec)
    assert sha256_of(path) == spec.sha256
    assert path.stat().st_size == spec.num_bytes
    with pytest.raises(CheckpointError, match="reinstall"):
        fetch(dataclasses.replace(spec, file_name="gone.safetensors"))
