"""The page's server by its interface: what it shows, what it does, and whom it turns away."""

import io
import json
import multiprocessing
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from app_server import (
    HEIGHT,
    NUM_FRAMES,
    SIDE,
    TOKEN,
    WIDTH,
    Served,
    cookie,
    corner_of,
    draw,
    get,
    iou,
    is_hung_up,
    make_clip,
    serving,
    stand_in,
)
from click.testing import CliRunner
from colour_sam import ColourSam
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import vos
from vos.app import serve
from vos.app.cached_model import Superseded
from vos.app.frame_model import FrameModel
from vos.cli.app import _source_of, app_command
from vos.errors import InputError
from vos.masks import encode_label_png, read_label_png


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="module")
def unchanged(clip, tmp_path_factory):
    """For tests that change nothing."""
    with serving(clip, tmp_path_factory.mktemp("unchanged")) as served:
        yield served


@pytest.fixture
def served(clip, tmp_path):
    with serving(clip, tmp_path / "out") as served:
        yield served


def test_frames_are_those_of_the_source(unchanged, clip):
    with vos.open_source(clip) as source:
        frames = list(source)
    for index in (7, 3, 13):
        status, headers, body = get(unchanged.port, f"/frame/{index}.png")
        assert (status, headers["content-type"]) == (200, "image/png")
        np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(body))), frames[index].rgb)
    times = np.frombuffer(get(unchanged.port, "/times")[2], np.float32)
    np.testing.assert_allclose(times, [frame.pts_seconds for frame in frames])


def test_a_click_gives_a_mask_and_undo_takes_it_back(served):
    with served.page() as page:
        page.click(1)
        page.click(2)
        for object_id in (1, 2):
            assert iou(page.labels(0) == object_id, draw(0)[1] == object_id) > 0.8
        assert page.state["project"]["names"] == {"1": "object 1", "2": "object 2"}
        page.edit(type="undo")
        assert set(np.unique(page.labels(0))) == {0, 1}
        page.edit(type="redo")
        assert set(np.unique(page.labels(0))) == {0, 1, 2}


def test_a_stroke_is_painted_as_it_was_drawn(served):
    with served.page() as page:
        stroke = {"frame": 2, "object": 1, "radius": 4.0, "points": [(20.0, 50.0), (60.0, 50.0)]}
        page.edit(type="stroke", erase=False, **stroke)
        labels = page.labels(2)
        assert (labels[46:55, 20:61] == 1).all()
        assert not labels[:45].any()
        assert not labels[56:].any()
        stroke["points"] = [(40.0, 50.0)]
        page.edit(type="stroke", erase=True, **stroke)
        assert not page.labels(2)[50, 37:44].any()


def test_a_box_and_a_painted_neighbour_keep_apart(served):
    with served.page() as page:
        left, top = corner_of(1, 0)
        box = [left - 2, top - 2, left + SIDE + 2, top + SIDE + 2]
        page.edit(type="box", frame=0, object=1, box=box)
        one = page.labels(0) == 1
        points = [(left + 15.0, top + SIDE + 8.0)]
        page.edit(type="stroke", frame=0, object=2, radius=3.0, points=points, erase=False)
        np.testing.assert_array_equal(page.labels(0) == 1, one)


def test_a_mask_file_is_imported(served):
    body = encode_label_png(draw(0)[1])
    with served.page() as page:
        assert get(served.port, "/mask/0", method="POST", body=body)[0] == 204
        page.receive()
        np.testing.assert_array_equal(page.labels(0), draw(0)[1])
        status, _, text = get(served.port, "/mask/0", method="POST", body=b"no mask")
        assert status == 404
        assert b"cannot read the mask" in text
        np.testing.assert_array_equal(page.labels(0), draw(0)[1])


def test_tracking_gives_what_vos_run_gives(served, clip, tmp_path):
    with served.page() as page:
        page.click(1)
        page.track()
        assert sorted(set(page.indices)) == list(range(NUM_FRAMES))
        assert page.state["is_up_to_date"]
        shown = [page.labels(index) for index in range(NUM_FRAMES)]
    job = vos.Job(
        source=str(clip),
        references=(
            vos.Reference(hints={1: vos.Hint((vos.Click(*(n + 15 for n in corner_of(1, 0))),))}),
        ),
        outputs=vos.JobOutputs(folder=tmp_path / "other", overlay_alpha=None),
    )
    vos.run_job(job, stand_in())
    results = vos.read_results(tmp_path / "other")
    for index, labels in enumerate(shown):
        np.testing.assert_array_equal(labels, results.labels(index))


def test_all_is_there_when_the_server_comes_back(clip, tmp_path):
    with serving(clip, tmp_path / "out") as served, served.page() as page:
        page.click(1)
        page.edit(type="name", object=1, name="red square")
        page.track()
        before = page.labels(9)
        assert before.any()
    with serving(clip, tmp_path / "out") as served, served.page() as page:
        assert page.state["project"]["names"] == {"1": "red square"}
        assert page.state["is_up_to_date"]
        np.testing.assert_array_equal(page.labels(9), before)
        page.edit(type="undo")
        assert page.state["project"]["names"] == {"1": "object 1"}
        page.edit(type="undo")
        assert page.state["undo"] is None
        assert page.state["project"]["marks"] == {}


class SlowSam(vos.SamModel):
    def encode(self, pictures):
        time.sleep(0.05)
        return super().encode(pictures)


class CountingSam(vos.SamModel):
    num_calls = 0

    def encode(self, pictures):
        self.num_calls += 1
        return super().encode(pictures)

    def decode(self, *args, **options):
        self.num_calls += 1
        return super().decode(*args, **options)


def serve_slowly(clip, folder, port_file):
    """In a process of its own, to be killed."""
    sam = SlowSam(ColourSam(), name="colour", weights_sha256="0" * 64)
    with serving(clip, folder, sam) as served:
        port_file.with_suffix(".part").write_text(str(served.port))
        port_file.with_suffix(".part").rename(port_file)
        time.sleep(600)


def test_a_stopped_run_goes_on(clip, tmp_path):
    with serving(clip, tmp_path / "whole") as served, served.page() as page:
        page.click(1)
        page.track()
        whole = [page.labels(index) for index in range(NUM_FRAMES)]
    sam = SlowSam(ColourSam(), name="colour", weights_sha256="0" * 64)
    with serving(clip, tmp_path / "out", sam) as served, served.page() as page:
        page.click(1)
        page.socket.send(json.dumps({"type": "track", "frame": 0, "direction": "both"}))
        page.until(lambda: page.indices)
        page.socket.send(json.dumps({"type": "stop"}))
        page.until(lambda: page.state["status"] == "ready")
        assert not page.state["is_up_to_date"]
        assert max(page.indices) < NUM_FRAMES - 1
    with serving(clip, tmp_path / "out") as served, served.page() as page:
        page.track()
        assert page.state["is_up_to_date"]
        for index in range(NUM_FRAMES):
            np.testing.assert_array_equal(page.labels(index), whole[index])


def test_a_corrected_frame_changes_what_is_around_it_alone(served):
    with served.page() as page:
        page.click(1)
        page.click(2)
        page.track()
        folder = served.session.folder / "clip"
        before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
        page.indices.clear()
        left, top = corner_of(2, 9)
        points = [(left + 5.0, top + 5.0), (left + 25.0, top + 25.0)]
        page.edit(type="stroke", frame=9, object=2, radius=6.0, points=points, erase=True)
        page.track()
        assert page.state["is_up_to_date"]
        assert not page.labels(9)[top + 15, left + 15]
        assert 9 in page.indices
        after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
        assert after["00000.png"] == before["00000.png"]
        page.edit(type="undo")
        page.track()
        assert page.labels(9)[top + 15, left + 15] == 2


def test_a_first_click_on_a_tracked_frame_corrects_the_mask_that_is_there(clip, tmp_path):
    at, truth = 7, draw(7)[1] == 1
    left, top = corner_of(1, at)
    out = tmp_path / "out"
    with serving(clip, out) as served, served.page() as page:
        page.click(1)
        page.click(2)
        page.track()
        path = out / "clip" / f"{at:05d}.png"
        found = read_label_png(path)
        wrong = found.copy()  # what tracking may do: a part is missing, another one is too much
        wrong[:, left + 16 : left + SIDE] *= wrong[:, left + 16 : left + SIDE] != 1
        wrong[2:8, left - 2 : left + 8] = 1
        path.write_bytes(encode_label_png(wrong))

        page.click(1, at, dx=24)
        added = page.labels(at)
        assert iou((added == 1)[9:], truth[9:]) > 0.9
        np.testing.assert_array_equal(added[:, : left + 12], wrong[:, : left + 12])
        np.testing.assert_array_equal(added == 2, found == 2)
        page.edit(type="click", frame=at, object=1, x=left + 3, y=top - 5, positive=False)
        right = page.labels(at)
        assert iou(right == 1, truth) > 0.9
        assert page.state["project"]["marks"][str(at)]["corrections"] == {
            "1": [[left + 24, top + 15, True], [left + 3, top - 5, False]]
        }
        page.edit(type="undo")
        np.testing.assert_array_equal(page.labels(at), added)
        page.edit(type="undo")
        np.testing.assert_array_equal(page.labels(at), wrong)
        page.edit(type="redo")
        page.edit(type="redo")
        np.testing.assert_array_equal(page.labels(at), right)
        assert f"--ref {at}:" in get(page.port, "/command")[2].decode()
        assert not page.notices
    with serving(clip, out) as served, served.page() as page:  # it has ended and comes back
        np.testing.assert_array_equal(page.labels(at), right)
        page.track()
        np.testing.assert_array_equal(page.labels(at) == 1, right == 1)
        assert page.state["is_up_to_date"]
    job = vos.read_results(out).job
    (reference,) = [each for each in job.references if each.frame == at]
    np.testing.assert_array_equal(read_label_png(reference.mask), right * (right == 1))
    vos.run_job(replace(job, outputs=vos.JobOutputs(folder=tmp_path / "b", name="b")), stand_in())
    np.testing.assert_array_equal(vos.read_results(tmp_path / "b").labels(at) == 1, right == 1)


def test_a_click_on_a_painted_mask_corrects_it_and_one_far_off_means_another_object(served):
    left, top = corner_of(1, 0)
    with served.page() as page:
        points = [[left + 8.0, top + 8.0], [left + 8.0, top + SIDE - 9.0]]
        page.edit(type="stroke", frame=0, object=1, radius=8.0, points=points, erase=False)
        painted = page.labels(0) == 1
        page.click(1, dx=26)
        whole = page.labels(0) == 1
        assert iou(whole, draw(0)[1] == 1) > 0.85
        np.testing.assert_array_equal(whole[:, : left + 12], painted[:, : left + 12])
        _, other_top = corner_of(2, 0)
        page.edit(type="click", frame=0, object=1, x=left + 15, y=other_top + 22, positive=True)
        assert iou(page.labels(0) == 1, draw(0)[1] == 2) > 0.8
        assert page.state["project"]["marks"]["0"]["corrections"] == {}


def test_masks_of_an_earlier_state_are_told(served):
    last = NUM_FRAMES - 1
    with served.page() as page:
        page.click(1)
        page.click(2)
        page.track()
        assert page.state["stale"] == {"changed": {}, "cleared": {}}
        left, top = corner_of(2, 9)
        stroke = {"object": 2, "radius": 6.0, "points": [(left + 9.0, top + 9.0)], "erase": True}
        page.edit(type="stroke", frame=9, **stroke)
        page.until(lambda: page.state["stale"]["changed"] == {"2": [[5, last]]})
        page.edit(type="undo")
        page.until(lambda: not page.state["stale"]["changed"])
        assert page.state["is_up_to_date"]
        page.edit(type="undo")  # object 2 was never shown
        page.until(lambda: page.state["stale"]["cleared"] == {"2": [[0, last]]})
        page.edit(type="redo")
        page.until(lambda: not page.state["stale"]["cleared"])


def test_objects_have_the_colours_of_their_masks_until_others_are_chosen(served):
    orange, teal = (213, 94, 0), (0, 120, 120)
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[draw(0)[1] == 1] = orange
    body = io.BytesIO()
    Image.fromarray(picture).save(body, "PNG")
    with served.page() as page:
        assert get(served.port, "/mask/0", method="POST", body=body.getvalue())[0] == 204
        page.until(lambda: page.state["project"]["colours"] == {"1": [*orange]})
        page.click(2)
        page.edit(type="colour", object=2, rgb=teal)
        command = get(served.port, "/command")[2].decode()
        assert "--colour '1:#d55e00' --colour '2:#007878'" in command
        page.track()
        assert page.state["is_up_to_date"]
        page.edit(type="colour", object=2, rgb=None)
        assert page.state["project"]["colours"] == {"1": [*orange]}
    assert vos.read_results(served.session.folder).job.colours == {1: orange, 2: teal}


def test_what_a_click_takes_is_computed_while_the_pointer_rests():
    sam, frame = CountingSam(ColourSam()), vos.Frame(0, 0.0, "0", draw(0)[0])
    left, top = corner_of(1, 0)
    hints = {1: vos.Hint((vos.Click(left + 15, top + 15),))}
    want, _ = vos.reference_from_hints(frame, hints, stand_in())
    model = FrameModel(frame, sam)
    with pytest.raises(Superseded), model.ahead(lambda: True):  # something else is wanted
        model.segment(hints)
    assert sam.num_calls == 0
    with model.ahead(lambda: False):
        model.segment(hints)
    num_calls = sam.num_calls
    assert num_calls > 0
    assert model.outlines(hints[1])
    np.testing.assert_array_equal(model.segment(hints)[0], want)
    assert sam.num_calls == num_calls
    further = {1: vos.Hint((*hints[1].clicks, vos.Click(left + 50, top + 15, is_positive=False)))}
    want, _ = vos.reference_from_hints(frame, further, stand_in())
    np.testing.assert_array_equal(model.segment(further)[0], want)


def test_the_page_looks_ahead_and_clicks_are_as_ever(served):
    left, top = corner_of(1, 0)
    with served.page() as page:
        page.socket.send(json.dumps({"type": "look", "frame": 0}))
        rest = {"type": "rest", "frame": 0, "object": 1, "x": left + 15, "y": top + 15}
        page.socket.send(json.dumps(rest))
        while (message := page.receive())["type"] != "preview":
            pass
        (polygon,) = message["polygons"]  # of the mask that a click would make
        assert abs(min(polygon[::2]) - left) <= 2
        assert abs(max(polygon[1::2]) - (top + SIDE - 1)) <= 2
        page.socket.send(json.dumps({**rest, "frame": 999}))
        page.click(1)
        assert iou(page.labels(0) == 1, draw(0)[1] == 1) > 0.8
        assert not page.notices


def test_another_method(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", 6)
    config = vos.RunConfig(method=vos.PersamF(fit=vos.FitConfig(num_steps=3)))
    with serving(clip, tmp_path / "out", config=config) as served, served.page() as page:
        page.click(1)
        page.track()
        assert page.state["is_up_to_date"]
        assert "--method persam-f --fit-steps 3" in get(served.port, "/command")[2].decode()
        for index in range(6):
            assert iou(page.labels(index) == 1, draw(index)[1] == 1) > 0.6
        page.click(1, 4)
        page.track()
        assert page.state["is_up_to_date"]
    with serving(clip, tmp_path / "out") as served, served.page() as page:
        assert page.state["is_up_to_date"]  # the results' own method
        page.edit(type="name", object=1, name="square")
        page.track()
    assert vos.read_results(tmp_path / "out").job.config == config


def test_options_that_contradict_the_results_are_refused(tmp_path, monkeypatch):
    clip = make_clip(tmp_path / "clip.mp4", 2)
    monkeypatch.setattr(serve, "make_server", lambda *_: pytest.fail("it was served"))
    out = tmp_path / "out"
    with serving(clip, out) as served, served.page() as page:
        page.click(1)
        page.track()
    for option in (["--model", "vit_b"], ["--method", "persam-f"], ["--skip-padding"]):
        arguments = [str(clip), "--out", str(out), "--no-browser", *option]
        done = CliRunner().invoke(app_command, arguments)
        assert done.exit_code == 2
        assert f"{option[0]} contradicts the results clip" in done.output
    arguments = [str(clip), "--out", str(out), "--no-browser", "--features", "sam"]
    with pytest.raises(pytest.fail.Exception, match="it was served"):
        app_command.main(arguments, standalone_mode=False)


def test_an_object_is_tracked_both_ways_from_where_it_is_shown(served):
    with served.page() as page:
        page.click(1, 7)
        page.track()
        for index in range(NUM_FRAMES):
            assert iou(page.labels(index) == 1, draw(index)[1] == 1) > 0.7


@pytest.mark.parametrize(
    ("direction", "want"), [("forwards", range(8, 14)), ("backwards", range(9))]
)
def test_tracking_one_way_from_a_frame_and_the_rest_later(served, direction, want):
    with served.page() as page:
        page.click(1, 8)
        page.track(direction, 8)
        assert {index for index in range(NUM_FRAMES) if page.labels(index).any()} == {*want}
        assert not page.state["is_up_to_date"]
        page.track()
        assert page.state["is_up_to_date"]
        assert all(page.labels(index).any() for index in range(NUM_FRAMES))


def test_a_range_alone_is_tracked(served):
    with served.page() as page:
        page.click(1, 5)
        page.edit(type="range", range=[3, 9])
        page.track()
        assert page.state["is_up_to_date"]
        tracked = {index for index in range(NUM_FRAMES) if page.labels(index).any()}
        assert tracked == {*range(3, 10)}
        page.edit(type="range", range=None)
        page.track()
        page.edit(type="range", range=[11, 12])
        page.edit(type="absent", object=1, first=11, last=12, is_absent=True)
        page.track()
        tracked = {index for index in range(NUM_FRAMES) if page.labels(index).any()}
        assert tracked == {*range(NUM_FRAMES)} - {11, 12}


def test_absent_frames_have_no_mask(served):
    with served.page() as page:
        page.click(1)
        page.track()
        page.edit(type="absent", object=1, first=5, last=9, is_absent=True)
        assert [page.labels(index).any() for index in (4, 5, 9, 10)] == [True, False, False, True]
        page.track()
        assert page.state["is_up_to_date"]
        status = vos.read_results(served.session.folder)
        assert [bool(frame.present[0]) for frame in status.frames[3:12]] == [
            *(True, True, False, False, False, False, False, True, True)
        ]
        page.click(1, 7)  # it is there after all
        assert page.labels(7).any()
        assert page.state["project"]["absences"] == [[1, 5, 6], [1, 8, 9]]


def test_the_results_of_vos_run_are_opened(clip, tmp_path):
    mask = tmp_path / "mask.png"
    mask.write_bytes(encode_label_png(draw(0)[1]))
    job = vos.Job(
        source=str(clip),
        references=(vos.Reference(mask=mask),),
        names={2: "green square"},
        outputs=vos.JobOutputs(folder=tmp_path / "out"),
    )
    vos.run_job(job, stand_in())
    for path in ("out", "out/clip", "out/clip.json"):
        found = _source_of(str(tmp_path / path), tmp_path / "elsewhere", None)
        assert found == (str(clip), tmp_path / "out", "clip")
    with serving(clip, tmp_path / "out") as served, served.page() as page:
        assert page.state["project"]["names"] == {"1": "object 1", "2": "green square"}
        assert page.state["is_up_to_date"]
        np.testing.assert_array_equal(page.labels(0), draw(0)[1])
        assert page.labels(12).any()
        page.click(1, 12)
        page.track()
        assert page.state["is_up_to_date"]
        assert (tmp_path / "out" / "clip.mp4").exists()


def test_an_export_is_written_beside_the_results(served):
    with served.page() as page:
        page.click(1)
        page.track()
        page.socket.send(json.dumps({"type": "export", "formats": ["npz", "sav"]}))
        page.until(lambda: page.notices)
        page.until(lambda: page.state["status"] == "ready")
        exports = served.session.folder / "exports"
        assert page.notices == [f"npz, sav: in {exports}"]
        assert sorted(path.name for path in exports.iterdir()) == ["npz", "sav"]
        page.edit(type="export", formats=["no such format"])
        page.until(lambda: "no export format" in page.notices[-1])


def test_a_stopped_run_is_corrected_and_goes_on(clip, tmp_path):
    sam = SlowSam(ColourSam(), name="colour", weights_sha256="0" * 64)
    with serving(clip, tmp_path / "out", sam) as served, served.page() as page:
        page.click(1)
        page.socket.send(json.dumps({"type": "track", "frame": 0, "direction": "both"}))
        page.until(lambda: page.indices and max(page.indices) > 5)
        page.socket.send(json.dumps({"type": "stop"}))
        page.until(lambda: page.state["status"] == "ready")
        stopped_at = max(page.indices)
        assert stopped_at < NUM_FRAMES - 1
        page.indices.clear()
        left, top = corner_of(1, 5)
        stroke = {"object": 1, "radius": 3.0, "points": [(left + 8.0, top + 8.0)], "erase": True}
        page.edit(type="stroke", frame=5, **stroke)
        page.track()
        assert page.state["is_up_to_date"]
        assert not {0, 1} & {*page.indices}  # what the correction does not touch is kept
        assert {5, NUM_FRAMES - 1} <= {*page.indices}
        for index in range(NUM_FRAMES):
            assert iou(page.labels(index) == 1, draw(index)[1] == 1) > 0.6
        assert not page.labels(5)[top + 8, left + 8]
    results = vos.read_results(tmp_path / "out")
    assert results.is_complete
    assert [frame.index for frame in results.frames] == [*range(NUM_FRAMES)]


def test_a_killed_server_loses_nothing_that_was_saved(clip, tmp_path):
    with serving(clip, tmp_path / "whole") as served, served.page() as page:
        page.click(1)
        page.track()
        whole = [page.labels(index) for index in range(NUM_FRAMES)]
    process = multiprocessing.get_context("spawn").Process(
        target=serve_slowly, args=(clip, tmp_path / "out", tmp_path / "port")
    )
    process.start()
    while not (tmp_path / "port").exists():
        time.sleep(0.05)
    with Served(int((tmp_path / "port").read_text()), None).page() as page:
        page.click(1)
        page.socket.send(json.dumps({"type": "track", "frame": 0, "direction": "both"}))
        page.until(lambda: len(page.indices) > 3)
        process.kill()
        process.join()
    with serving(clip, tmp_path / "out") as served, served.page() as page:
        assert page.state["project"]["names"] == {"1": "object 1"}
        assert page.labels(0).any()
        assert not page.state["is_complete"]
        page.track()
        assert page.state["is_up_to_date"]
        for index in range(NUM_FRAMES):
            np.testing.assert_array_equal(page.labels(index), whole[index])


def test_a_folder_of_pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(6):
        Image.fromarray(draw(index)[0]).save(folder / f"p{index}.png")
    with serving(folder, tmp_path / "out") as served, served.page() as page:
        page.click(1, 3)
        page.track()
        assert [page.labels(index).any() for index in range(6)] == [True] * 6
        assert (tmp_path / "out" / "pictures" / "p5.png").exists()


def test_two_pages_are_in_step(served):
    with served.page() as one, served.page() as other:
        one.click(1)
        other.until(lambda: other.state["project"]["names"])
        assert other.state["project"] == one.state["project"]
        other.edit(type="undo")
        one.until(lambda: not one.state["project"]["names"])


# Whom it turns away.


@pytest.mark.parametrize("path", ["/", "/frame/0.jpg", "/labels/0", "/times", "/static/main.js"])
def test_nothing_without_the_token(unchanged, path):
    assert get(unchanged.port, path)[0] == 200
    assert get(unchanged.port, path, Cookie="")[0] == 403
    assert get(unchanged.port, path, Cookie=f"vos_{unchanged.port}=guess")[0] == 403
    assert get(unchanged.port, path, Host="evil.example")[0] == 403
    assert get(unchanged.port, path, Origin="http://evil.example")[0] == 403
    assert get(unchanged.port, path, Origin="", Sec_Fetch_Site="same-site")[0] == 403


def test_it_works_through_a_tunnel_from_another_port(unchanged):
    for host in ("localhost:9000", "127.0.0.1:1", "[::1]:9000"):
        assert get(unchanged.port, "/", Host=host, Origin=f"http://{host}")[0] == 200
        assert get(unchanged.port, "/", Host=host, Origin="http://localhost:3000")[0] == 403


def test_the_token_is_traded_for_a_cookie(unchanged):
    status, headers, body = get(unchanged.port, f"/?token={TOKEN}", Cookie="", Origin="")
    assert status == 200
    assert b'content="0; url=/"' in body
    assert TOKEN.encode() not in body
    assert "HttpOnly" in headers["set-cookie"]
    assert "SameSite=Strict" in headers["set-cookie"]
    assert get(unchanged.port, "/?token=guess", Cookie="", Origin="")[0] == 403


def test_the_page_may_load_nothing_of_others(unchanged):
    _, headers, body = get(unchanged.port, "/")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert b"http" not in body.replace(b"http-equiv", b"")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": None},
        {"Cookie": ""},
        {"Host": "evil.example"},
    ],
)
def test_the_socket_is_the_pages_alone(unchanged, headers):
    sent = {
        "origin": f"http://127.0.0.1:{unchanged.port}",
        "Cookie": cookie(unchanged.port),
    } | headers
    origin = sent.pop("origin")
    address = f"ws://127.0.0.1:{unchanged.port}/socket"
    with (
        pytest.raises(InvalidStatus, match=r"40[03]"),
        connect(address, origin=origin, additional_headers=sent),
    ):
        pass


@pytest.mark.parametrize(
    "path",
    [
        "/static/../session.py",
        "/static/%2e%2e/session.py",
        "/static/..%2fsession.py",
        "/static//etc/passwd",
        "/frame/-1.jpg",
        "/frame/14.jpg",
        "/frame/0.jpg/../../../etc/passwd",
        "/frame/0.%2e%2e",
        "/frame/99999999999999999999999999.jpg",
        "/labels/..",
    ],
)
def test_paths_lead_nowhere(unchanged, path):
    status, _, body = get(unchanged.port, path)
    assert status in (400, 404)
    assert len(body) < 300


def test_requests_must_come_from_the_page(unchanged):
    body = encode_label_png(draw(0)[1])
    for origin in ("", "null", "http://evil.example", f"http://127.0.0.1:{unchanged.port + 1}"):
        assert get(unchanged.port, "/mask/0", method="POST", body=body, Origin=origin)[0] == 403
    assert get(unchanged.port, "/mask/0", method="DELETE")[0] == 405


def test_bodies_and_messages_have_limits(served, monkeypatch):
    from vos.app import server

    monkeypatch.setattr(server, "_MAX_MASK_BYTES", 1 << 12)
    assert get(served.port, "/mask/0", method="POST", body=bytes(1 << 13))[0] == 400
    with served.page() as page:
        page.socket.send("x" * (1 << 20))
        with pytest.raises(ConnectionClosed):
            page.until(lambda: False)
    with served.page() as page:
        page.click(1)  # the others are not disturbed


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"type": "open", "path": "/etc/passwd"}',
        '{"type": "click", "frame": 0, "object": 0, "x": 1, "y": 1, "positive": true}',
        '{"type": "click", "frame": -1, "object": 1, "x": 1, "y": 1, "positive": true}',
        '{"type": "click", "frame": 0, "object": 1, "x": 1e999, "y": 1, "positive": true}',
        '{"type": "click", "frame": 0, "object": 1, "x": 5000, "y": 1, "positive": true}',
        '{"type": "click", "frame": 999, "object": 1, "x": 5, "y": 1, "positive": true}',
        '{"type": "name", "object": 9, "name": "x"}',
        '{"type": "stroke", "frame": 0, "object": 1, "radius": 2, "points": [], "erase": false}',
        '{"type": "track", "frame": 0, "direction": "both"}',
        json.dumps({"type": "undo", "more": 1}),
    ],
)
def test_what_is_no_message_is_told_and_changes_nothing(unchanged, text):
    with unchanged.page() as page:
        before = page.state["project"]
        page.socket.send(text)
        page.until(lambda: page.notices)
        assert page.state["project"] == before


def test_one_tracking_run_at_a_time(served):
    with served.page() as page:
        page.click(1)
        for _ in range(2):
            page.socket.send(json.dumps({"type": "track", "frame": 0, "direction": "both"}))
        page.until(lambda: page.notices)
        assert "already" in page.notices[0]
        page.until(lambda: page.state["status"] == "ready")


def test_half_open_connections_are_hung_up(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(serve, "REQUEST_SECONDS", 0.3)
    with serving(clip, tmp_path / "out") as served, served.page() as page:
        assert is_hung_up(served.port, b"", 5)
        assert is_hung_up(served.port, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", 5)
        page.click(1)  # an open socket stays
        assert page.state["project"]["names"]


def test_sizes_are_those_of_the_clip(unchanged):
    with unchanged.page() as page:
        video = page.state["video"]
        assert (video["width"], video["height"]) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "evil.example"])
def test_other_machines_are_let_in_on_demand_only(clip, host):
    done = CliRunner().invoke(app_command, [str(clip), "--host", host, "--no-browser"])
    assert isinstance(done.exception, InputError)
    assert "pass --allow-remote as well" in str(done.exception)


def test_a_port_that_is_taken_is_told(unchanged, clip):
    arguments = [str(clip), "--port", str(unchanged.port), "--no-browser"]
    done = CliRunner().invoke(app_command, arguments)
    assert "choose another --port" in str(done.exception)


def test_without_its_packages_the_page_says_how_to_get_them(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = CliRunner().invoke(app_command, [str(clip), "--no-browser"])
    assert "pip install 'vos-persam[app]'" in str(done.exception)


def test_without_a_path_the_page_goes_on_with_the_last_video(clip, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(serve, "bind", lambda *_: opened.append("bound"))
    done = CliRunner().invoke(app_command, ["--out", str(tmp_path / "out"), "--no-browser"])
    assert "say which video" in str(done.exception)
    for name in ("first", "last"):
        with serving(clip, tmp_path / "out", name=name):
            pass
    assert _source_of(None, tmp_path / "out", None) == (str(clip), tmp_path / "out", "last")
    assert not opened
