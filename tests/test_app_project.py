"""What the user shows, as a value: every edit, its undo, and what is left after a crash."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos.app import history
from vos.app.history import History
from vos.app.project import (
    Marks,
    Project,
    accept,
    add_object,
    colour_object,
    further_hint,
    mark_absent,
    rename_object,
    set_range,
    shown_on,
    with_colours,
    with_marks,
    with_objects,
)
from vos.app.stored_masks import StoredMasks, outlines, paint_stroke, put_objects
from vos.app.timeline import Timeline, byte_of
from vos.errors import InputError, OutputError
from vos.hint import Click, Hint
from vos.masks import OBJECT_COLOURS
from vos.records import MAX_OBJECT_ID

ONE = with_objects(Project(), [1])
CLICKED = Marks(mask="0" * 16 + ".png", hints={1: Hint((Click(3, 4),), ((0, 0, 5, 6),))})


def test_objects_take_the_lowest_free_id():
    project = add_object(with_objects(Project(), [1, 2, 4]))
    assert list(project.names) == [1, 2, 3, 4]
    with pytest.raises(InputError, match="254 objects"):
        add_object(with_objects(Project(), range(1, 255)))


@pytest.mark.parametrize("name", ["", " \n ", "x" * 81, "a\x00b"])
def test_names_that_are_none(name):
    with pytest.raises(InputError, match="a name has"):
        rename_object(ONE, 1, name)
    assert rename_object(ONE, 1, "  big \n dog ").names == {1: "big dog"}


def test_colours_are_those_of_the_ids_unless_chosen():
    project = colour_object(with_objects(Project(), [1, 2]), 2, (1, 2, 3))
    assert project.colours == {2: (1, 2, 3)}
    from_file = {1: (9, 9, 9), 2: (9, 9, 9), 3: (9, 9, 9)}
    assert with_colours(project, from_file).colours == {1: (9, 9, 9), 2: (1, 2, 3)}
    plain = {each: tuple(OBJECT_COLOURS[each].tolist()) for each in (1, 2)}
    assert with_colours(project, plain).colours == {2: (1, 2, 3)}
    assert colour_object(project, 2, None).colours == {}
    with pytest.raises(InputError, match="no object 3"):
        colour_object(project, 3, None)


stretches = st.tuples(st.integers(0, 30), st.integers(0, 10), st.booleans())


@given(st.lists(stretches, max_size=12))
def test_absences_are_the_frames_that_were_said(edits):
    project, absent = ONE, np.zeros(42, bool)
    for first, length, is_absent in edits:
        project = mark_absent(project, 1, first, first + length, is_absent=is_absent)
        absent[first : first + length + 1] = is_absent
    assert [project.is_absent(1, index) for index in range(42)] == absent.tolist()
    pairs = [(each.first, each.last) for each in project.absences]
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(pairs))


def test_what_is_shown_is_not_absent():
    project = shown_on(mark_absent(ONE, 1, 0, 9), 4, CLICKED)
    assert [project.is_absent(1, index) for index in (3, 4, 5)] == [True, False, True]
    assert with_marks(project, 4, None).marks == {}


def test_orders_that_are_none():
    for wrong in (lambda: mark_absent(ONE, 1, 5, 4), lambda: set_range(ONE, (5, 4))):
        with pytest.raises(InputError, match="in no order"):
            wrong()
    for wrong in (lambda: mark_absent(ONE, 2, 4, 5), lambda: accept(ONE, 2, 4, 5)):
        with pytest.raises(InputError, match="no object 2"):
            wrong()


def test_clicks_beside_an_object_cut_from_what_was_pointed_out():
    beside = (Click(1, 2, is_positive=False),)
    with pytest.raises(InputError, match="click on the object first"):
        further_hint(None, beside, ())
    both = further_hint(CLICKED.hints[1], beside, ())
    assert both.clicks == (Click(3, 4), *beside)


def test_undo_and_redo_outlive_the_program(tmp_path):
    path = tmp_path / "history.jsonl"
    history = History(path)
    history.do("add", ONE)
    history.do("show", with_marks(ONE, 7, CLICKED))
    history.do("range", set_range(ONE, (1, 5)))
    history.undo()
    for same in (history, History(path)):
        assert same.project == with_marks(ONE, 7, CLICKED)
        assert (same.undo_label, same.redo_label) == ("show", "range")
    again = History(path)
    again.redo()
    assert History(path).project == set_range(ONE, (1, 5))
    again.undo()
    again.do("rename", rename_object(ONE, 1, "dog"))  # what was undone is gone
    assert History(path).redo_label is None
    for _ in range(9):
        again.undo()
    assert History(path).project == Project()


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path):
    path = tmp_path / "history.jsonl"
    history = History(path)
    history.do("add", ONE)
    whole = path.read_bytes()
    history.do("show", with_marks(ONE, 7, CLICKED))
    for length in (len(whole), len(whole) + 1, len(path.read_bytes()) - 1):
        cut = tmp_path / f"{length}.jsonl"
        cut.write_bytes(path.read_bytes()[:length])
        assert History(cut).project == ONE
        more = History(cut)
        more.do("rename", rename_object(ONE, 1, "dog"))
        assert History(cut).project.names == {1: "dog"}


def test_long_histories_forget_their_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "_MAX_STEPS", 50)
    path = tmp_path / "history.jsonl"
    edited = History(path)
    for count in range(60):
        edited.do("range", set_range(ONE, (0, count)))
    edited.undo()
    again = History(path)
    assert (again.project, again.redo_label) == (edited.project, "range")
    assert path.read_bytes().count(b"\n") < 55
    for _ in range(100):
        again.undo()
    assert again.project == set_range(ONE, (0, 8))
    assert History(path).project == again.project


def test_what_is_no_history(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text('{"do": "x", "project": {"names": 3}}\n')
    with pytest.raises(OutputError, match=r"cannot read .*history\.jsonl"):
        History(path)


def test_masks_are_kept_by_their_content(tmp_path):
    masks = StoredMasks(tmp_path / "masks")
    labels = np.eye(9, dtype=np.uint8)
    name = masks.keep(labels)
    assert masks.keep(labels.copy()) == name
    np.testing.assert_array_equal(masks.read(name), labels)
    for wrong in ("../x.png", "a.png", "/etc/passwd", f"{name}/..", name.replace(".png", ".npy")):
        with pytest.raises(InputError, match="is no mask"):
            masks.path(wrong)


def test_a_stroke_is_all_that_is_near_its_line():
    labels = np.full((40, 60), 2, np.uint8)
    painted = paint_stroke(labels, 1, [(10.0, 20.0), (-30.0, 20.0)], 6.5, erase=False)
    ys, xs = np.mgrid[:40, :60]
    is_near = np.hypot(np.maximum(xs - 10, 0), ys - 20) <= 6.5
    np.testing.assert_array_equal(painted == 1, is_near)
    erased = paint_stroke(painted, 1, [(0.0, 0.0), (59.0, 39.0)], 100, erase=True)
    np.testing.assert_array_equal(erased, np.where(is_near, 0, 2))


def test_shown_objects_cover_others():
    found = np.array([[1, 1, 2, 3]], np.uint8)
    shown = np.array([[0, 2, 0, 9]], np.uint8)
    np.testing.assert_array_equal(put_objects(found, shown, (2,)), [[1, 2, 0, 3]])


def test_outlines_hold_the_mask():
    mask = np.zeros((20, 30), np.uint8)
    mask[5:10, 8:20] = 1
    (polygon,) = outlines(mask, (4.0, 4.0))
    xs, ys = polygon[::2], polygon[1::2]
    assert (min(xs), max(xs), min(ys), max(ys)) == (34, 78, 22, 38)


def test_bytes_of_the_time_line():
    timeline = Timeline()
    timeline.set(3, [(1, byte_of(1.0, is_present=True)), (2, byte_of(0.4, is_present=False))])
    timeline.set(5, [(1, byte_of(0.0, is_present=True))])
    assert [timeline.is_tracked(index) for index in range(7)] == [0, 0, 0, 1, 0, 1, 0]
    assert timeline.to_json() == {1: "AAAA/wAC", 2: "AAAAAQ=="}


def test_a_further_object_takes_no_colour_that_another_one_has():
    project = add_object(add_object(Project()))
    third = tuple(OBJECT_COLOURS[3].tolist())
    project = add_object(colour_object(project, 2, third))
    assert project.colours[2] == third
    assert project.colours[3] == tuple(OBJECT_COLOURS[2].tolist())
    assert 4 not in add_object(project).colours


def test_objects_are_added_after_all_colours_are_taken():
    project = Project()
    for _ in range(MAX_OBJECT_ID):
        project = add_object(project)
    assert list(project.names) == list(range(1, MAX_OBJECT_ID + 1))
