"""Runs that break off and go on: the same bytes in the end, whatever happened on the way."""

import json
import os
import random
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from colour_sam import ColourSam
from interrupted_runs import (
    FRAMES_PER_PIECE,
    NUM_FRAMES,
    OPTIONS,
    contents,
    draw,
    make_clip,
    run_process,
    shell,
)
from PIL import Image
from sound_clips import heard, write_sound_clip

import vos
from vos.config import FitConfig, Memory, PersamF
from vos.masks import write_label_png
from vos.records import SourceInfo
from vos.run import resume, saving
from vos.run.outputs import Outputs
from vos.run.resume import Mark, Saved, load_saved, open_again
from vos.run.state import decode_state, encode_state
from vos.segment.forward import Progress, Step, segment_steps
from vos.source import Selection, open_selection
from vos.track.published.video import Personalized

NUM_KILLS = 20
SAVE_EVERY = (0, 3600)  # at every frame, or only once at the start and when a run ends
BOTH_WAYS = ("--ref", "9:later.png")
LATER = (*BOTH_WAYS, "--causal")
RUN = ("clip.mp4", *OPTIONS, *LATER, "--save-every", 0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    make_clip(folder)
    return folder


@pytest.fixture
def place(clip, tmp_path, monkeypatch) -> Path:
    """A folder of its own with the clip, and the current one."""
    folder = shutil.copytree(clip, tmp_path / "place")
    monkeypatch.chdir(folder)
    return folder


def whole_runs(clip, tmp_path_factory, references) -> tuple[dict[str, bytes], dict[int, int]]:
    """Run with each interval of saving: the results, which are the same, and lengths in calls."""
    results, num_events = [], {}
    for seconds in SAVE_EVERY:
        folder = shutil.copytree(clip, tmp_path_factory.mktemp("whole") / "place")
        options = ("clip.mp4", *OPTIONS, *references, "--save-every", seconds)
        code, num_events[seconds] = run_process(folder, *options)
        assert code == 0, (folder / "stderr").read_text()
        results.append(contents(folder / "out"))
    assert results[0] == results[1]
    assert len(results[0]) == NUM_FRAMES + 2
    return results[0], num_events


@pytest.fixture(scope="module")
def uninterrupted(clip, tmp_path_factory) -> tuple[dict[str, bytes], dict[int, int]]:
    """The results of a run that was left alone, and its length in calls, for each interval."""
    return whole_runs(clip, tmp_path_factory, LATER)


@pytest.fixture(scope="module")
def killed(clip, uninterrupted, tmp_path_factory) -> Path:
    """The clip and the results of a run that was killed in its second half."""
    folder = shutil.copytree(clip, tmp_path_factory.mktemp("killed") / "place")
    assert run_process(folder, *RUN, kill_at=uninterrupted[1][0] * 3 // 4)[0] == -9
    assert 2 * FRAMES_PER_PIECE <= len(list((folder / "out" / "clip").glob("*.png"))) < NUM_FRAMES
    saved = saved_in(folder / "out")
    assert FRAMES_PER_PIECE <= saved.mark.number < saved.num_frames, (
        "nothing kept, or nothing drawn"
    )
    return folder


def saved_in(out: Path) -> Saved:
    """Where a run that broke off stands."""
    return decode_state(Saved, (out / ".clip.unfinished" / "state").read_bytes(), "cpu")


@pytest.fixture
def broken_off(killed, tmp_path, monkeypatch) -> Path:
    """A copy of those, and the current folder."""
    folder = shutil.copytree(killed, tmp_path / "broken_off")
    monkeypatch.chdir(folder)
    return folder


def only_error(capsys) -> str:
    """The one line on stderr."""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert line.startswith("error: ")
    return line


@pytest.fixture(scope="module")
def uninterrupted_both_ways(clip, tmp_path_factory) -> tuple[dict[str, bytes], dict[int, int]]:
    """Likewise, of a run that tracks backwards from the later reference first."""
    return whole_runs(clip, tmp_path_factory, BOTH_WAYS)


def kill_and_go_on(place: Path, whole: tuple[dict[str, bytes], dict[int, int]], number: int, *more):
    """Kill a run at a random call, go on, and compare the results with those of a whole run."""
    want, num_events = whole
    rng = random.Random(number)
    seconds = SAVE_EVERY[number % 3 == 2]
    options = ("clip.mp4", *OPTIONS, *more, "--save-every", seconds)
    kill_at = rng.randrange(num_events[seconds] // 10, num_events[seconds])
    code, _ = run_process(place, *options, kill_at=kill_at)
    assert code == -9
    if number % 4 == 3:  # and once more on the way
        run_process(place, *options, "--resume", kill_at=rng.randrange(kill_at // 2))
    code, _ = run_process(place, *options, "--resume")
    assert code == 0, (place / "stderr").read_text()
    assert contents(place / "out") == want


@pytest.mark.parametrize("number", range(0, NUM_KILLS, 2))
def test_a_killed_run_goes_on_to_the_same_bytes(place, uninterrupted, number):
    kill_and_go_on(place, uninterrupted, number, *LATER)


@pytest.mark.parametrize("number", range(1, NUM_KILLS, 2))
def test_a_killed_run_both_ways_goes_on_to_the_same_bytes(place, uninterrupted_both_ways, number):
    """In either pass, and between them."""
    kill_and_go_on(place, uninterrupted_both_ways, number, *BOTH_WAYS)


def test_a_run_is_interrupted_on_its_way_backwards(place, uninterrupted_both_ways):
    want, num_events = uninterrupted_both_ways
    options = ("clip.mp4", *OPTIONS, *BOTH_WAYS, "--save-every", 3600)
    code, _ = run_process(place, *options, interrupt_at=(num_events[3600] // 4,))
    assert code == 130
    assert "--resume" in (place / "stderr").read_text().splitlines()[-1]
    assert not (place / "out" / "clip").exists()
    assert shell(*options) == 1  # it is refused to start again
    assert run_process(place, *options, "--resume")[0] == 0, (place / "stderr").read_text()
    assert contents(place / "out") == want


@pytest.mark.parametrize(
    "options", [("--method", "persam-f", "--batch-size", 3), ("--no-overlay",), ("--every", 2)]
)
def test_other_ways_to_run_go_on_too(place, options):
    options = ("clip.mp4", *OPTIONS, "--save-every", 0, *options)
    code, num_events = run_process(place, *options, "--out", "whole")
    assert code == 0, (place / "stderr").read_text()
    assert run_process(place, *options, kill_at=num_events * 2 // 3)[0] == -9
    assert run_process(place, *options, "--resume")[0] == 0, (place / "stderr").read_text()
    assert contents(place / "out") == contents(place / "whole")


def test_a_folder_of_images_keeps_its_names(place):
    (place / "clip").mkdir()
    for t in range(NUM_FRAMES):
        Image.fromarray(draw(t)[0]).save(place / "clip" / f"shot{t + 8}.png")
    options = ("--ref-mask", "mask.png", "--save-every", 0)
    code, num_events = run_process(place, "clip", *options, "--out", "whole")
    assert code == 0, (place / "stderr").read_text()
    assert run_process(place, "clip", *options, "--out", "out", kill_at=num_events * 2 // 3)[0] < 0
    assert run_process(place, "clip", *options, "--out", "out", "--resume")[0] == 0
    assert contents(place / "out") == contents(place / "whole")
    assert (place / "out" / "clip" / "shot23.png").exists()


def test_a_far_frame_is_reached_by_seeking(tmp_path, monkeypatch):
    """From frame 250 on the source seeks; indices, times, names and masks stay what they were."""
    make_clip(tmp_path, num_frames=300)
    monkeypatch.chdir(tmp_path)
    write_label_png(tmp_path / "mask.png", draw(250, 300)[1])
    options = ("clip.mp4", "--ref-mask", "mask.png", "--save-every", 0)
    options = (*options, "--start", 250, "--end", 262)
    code, num_events = run_process(tmp_path, *options, "--out", "whole")
    assert code == 0, (tmp_path / "stderr").read_text()
    kill_at = num_events * 2 // 3
    assert run_process(tmp_path, *options, "--out", "out", kill_at=kill_at)[0] == -9
    assert run_process(tmp_path, *options, "--out", "out", "--resume")[0] == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_without_resume_earlier_results_are_refused(broken_off, capsys):
    before = contents(broken_off / "out")
    assert shell(*RUN) == 1
    line = only_error(capsys)
    assert "--resume" in line
    assert "--overwrite" in line
    assert contents(broken_off / "out") == before
    assert shell(*RUN, "--overwrite", "--end", 2) == 1  # the later reference lies beyond
    assert shell("clip.mp4", *OPTIONS, "--overwrite", "--end", 2) == 0
    assert len(contents(broken_off / "out")) == 4


def test_overwriting_a_killed_run_leaves_foreign_files(broken_off, uninterrupted):
    mine = broken_off / "out" / "clip" / "mine.png"
    mine.write_bytes(b"mine")
    assert shell(*RUN, "--overwrite") == 0
    assert contents(broken_off / "out") == {**uninterrupted[0], "clip/mine.png": b"mine"}


def test_going_on_leaves_foreign_files(broken_off, uninterrupted, capsys):
    """Also one that takes the name of a label map to come."""
    last = broken_off / "out" / "clip" / f"{NUM_FRAMES - 1:05d}.png"
    for path in (last, last.with_name("mine.png")):
        path.write_bytes(b"mine")
    assert shell(*RUN, "--resume") == 1
    assert f"{last.name} is there, and no summary says that vos wrote it" in only_error(capsys)
    assert last.read_bytes() == b"mine"
    last.unlink()
    assert shell(*RUN, "--resume") == 0
    assert contents(broken_off / "out") == {**uninterrupted[0], "clip/mine.png": b"mine"}


def test_the_time_that_a_run_took_is_that_of_all_its_parts(broken_off):
    saved = saved_in(broken_off / "out")
    assert saved.elapsed_seconds > 0
    longer = replace(saved, elapsed_seconds=5000.0)
    (broken_off / "out" / ".clip.unfinished" / "state").write_bytes(encode_state(longer))
    assert shell(*RUN, "--resume") == 0
    summary = json.loads((broken_off / "out" / "clip.json").read_text())
    assert 5000 < summary["elapsed_seconds"] < 5600


def test_tallies_and_report_are_of_the_whole_run(broken_off, uninterrupted, capsys):
    want = json.loads(uninterrupted[0]["clip.json"])["tallies"]
    assert shell(*RUN, "--resume") == 0
    assert json.loads((broken_off / "out" / "clip.json").read_text())["tallies"] == want
    assert want[1]["first_index"] == 9
    assert f"object 1: in {NUM_FRAMES} of {NUM_FRAMES} frames" in capsys.readouterr().out


def test_sound_is_the_same_after_going_on(place):
    write_sound_clip(place / "sound.mp4")
    hints = (
        "sound.mp4",
        "--ref-box",
        "3,4,12,13",
        "--published",
        "--fit-steps",
        4,
        "--save-every",
        0,
    )
    code, num_events = run_process(place, *hints, "--out", "whole", "--start", 2)
    assert code == 0, (place / "stderr").read_text()
    hints = (*hints, "--start", 2)
    assert run_process(place, *hints, "--out", "out", kill_at=num_events * 2 // 3)[0] == -9
    assert run_process(place, *hints, "--out", "out", "--resume")[0] == 0
    assert contents(place / "out") == contents(place / "whole")
    assert heard(place / "out" / "sound.mp4")[1] == pytest.approx(0.8, abs=0.05)


def test_resume_of_a_finished_run_says_so(place, uninterrupted, capsys):
    assert shell(*RUN, "--resume") == 0  # there is nothing, so it starts
    assert contents(place / "out") == uninterrupted[0]
    times = {path: path.stat().st_mtime_ns for path in (place / "out").rglob("*")}
    capsys.readouterr()
    assert shell(*RUN, "--resume") == 0
    assert capsys.readouterr().out.startswith("finished before: out/clip")
    assert {path: path.stat().st_mtime_ns for path in (place / "out").rglob("*")} == times
    assert shell(*RUN, "--resume", "--every", 3) == 1
    assert "selection.every was 1 and is 3" in only_error(capsys)


def test_resume_does_not_take_over_foreign_files(place, capsys):
    (place / "out" / "clip").mkdir(parents=True)
    (place / "out" / "clip" / "00000.png").write_bytes(b"mine")
    assert shell(*RUN, "--resume") == 1
    assert "exists already" in only_error(capsys)
    assert (place / "out" / "clip" / "00000.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--method", "persam-f"], "settings.method.name was 'memory' and is 'persam-f'"),
        (["--end", 14], "selection.end was None and is 14"),
        (["--skip-padding"], "skip_padding was False and is True"),
        (["--alpha", 0.25], "overlay_alpha was 0.5 and is 0.25"),
        (["--no-overlay"], "overlay_alpha was 0.5 and is None"),
        (["--ref", "10:later.png"], "references.2 was None"),
        (["--ref-mask", "later.png"], "references.0.mask_sha256 was"),
    ],
)
def test_a_run_with_other_settings_does_not_go_on(broken_off, capsys, options, difference):
    before = contents(broken_off / "out")
    assert shell(*RUN, "--resume", *options) == 1
    line = only_error(capsys)
    assert difference in line
    assert "holds another run" in line
    assert contents(broken_off / "out") == before


def test_another_video_or_model_does_not_go_on(broken_off, capsys, monkeypatch):
    content = (broken_off / "clip.mp4").read_bytes()
    (broken_off / "clip.mp4").write_bytes(content + b"\0\0\0\x08free")
    assert shell(*RUN, "--resume") == 1
    assert f"source_file.num_bytes was {len(content)}" in only_error(capsys)
    (broken_off / "clip.mp4").write_bytes(content)
    other = vos.SamModel(ColourSam(), name="colour", weights_sha256="1" * 64)
    monkeypatch.setattr("interrupted_runs.stand_in", lambda *args, **options: other)
    assert shell(*RUN, "--resume") == 1
    assert "weights_sha256 was '00000" in only_error(capsys)


def test_pictures_that_have_changed_do_not_go_on(place, capsys):
    """Their names and sizes are the same, so that only the frame itself tells."""
    (place / "clip").mkdir()
    for t in range(NUM_FRAMES):
        Image.fromarray(draw(t)[0]).save(place / "clip" / f"{t}.bmp")
    run = ("clip", *OPTIONS, "--save-every", 0)
    assert run_process(place, *run, interrupt_at=(60_000,))[0] == 130
    for t in range(NUM_FRAMES):
        Image.fromarray(draw(t)[0] + np.uint8(1)).save(place / "clip" / f"{t}.bmp")
    before = contents(place / "out")
    assert shell(*run, "--resume") == 1
    assert "clip has changed: frame" in only_error(capsys)
    assert contents(place / "out") == before


def remove_label_map(out: Path) -> str:
    (out / "clip" / "00003.png").unlink()
    return "00003.png, which was done before, is gone"


def remove_piece(out: Path) -> str:
    (out / ".clip.unfinished" / "overlay" / "000000.nut").unlink()
    return "000000.nut, a part of the overlay, is gone"


def break_first_piece(out: Path) -> str:
    (out / ".clip.unfinished" / "overlay" / "000000.nut").write_bytes(b"x")
    return "000000.nut, a part of the overlay"


def break_last_piece(out: Path) -> str:
    """The last of those that are kept, after which the overlay goes on."""
    name = f"{saved_in(out).mark.number // FRAMES_PER_PIECE - 1:06d}.nut"
    (out / ".clip.unfinished" / "overlay" / name).write_bytes(b"x")
    return f"{name}, a part of the overlay"


def break_label_map(out: Path) -> str:
    """One of those that are drawn again."""
    name = f"{saved_in(out).num_frames - 1:05d}.png"
    (out / "clip" / name).write_bytes(b"x")
    return name


def shorten_summary(out: Path) -> str:
    summary = out / ".clip.unfinished" / "summary.json"
    summary.write_bytes(summary.read_bytes()[:900])
    return "summary.json"


def shorten_state(out: Path) -> str:
    state = out / ".clip.unfinished" / "state"
    state.write_bytes(state.read_bytes()[:-1])
    return "is damaged; pass --overwrite to start again"


def empty_state(out: Path) -> str:
    (out / ".clip.unfinished" / "state").write_bytes(b"")
    return "not a saved state of this version"


@pytest.mark.parametrize(
    "damage",
    [
        remove_label_map,
        remove_piece,
        break_first_piece,
        break_last_piece,
        break_label_map,
        shorten_summary,
        shorten_state,
        empty_state,
    ],
)
def test_damaged_results_are_one_clear_line(broken_off, capsys, damage):
    message = damage(broken_off / "out")
    assert shell(*RUN, "--resume") == 1
    assert message in only_error(capsys)


def num_overlay_frames(path: Path) -> int:
    with av.open(str(path)) as overlay:
        return sum(1 for _ in overlay.decode(video=0))


@pytest.mark.parametrize("seconds", SAVE_EVERY)
def test_an_interrupt_finishes_the_frame_and_tells_how_to_go_on(place, uninterrupted, seconds):
    want, num_events = uninterrupted
    options = ("clip.mp4", *OPTIONS, *LATER, "--save-every", seconds)
    code, _ = run_process(place, *options, interrupt_at=(num_events[seconds] // 2,))
    assert code == 130
    *_, line = (place / "stderr").read_text().splitlines()
    assert line.startswith("interrupted: ")
    assert "--resume" in line
    names = sorted(path.name for path in (place / "out" / "clip").iterdir())
    assert 2 < len(names) < NUM_FRAMES
    assert names == [f"{t:05d}.png" for t in range(len(names))]
    assert num_overlay_frames(place / "out" / "clip.mp4") == len(names)
    assert run_process(place, *options, "--resume")[0] == 0
    assert contents(place / "out") == want


def test_a_second_interrupt_ends_at_once(place, uninterrupted):
    want, num_events = uninterrupted
    at = num_events[0] // 2
    code, _ = run_process(place, *RUN, interrupt_at=(at, at + 50))
    assert code == 130
    assert "Traceback" not in (place / "stderr").read_text()
    assert run_process(place, *RUN, "--resume")[0] == 0
    assert contents(place / "out") == want


def test_a_state_names_only_what_is_on_the_disk(place, monkeypatch):
    """Everything is synced before a state replaces the one before it, which is synced itself."""
    synced, states = set(), []
    fsync, replace_file = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        fsync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def note_replace(path: Path, target: Path) -> Path:
        if target.name == "state":
            out = place / "out"
            labels = sorted((out / "clip").glob("*.png"))
            left = out / ".clip.unfinished"
            needed = [path, out, out / "clip", left, left / "summary.json", left / "overlay"]
            needed += [*labels, *(left / "overlay").glob("*.nut")]
            states.append([each for each in needed if each.stat().st_ino not in synced])
        return replace_file(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    assert shell(*RUN) == 0
    assert states == [[]] * NUM_FRAMES


def test_streams_cannot_be_resumed(place, capsys, monkeypatch):
    monkeypatch.setattr("vos.run.inputs.describe_source", lambda path: None)
    assert shell(*RUN, "--resume") == 1
    assert "can be read only once" in only_error(capsys)
    assert shell(*RUN) == 0
    assert len(contents(place / "out")) == NUM_FRAMES + 2


def test_resume_and_overwrite_exclude_one_another(place, capsys):
    assert shell(*RUN, "--resume", "--overwrite") == 2
    assert "only one of --resume, --overwrite and --update" in capsys.readouterr().err


def test_clicks_go_on_without_their_first_frame(place):
    hints = ("clip.mp4", "--ref-point", "12,14", "--save-every", 0)
    code, num_events = run_process(place, *hints, "--out", "whole")
    assert code == 0, (place / "stderr").read_text()
    assert run_process(place, *hints, "--out", "out", kill_at=num_events * 2 // 3)[0] == -9
    assert run_process(place, *hints, "--out", "out", "--resume")[0] == 0
    assert contents(place / "out") == contents(place / "whole")


def test_the_clip_shows_what_resuming_must_carry(uninterrupted):
    """An object is lost and comes back, and another look is learned on the way."""
    frames = json.loads(uninterrupted[0]["clip.json"])["frames"]
    present = np.array([[each["present"] for each in frame["objects"]] for frame in frames])
    assert present[:, 0].all()
    assert not present[:9, 1].any()
    assert present[9:, 1].any()


# --- what is carried, with a model whose results depend on it


@pytest.fixture(scope="module", params=[PersamF(fit=FitConfig(num_steps=20)), Memory()])
def nano_steps(request, nano):
    """A clip, its settings, and all its steps; the third frame teaches a second object."""
    pictures = [draw(t, 8) for t in range(6)]
    rgb = [np.kron(picture, np.ones((3, 3, 1), np.uint8)) for picture, _ in pictures]
    labels = [np.kron(mask, np.ones((3, 3), np.uint8)) for _, mask in pictures]
    config = vos.RunConfig(method=request.param)
    later = {2: labels[2], 4: labels[1]}

    def go_on(start: np.ndarray | Progress, first: int = 0) -> list[Step]:
        frames = (frame for frame in vos.frames_from_arrays(rgb) if frame.index >= first)
        return list(segment_steps(frames, start, nano, config, later_references=later))

    return go_on, go_on(labels[0])


def are_same(ours: list[Step], theirs: list[Step]) -> bool:
    assert [step.frame.index for step in ours] == [step.frame.index for step in theirs]
    return all(
        np.array_equal(one.masks.labels, other.masks.labels)
        and np.array_equal(one.masks.scores, other.masks.scores)
        for one, other in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("num_before", [1, 3, 4, 6])
def test_a_saved_progress_gives_the_same_masks_to_the_last_bit(nano_steps, num_before):
    go_on, steps = nano_steps
    data = encode_state(steps[num_before - 1].progress)
    progress = decode_state(Progress, data, torch.device("cpu"))
    assert are_same(go_on(progress, num_before), steps[num_before:])


def test_nothing_of_the_progress_could_be_left_out(nano_steps):
    """Or else the test above could not fail."""
    go_on, steps = nano_steps
    progress = steps[2].progress
    earlier = steps[1].progress.state
    if isinstance(earlier, Personalized):
        elsewhere = replace(earlier.priors, boxes_xyxy=earlier.priors.boxes_xyxy + 60)
        targets = earlier.targets
        others = replace(targets, embeddings=targets.embeddings.roll(1, dims=1))
        changes = ({"priors": elsewhere}, {"targets": others})
    else:
        tracks = tuple(
            replace(t, motion=replace(t.motion, box_xyxy=t.motion.box_xyxy + 90), recent=())
            for t in earlier.tracks.tracks
        )
        changes = ({"tracks": replace(earlier.tracks, tracks=tracks)},)
    for change in (*changes, {"references": ()}):
        changed = replace(progress, state=replace(progress.state, **change))
        assert not are_same(go_on(changed, 3), steps[3:]), list(change)


@pytest.mark.parametrize(("batch_size", "num_saved"), [(None, 8), (1, 8), (3, 6), (5, 5)])
def test_a_state_is_saved_where_a_batch_ends(place, batch_size, num_saved):
    """So that later batches hold what they would have held."""
    sam = vos.SamModel(ColourSam())
    method = PersamF(fit=FitConfig(num_steps=2), batch_size=batch_size)
    frames = vos.frames_from_arrays(draw(t)[0] for t in range(NUM_FRAMES))
    outputs = Outputs(folder=place / "out", name="clip")
    info = SourceInfo("clip", draw(0)[0].shape[:2])
    steps = segment_steps(frames, draw(0)[1], sam, vos.RunConfig(method=method))
    results = saving.write_and_save(steps, outputs, info, {}, sam, batch_size=batch_size)
    for _ in range(8):
        next(results)
    results.close()
    assert load_saved(outputs, {}, sam.device).num_frames == num_saved


@pytest.mark.parametrize(("start", "every", "place_of_mark"), [(None, 1, 270), (20, 3, 90)])
def test_a_source_is_opened_where_it_was_left(tmp_path, monkeypatch, start, every, place_of_mark):
    """Directly, with the indices, times, names and pixels of a reading from the start."""
    make_clip(tmp_path, num_frames=300)
    path, selection = str(tmp_path / "clip.mp4"), Selection(start, every=every)
    with open_selection(path, selection) as source:
        want = list(source)[place_of_mark:]
    opened = []

    def counted(path: str, selection: Selection, *, first_index: int | None):
        opened.append(first_index)
        return open_selection(path, selection, first_index=first_index)

    monkeypatch.setattr(resume, "open_selection", counted)
    with open_again(path, selection, Mark.of(place_of_mark, want[0])) as (info, frames):
        got = list(frames)
    assert info.frame_rate_hz == Fraction(10, every)
    assert opened == [want[0].index]
    assert [(f.index, f.pts_seconds, f.name) for f in got] == [
        (f.index, f.pts_seconds, f.name) for f in want
    ]
    assert all(np.array_equal(one.rgb, other.rgb) for one, other in zip(got, want, strict=True))


def test_a_file_that_misleads_seeking_is_read_from_its_start(place, monkeypatch):
    with vos.open_source("clip.mp4") as source:
        want = list(source)[9:]
    opened = []

    def misled(path: str, selection: Selection, *, first_index: int | None):
        opened.append(first_index)
        before = None if first_index is None else first_index - 1
        return open_selection(path, selection, first_index=before)

    monkeypatch.setattr(resume, "open_selection", misled)
    with open_again("clip.mp4", Selection(), Mark.of(9, want[0])) as (_, frames):
        assert [frame.name for frame in frames] == [frame.name for frame in want]
    assert opened == [9, None]


def test_nothing_is_left_of_a_pass_backwards_that_was_killed_at_its_end(tmp_path):
    outputs = Outputs(folder=tmp_path, name="clip", overlay_alpha=None)
    spool = outputs.spool
    spool.removed_folder.mkdir(parents=True)
    (spool.removed_folder / spool.journal_path.name).write_text("")
    outputs.remove_unfinished()
    assert list(tmp_path.iterdir()) == []
