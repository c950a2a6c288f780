"""Videos, masks and results in stores: S3 by moto's server, one that fails, web servers."""

import json
import re
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
from batches import make_batch, results, run_batch, states, write_manifest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from vos.batch.cache import Cache
from vos.batch.stores import RemoteStore, open_store
from vos.errors import InputError, SourceError, StoreError


class Failing:
    """A web application of which every nth answer is that it is overloaded."""

    def __init__(self, app, every: int) -> None:
        self.app, self.every = app, every
        self.num_requests = self.num_failed = 0
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        with self.lock:
            self.num_requests += 1
            fails = self.every and self.num_requests % self.every == 0
            self.num_failed += bool(fails)
        if fails:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        return self.app(environ, start_response)


@pytest.fixture(scope="module")
def server() -> Iterator[Failing]:
    app = Failing(DomainDispatcherApplication(create_backend_app), 0)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    app.url = f"http://127.0.0.1:{server.port}"
    yield app
    server.shutdown()
    thread.join()


@pytest.fixture
def bucket(server, monkeypatch, request) -> Iterator[str]:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", server.url),
    ):
        monkeypatch.setenv(name, value)
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    name = f"bucket{abs(hash(request.node.name))}"
    files.mkdir(name)
    yield f"s3://{name}"
    server.every = 0


def move_to(bucket: str, folder: Path, num_clips: int) -> Path:
    """Put the clips of a batch into a bucket; give the manifest that names them there."""
    files = fsspec.filesystem("s3")
    rows = []
    for number in range(num_clips):
        clip = f"clip{number:03d}"
        for name in ("clip.mp4", "mask.png"):
            files.pipe_file(f"{bucket}/in/{clip}/{name}", (folder / clip / name).read_bytes())
        rows.append(
            {"video": f"{bucket}/in/{clip}/clip.mp4", "mask": f"{bucket}/in/{clip}/mask.png"}
        )
    return write_manifest(folder, rows)


def fetch(address: str, target: Path) -> dict[str, bytes]:
    store = open_store(address)
    store.get(store.names(""), target)
    return results(target)


def test_in_and_out_of_s3_is_as_on_the_disk(bucket, tmp_path):
    manifest = make_batch(tmp_path, 3)
    run_batch(manifest, tmp_path / "local")
    manifest = move_to(bucket, tmp_path, 3)
    assert states(run_batch(manifest, f"{bucket}/out")) == {"done": 3}
    found, local = fetch(f"{bucket}/out", tmp_path / "found"), results(tmp_path / "local")
    assert found.keys() == local.keys()
    for name, content in found.items():
        if name.endswith(".json"):
            # They name the inputs: as the manifest does.
            assert f"{bucket}/in/{Path(name).stem}/clip.mp4".encode() in content
            assert str(tmp_path).encode() not in content
        else:
            assert content == local[name]
    assert states(run_batch(manifest, f"{bucket}/out")) == {"skipped": 3}


def test_a_store_that_fails_every_tenth_time(bucket, server, tmp_path):
    manifest = make_batch(tmp_path, 4, bad=(2,))
    run_batch(manifest, tmp_path / "local")
    server.every = 10
    before = server.num_failed
    outcomes = run_batch(manifest, f"{bucket}/out")
    assert states(outcomes) == {"done": 3, "failed": 1}
    assert outcomes["clip002"].error_kind == "MaskError"
    assert fetch(f"{bucket}/out", tmp_path / "found") == results(tmp_path / "local")
    assert server.num_failed - before >= 5


@pytest.mark.parametrize("pack", [None, "tar"])
def test_another_machine_goes_on_with_what_broke_off(bucket, tmp_path, pack):
    manifest = make_batch(tmp_path, 1, num_frames=6)
    run_batch(manifest, tmp_path / "local", pack=pack)
    out, frames = f"{bucket}/out", []

    def lost(_: int) -> None:
        frames.append(1)
        if len(frames) == 4:
            raise SystemExit  # no chance to save

    with pytest.raises(SystemExit):
        run_batch(manifest, out, pack=pack, on_frames=lost, save_every_seconds=0, expire_seconds=1)
    (tmp_path / "scratch").rename(tmp_path / "of another machine")
    outcome = run_batch(manifest, out, pack=pack)["clip000"]
    assert outcome.state == "done"
    assert outcome.num_before >= 2
    assert fetch(out, tmp_path / "found") == results(tmp_path / "local")


def test_names_in_a_store_do_not_lead_out_of_a_folder(bucket, tmp_path):
    fsspec.filesystem("s3").pipe_file(f"{bucket}/out/../../escaped", b"x")
    store = open_store(f"{bucket}/out")
    store.write("good", b"x")
    assert store.names("") == ["good"]


def test_results_of_others_and_stale_ones_in_a_store(bucket, tmp_path):
    manifest = make_batch(tmp_path, 1, num_frames=4)
    out = f"{bucket}/out"
    store = open_store(out)
    for file in ("clip000.json", "clip000/00003.png", "clip000.tar"):
        store.write(file, b"{}")
        pack = "tar" if file.endswith("tar") else None
        for overwrite in (False, True):
            outcome = run_batch(manifest, out, overwrite=overwrite, pack=pack)["clip000"]
            assert f"{file} exists, and no batch wrote it" in outcome.error
        assert store.read(file) == b"{}"
        store.remove([file])
    run_batch(manifest, out)
    store.write("clip000/mine.txt", b"mine")
    rows = [{"video": "clip000/clip.mp4", "mask": "clip000/mask.png", "every": 2}]
    run_batch(write_manifest(tmp_path, rows), out)
    names = ["clip000.json", "clip000/00000.png", "clip000/00002.png", "clip000/mine.txt"]
    assert [name for name in store.names("") if not name.startswith(".")] == names
    run_batch(tmp_path / "jobs.jsonl", out, pack="tar")
    names = ["clip000.json", "clip000.tar", "clip000/mine.txt"]
    assert [name for name in store.names("") if not name.startswith(".")] == names


def test_packed_results_are_samples_of_webdataset(tmp_path):
    """Its rule: files in a row whose names agree up to the first dot of the last part."""
    run_batch(make_batch(tmp_path, 2), tmp_path / "out", pack="tar")
    run_batch(tmp_path / "jobs.jsonl", tmp_path / "loose")
    assert not (tmp_path / "out/clip000").exists()
    samples: dict[str, dict[str, bytes]] = {}
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(path) as tar:
            for entry in tar:
                key, ending = re.fullmatch(r"((?:.*/)?[^.]+)\.(.*)", entry.name).groups()
                samples.setdefault(key, {})[ending] = tar.extractfile(entry).read()
    assert [*samples] == [f"clip000/0000{n}" for n in range(3)] + [
        f"clip001/0000{n}" for n in range(4)
    ]
    loose = results(tmp_path / "loose")
    assert {f"{key}.png": each["png"] for key, each in samples.items()} == {
        name: content for name, content in loose.items() if name.endswith(".png")
    }
    assert json.loads(samples["clip000/00000"]["json"])["objects"][0]["id"] == 1


@pytest.fixture
def web(tmp_path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_videos_and_masks_from_the_web(tmp_path, web):
    make_batch(tmp_path, 2)
    rows = [
        {"video": f"{web}/clip00{n}/clip.mp4", "mask": f"{web}/clip00{n}/mask.png"} for n in (0, 1)
    ]
    rows.append({"video": f"{web}/lost/clip.mp4", "mask": f"{web}/clip000/mask.png"})
    manifest = write_manifest(tmp_path, rows)
    outcomes = run_batch(manifest, tmp_path / "out")
    assert states(outcomes) == {"done": 2, "failed": 1}
    assert outcomes["lost"].error_kind == "SourceError"
    assert outcomes["lost"].num_tries == 1
    assert states(run_batch(manifest, tmp_path / "out")) == {"skipped": 2, "failed": 1}


def test_the_cache_keeps_its_bound_and_what_is_in_use(tmp_path):
    files = fsspec.filesystem("memory")
    urls = [f"memory://cache/{n}.mp4" for n in range(4)]
    for number, url in enumerate(urls):
        files.pipe_file(url, bytes([number]) * 400)
    cache = Cache(tmp_path / "cache", max_bytes=1000)

    def kept() -> int:
        return sum(path.stat().st_size for path in cache.folder.glob("*.mp4"))

    in_use = tmp_path / "in_use"
    cache.fetch(urls[0], in_use)
    for url in urls[1:]:
        cache.fetch(url, tmp_path / "soon gone")
        (tmp_path / "soon gone").unlink()
        assert kept() <= 1000
    files.rm(urls[0])
    assert in_use.read_bytes() == bytes(400)
    assert in_use.stat().st_nlink == 2
    with pytest.raises(SourceError, match="no such file"):
        cache.fetch(urls[0], tmp_path / "x")
    with pytest.raises(InputError, match="--cache-gb"):
        Cache(tmp_path / "cache", max_bytes=399).fetch(urls[1], tmp_path / "x")


def test_a_full_cache_waits_until_a_video_is_no_longer_used(tmp_path):
    files = fsspec.filesystem("memory")
    for name in "ab":
        files.pipe_file(f"memory://full/{name}", bytes(400))
    cache = Cache(tmp_path / "cache", max_bytes=500)
    cache.fetch("memory://full/a", tmp_path / "a")
    timer = threading.Timer(0.3, (tmp_path / "a").unlink)
    timer.start()
    cache.fetch("memory://full/b", tmp_path / "b")
    assert not (tmp_path / "a").exists()
    timer.join()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://host/results", "cannot be written"),
        ("nowhere://x", "nowhere"),
        ("gs://bucket/x", r"vos-persam\[gs\]"),
    ],
)
def test_stores_that_cannot_be_used(address, message):
    with pytest.raises(InputError, match=message):
        open_store(address)


def test_a_store_that_does_not_answer_is_an_error_that_can_pass(monkeypatch):
    class Broken:
        num_asked = 0

        def cat_file(self, path):
            self.num_asked += 1
            raise ConnectionResetError("reset by peer")

    monkeypatch.setattr("vos.batch.stores._DELAYS_SECONDS", (0.0, 0.0))
    files = Broken()
    with pytest.raises(StoreError, match="cannot read bucket/a: reset by peer"):
        RemoteStore(files, "bucket").read("a")
    assert files.num_asked == 3
