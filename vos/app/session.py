"""One video and its folder of results: all that the page shows and does."""

from __future__ import annotations

import json
import logging
import threading
import time
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from vos.app import messages
from vos.app.history import History
from vos.app.model_thread import ModelThread
from vos.app.project import (
    Marks,
    ObjectStretch,
    Project,
    accept,
    add_object,
    further_hint,
    mark_absent,
    remove_object,
    rename_object,
    set_range,
    shown_on,
    with_marks,
    with_objects,
)
from vos.app.stored_masks import (
    StoredMasks,
    box_of,
    only_objects,
    paint_stroke,
    put_objects,
    without_objects,
)
from vos.app.timeline import Timeline, byte_of
from vos.errors import InputError, MaskError, VosError, is_out_of_memory
from vos.files import make_folder, write_whole
from vos.hint import Box, Click, Hint
from vos.masks import OBJECT_COLOURS, read_label_png
from vos.records import Frame, Labels
from vos.source import Selection
from vos.source.random_access import FrameReader

if TYPE_CHECKING:
    from vos.app.tracking import FrameModel
    from vos.run.job import Job, ModelChoice
    from vos.run.outputs import Outputs
    from vos.run.run_job import JobProgress
    from vos.sam.model import SamModel

_log = logging.getLogger("vos")

SOURCE_FILE = "source"
"""Says in a project's folder what it is of."""

_JPEG_QUALITY = 90
_MAX_PICTURES = 24  # encoded frames that are kept
_NUM_FRAME_MODELS = 2
_PATIENCE_SECONDS = 1.0  # for the page to show its first frame
_MAX_DOUBTS = 100
_REPORT_SECONDS = 0.15  # between two messages of a tracking run

Publish = Callable[[dict[str, Any]], None]


class Session:
    """A video, what the user has shown of it, and what was found.

    Methods may be called from any thread. What takes the model is done in a thread of its own; its
    outcome is published.

    Args:
        source: The video, a file or a folder of pictures.
        folder: Folder of the results.
        name: Name of the results; the source's if None.
        selection: How the source is read.
        choose_model: Gives the model to load; called in the model's thread, as it loads torch.
        sam: The model, if it is loaded already.

    Raises:
        SourceError: the video cannot be opened.
        OutputError: the folder cannot be used.
    """

    def __init__(
        self,
        source: str,
        folder: Path,
        name: str | None = None,
        *,
        selection: Selection | None = None,
        choose_model: Callable[[], ModelChoice],
        sam: SamModel | None = None,
    ) -> None:
        self._selection = selection or Selection()
        self.reader = FrameReader(source, self._selection)
        self.source, self.folder = source, folder
        self.name = name or self.reader.info.name
        self.app_folder = folder / f"{self.name}.app"
        self._masks = StoredMasks(self.app_folder / "masks")
        make_folder(self.app_folder)
        write_whole(self.app_folder / SOURCE_FILE, str(Path(source).resolve()).encode())
        self._history = History(self.app_folder / "history.jsonl")
        self._timeline = Timeline()
        self._choose_model, self._sam = choose_model, sam
        self._settings: Job | None = None
        self._tracked_job: Job | None = None
        self._is_complete = False
        self._doubts: list[dict[str, Any]] = []
        self._frame_models: OrderedDict[int, FrameModel] = OrderedDict()
        self._pictures: OrderedDict[tuple[int, str], bytes] = OrderedDict()
        self._recent: deque[Frame] = deque(maxlen=3)
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._has_shown = threading.Event()
        self._status = "loading"
        self._run: dict[str, Any] | None = None
        self._made: tuple[Path, ...] = ()  # where a run keeps its label maps until it has ended
        self._listeners: list[Publish] = []
        self._model = ModelThread()
        self._model.submit(self._guarded(self._prepare))

    # What the page sees.

    def listen(self, publish: Publish) -> Callable[[], None]:
        """Have all that happens told; gives what ends it."""
        with self._lock:
            self._listeners.append(publish)

        def leave() -> None:
            with self._lock:
                self._listeners.remove(publish)

        return leave

    def state(self) -> dict[str, Any]:
        """Give all that a page needs, but for pictures and the frames' times."""
        info = self.reader.info
        with self._lock:
            return {
                "type": "state",
                "video": {
                    "name": self.name,
                    "source": self.source,
                    "width": info.frame_hw[1],
                    "height": info.frame_hw[0],
                    "aspect": float(info.sample_aspect_ratio),
                    "rate": float(info.frame_rate_hz or 25),
                    "num_frames": info.num_frames,
                },
                "palette": [list(map(int, rgb)) for rgb in OBJECT_COLOURS],
                "timeline": self._timeline.to_json(),
                "doubts": self._doubts,
                "export": self._export_choices(),
                **self._changeable(),
            }

    def _changeable(self) -> dict[str, Any]:
        project = self._history.project
        return {
            "project": {
                "names": project.names,
                "marks": {
                    index: {
                        "mask": marks.mask,
                        "painted": marks.painted,
                        "scores": marks.scores,
                        "hints": {
                            object_id: {
                                "clicks": [[c.x, c.y, c.is_positive] for c in hint.clicks],
                                "boxes": hint.boxes_xyxy,
                            }
                            for object_id, hint in marks.hints.items()
                        },
                    }
                    for index, marks in project.marks.items()
                },
                "absences": [_triple(each) for each in project.absences],
                "tracked": project.tracked,
                "accepted": [_triple(each) for each in project.accepted],
            },
            "undo": self._history.undo_label,
            "redo": self._history.redo_label,
            "status": self._status,
            "run": self._run,
            "is_complete": self._is_complete,
            "is_up_to_date": self._is_up_to_date(),
        }

    def picture(self, index: int, kind: str) -> bytes:
        """Give a frame as an encoded picture, ``jpg`` or, without any loss, ``png``.

        Raises:
            SourceError: there is no such frame, or it is damaged.
        """
        key = index, kind
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
            frame = next((each for each in self._recent if each.index == index), None)
        frame = frame or self.reader.read(index)
        self._has_shown.set()
        options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if kind == "jpg" else []
        bgr = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR)
        picture = cv2.imencode(f".{kind}", bgr, options)[1].tobytes()
        with self._lock:
            self._pictures[key] = picture
            while len(self._pictures) > _MAX_PICTURES:
                self._pictures.popitem(last=False)
        return picture

    def packed_labels(self, index: int) -> bytes:
        """Give a frame's label map, (H, W) uint8 row by row, compressed by zlib."""
        return zlib.compress(self.labels(index).tobytes(), 1)

    def labels(self, index: int) -> Labels:
        """Give the label map of a frame: what was found, and over it what the user shows.

        Raises:
            VosError: a file of it is gone or broken.
        """
        with self._lock:
            project = self._history.project
            found = self._found(index)
        marks = project.marks.get(index)
        if marks is not None:
            found = put_objects(found, self._masks.read(marks.mask), marks.object_ids)
        gone = {
            object_id
            for object_id in np.unique(found).tolist()
            if object_id and (object_id not in project.names or project.is_absent(object_id, index))
        }
        return without_objects(found, gone)

    def _found(self, index: int) -> Labels:
        if self._timeline.is_tracked(index):
            name = f"{self.reader.frame_name(index)}.png"
            for folder in (*self._made, self.folder / self.name):
                # A run that begins anew removes them.
                if (folder / name).exists():
                    with suppress(MaskError):
                        return read_label_png(folder / name, max_pixels=self._selection.max_pixels)
        return np.zeros(self.reader.info.frame_hw, np.uint8)

    # What the page does.

    def handle(self, message: messages.Message) -> None:
        """Do what the page asks for, or let it wait for the model.

        Raises:
            VosError: it cannot be done.
        """
        match message:
            case messages.UndoMessage():
                with self._lock:
                    (self._history.undo if message.type == "undo" else self._history.redo)()
                self._publish_project()
            case messages.AddObjectMessage():
                self._do("add an object", add_object(self._history.project))
            case messages.NameMessage():
                self._do(
                    "rename an object",
                    rename_object(self._history.project, message.object, message.name),
                )
            case messages.RemoveObjectMessage():
                self._remove_object(message.object)
            case messages.ClearMessage():
                self._clear(message.frame, message.object)
            case messages.StrokeMessage():
                self._paint(message)
            case messages.AbsentMessage():
                self._mark_absent(message)
            case messages.RangeMessage():
                self._do("change the range", set_range(self._history.project, message.range))
            case messages.ClickMessage():
                click = Click(message.x, message.y, message.positive)
                self._submit(lambda: self._point(message.frame, message.object, (click,), ()))
            case messages.BoxMessage():
                box = message.box
                self._submit(lambda: self._point(message.frame, message.object, (), (box,)))
            case messages.HoverMessage():
                task = self._guarded(lambda: self._preview(message.frame, message.x, message.y))
                self._model.submit(task, replaces="hover")
            case messages.TrackMessage():
                self._begin_tracking(message)
            case messages.AcceptMessage():
                self._do(
                    "accept",
                    accept(self._history.project, message.object, message.first, message.last),
                )
            case messages.ExportMessage():
                self._begin_exporting(message)
            case messages.StopMessage():
                self._stop.set()

    def import_mask(self, index: int, path: Path) -> None:
        """Take the objects of a mask's file over to a frame.

        Raises:
            MaskError: it is no mask, or of another size than the frame.
        """
        from vos.masks import match_frame, read_mask

        labels = match_frame(
            read_mask(path, max_pixels=self._selection.max_pixels),
            self.reader.info.frame_hw,
            resize=True,
        )
        ids = [each for each in np.unique(labels).tolist() if each]
        with self._lock:
            project = self._history.project
            shown = put_objects(self._shown(project, index), labels, ids)
            marks = self._marked(project, index, shown, ids)
            self._do("import a mask", shown_on(with_objects(project, ids), index, marks))

    def close(self) -> None:
        """Stop tracking, and let go of the video and the model."""
        self._stop.set()
        self._has_shown.set()
        self._model.close()
        self.reader.close()

    # Edits.

    def _do(self, label: str, project: Project) -> None:
        with self._lock:
            self._history.do(label, project)
        self._publish_project()

    def _shown(self, project: Project, index: int) -> Labels:
        """Give the label map of what the user shows on a frame."""
        marks = project.marks.get(index)
        if marks is None:
            return np.zeros(self.reader.info.frame_hw, np.uint8)
        return only_objects(self._masks.read(marks.mask), marks.object_ids)

    def _marked(self, project: Project, index: int, shown: Labels, painted: list[int]) -> Marks:
        """Give the marks of a frame after some of its objects were painted."""
        before = project.marks.get(index) or Marks(mask="")
        present = set(np.unique(shown).tolist())
        return Marks(
            mask=self._masks.keep(shown),
            hints={each: h for each, h in before.hints.items() if each not in painted},
            painted=tuple(sorted({*before.painted, *painted} & present)),
            scores={each: s for each, s in before.scores.items() if each not in painted},
        )

    def _paint(self, stroke: messages.StrokeMessage) -> None:
        with self._lock:
            project = with_objects(self._history.project, [stroke.object])
            shown = self._shown(project, stroke.frame)
            if not (shown == stroke.object).any():  # go on from what was found there
                shown = put_objects(shown, self.labels(stroke.frame), [stroke.object])
            painted = paint_stroke(
                shown, stroke.object, stroke.points, stroke.radius, erase=stroke.erase
            )
            changed = [
                each
                for each in np.unique(np.stack([shown, painted])[:, shown != painted]).tolist()
                if each
            ]
            if not changed:
                self._publish_project()
                return
            marks = self._marked(project, stroke.frame, painted, changed)
            project = shown_on(project, stroke.frame, marks)
            self._do("erase" if stroke.erase else "paint", project)

    def _clear(self, index: int, object_id: int) -> None:
        with self._lock:
            project = self._history.project
            marks = self._without(project, index, object_id)
            self._do("clear", with_marks(project, index, marks))

    def _without(self, project: Project, index: int, object_id: int) -> Marks | None:
        marks = project.marks.get(index)
        if marks is None or object_id not in marks.object_ids:
            return marks
        if marks.object_ids == (object_id,):
            return None
        shown = without_objects(self._shown(project, index), [object_id])
        return Marks(
            mask=self._masks.keep(shown),
            hints={each: hint for each, hint in marks.hints.items() if each != object_id},
            painted=tuple(each for each in marks.painted if each != object_id),
            scores={each: score for each, score in marks.scores.items() if each != object_id},
        )

    def _mark_absent(self, message: messages.AbsentMessage) -> None:
        """Mark an object as absent, also where it was shown, or take that back."""
        first, last, object_id = message.first, message.last, message.object
        with self._lock:
            project = mark_absent(
                self._history.project, object_id, first, last, is_absent=message.is_absent
            )
            for index in project.marks if message.is_absent else ():
                if first <= index <= last:
                    project = with_marks(project, index, self._without(project, index, object_id))
            self._do("mark absent" if message.is_absent else "mark as present", project)

    def _remove_object(self, object_id: int) -> None:
        with self._lock:
            project = self._history.project
            left = {index: self._without(project, index, object_id) for index in project.marks}
            marks = {index: each for index, each in left.items() if each is not None}
            self._do("remove an object", remove_object(project, object_id, marks))

    # In the model's thread.

    def _submit(self, task: Callable[[], None]) -> None:
        self._model.submit(self._guarded(task))

    def _guarded(self, task: Callable[[], None]) -> Callable[[], None]:
        def guarded() -> None:
            try:
                task()
            except VosError as error:
                self._publish({"type": "notice", "kind": "error", "text": str(error)})
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
                if is_out_of_memory(error):
                    text = "out of memory; take a smaller model or another device"
                else:
                    _log.exception("the page asked for something that failed")
                self._publish({"type": "notice", "kind": "error", "text": text})

        return guarded

    def _prepare(self) -> None:
        """Load the model, and what earlier runs have found."""
        # Loading torch holds up the whole process.
        self._has_shown.wait(_PATIENCE_SECONDS)
        try:
            from vos.app.tracking import settings_of
            from vos.run.run_job import load_model

            choice = self._choose_model()
            settings = settings_of(self.source, self._selection, self.folder, self.name, choice)
            with self._lock:
                self._settings = settings
            self._read_results()
            self._publish(self.state())
            self._review()
            if self._sam is None:
                self._sam = load_model(self._settings.model)
        finally:
            with self._lock:
                self._status = "ready" if self._sam is not None else "failed"
            self._publish_project()
        self._frame_model(0)

    def _read_results(self) -> None:
        """Read what is in the folder of results, and go on from its job."""
        from vos.app.tracking import project_of
        from vos.run.read_results import read_results, result_names

        if not self.folder.is_dir() or self.name not in result_names(self.folder):
            return
        results = read_results(self.folder, self.name)
        timeline = Timeline()
        for frame in results.frames:
            rows = zip(results.object_ids, frame.scores, frame.present, strict=True)
            timeline.set(
                frame.index, [(id_, byte_of(float(s), is_present=bool(p))) for id_, s, p in rows]
            )
        with self._lock:
            self._timeline = timeline
            self._is_complete = results.is_complete
            if results.job is not None:
                self._tracked_job = results.job
                self._settings = replace(results.job, source=self.source)
            if not self._history.project.names and self._history.undo_label is None:
                project = project_of(results, self._masks)
                if project is not None:
                    self._history.do("open the results", project)

    def _loaded(self) -> SamModel:
        if self._sam is None:
            raise InputError("the model could not be loaded; start vos app again with another one")
        return self._sam

    def _frame_model(self, index: int) -> FrameModel:
        from vos.app.tracking import FrameModel

        model = self._frame_models.get(index)
        if model is None:
            frame = next((each for each in self._recent if each.index == index), None)
            model = FrameModel(frame or self.reader.read(index), self._loaded())
            self._frame_models[index] = model
            while len(self._frame_models) > _NUM_FRAME_MODELS:
                self._frame_models.popitem(last=False)
        self._frame_models.move_to_end(index)
        return model

    def _preview(self, index: int, x: int, y: int) -> None:
        polygons = self._frame_model(index).outlines(Hint((Click(x, y),)))
        self._publish({"type": "preview", "frame": index, "object": None, "polygons": polygons})

    def _point(
        self, index: int, object_id: int, clicks: tuple[Click, ...], boxes: tuple[Box, ...]
    ) -> None:
        project = with_objects(self._history.project, [object_id])
        marks = project.marks.get(index) or Marks(mask="")
        known = {each: hint for each, hint in marks.hints.items() if each not in marks.painted}
        mask_box = box_of(self.labels(index), object_id)
        hint = further_hint(known.get(object_id), clicks, boxes, mask_box)
        model = self._frame_model(index)
        sketch = {"type": "preview", "frame": index, "object": object_id}
        self._publish({**sketch, "polygons": model.outlines(hint)})
        labels, scores = model.segment({**known, object_id: hint})
        painted = tuple(each for each in marks.painted if each != object_id)
        if painted:
            labels = _kept(labels, self._masks.read(marks.mask), painted, object_id, hint)
        done = Marks(
            mask=self._masks.keep(labels),
            hints={**known, object_id: hint},
            painted=painted,
            scores={each: round(score, 3) for each, score in scores.items()},
        )
        label = "draw a box" if boxes else "click"
        with self._lock:
            # Others may have edited meanwhile; what they did stays.
            now = with_objects(self._history.project, [object_id])
            self._do(label, shown_on(now, index, done))

    # Tracking.

    def _job(self, project: Project | None = None) -> Job:
        from vos.app.tracking import job_of

        if self._settings is None:
            raise InputError("the model is still being loaded; a moment, please")
        return job_of(project or self._history.project, self._settings, self._masks)

    def _is_up_to_date(self) -> bool:
        if self._settings is None or not self._history.project.marks or not self._is_complete:
            return False
        return self._is_as_tracked(self._job())

    def _is_as_tracked(self, job: Job) -> bool:
        from vos.app.tracking import is_same_job

        return self._tracked_job is not None and is_same_job(job, self._tracked_job)

    def _range_from(self, message: messages.TrackMessage) -> tuple[int, int] | None:
        """Give the frames to track, and those beside them that were tracked before."""
        limits = self._history.project.tracked
        if message.direction == "both":
            return limits
        least, most = limits or (0, len(self.reader.times().pts_seconds) - 1)
        first, last = least, most
        if message.direction == "forwards":
            first = min(max(least, message.frame), most)
        else:
            last = max(min(most, message.frame), least)
        while first > least and self._timeline.is_tracked(first - 1):
            first -= 1
        while last < most and self._timeline.is_tracked(last + 1):
            last += 1
        return limits if (first, last) == (least, most) else (first, last)

    def command(self) -> str:
        """Give the command line that does the same.

        Raises:
            InputError: nothing is shown yet.
        """
        from vos.app.tracking import command_of

        return command_of(self._job())

    def _begin_tracking(self, message: messages.TrackMessage) -> None:
        with self._lock:
            if self._run is not None:
                raise InputError(f"it is {self._status} already; stop that first")
            tracked = self._range_from(message)
            job = self._job(replace(self._history.project, tracked=tracked))
            self._run = {"done": 0, "total": None, "rate": None, "head": None}
            self._status = "tracking"
            self._stop.clear()
        self._publish_project()
        self._submit(lambda: self._track(job))

    def _track(self, job: Job) -> None:
        from vos.run.outputs import Outputs
        from vos.run.run_job import run_job

        outputs = Outputs(folder=self.folder, name=self.name)
        reports = _Reports(self, outputs, is_update=self._is_complete)
        try:
            sam = self._loaded()
            is_begun = outputs.unfinished_folder.exists() and self._is_as_tracked(job)
            is_new = not self._is_complete and not is_begun
            with self._lock:
                self._tracked_job = job
                if is_new:
                    self._timeline = Timeline()
            if is_new:
                self._publish(self.state())
            run_job(
                job,
                sam,
                reports.note,
                resume=is_begun,
                update=self._is_complete,
                overwrite=is_new and outputs.is_of_earlier_run,
                should_stop=self._stop.is_set,
            )
        finally:
            reports.flush()
            self._read_results()
            with self._lock:
                self._made = ()
            self._end_run()
            self._publish(self.state())
        self._review()

    def _end_run(self) -> None:
        with self._lock:
            self._run = None
            self._status = "ready"
        self._publish_project()

    def _review(self) -> None:
        """Find what is worth a look in what was tracked."""
        from vos.review import find_doubtful
        from vos.run.read_results import read_results, result_names

        doubts: list[dict[str, Any]] = []
        if self.folder.is_dir() and self.name in result_names(self.folder):
            found = find_doubtful(read_results(self.folder, self.name))
            doubts = [
                {
                    "object": each.object_id,
                    "first": each.first_index,
                    "last": each.last_index,
                    "frame": each.frame_index,
                    "reason": each.reason,
                    "risk": round(each.risk, 3),
                }
                for each in found[:_MAX_DOUBTS]
            ]
        with self._lock:
            self._doubts = doubts
        self._publish({"type": "doubts", "doubts": doubts})

    # Exporting.

    def _begin_exporting(self, choices: messages.ExportMessage) -> None:
        with self._lock:
            if self._run is not None:
                raise InputError(f"it is {self._status} already; stop that first")
            if not choices.formats:
                raise InputError("choose a format")
            self._run = {"done": 0, "total": None, "rate": None, "head": None}
            self._status = "exporting"
            self._stop.clear()
        write_whole(self._choices_path, choices.model_dump_json(exclude={"type"}).encode())
        self._publish_project()
        self._submit(lambda: self._export(choices))

    def _export(self, choices: messages.ExportMessage) -> None:
        from vos.export.clean_up import CleanUp
        from vos.export.clip import ExportFrame, ExportOptions
        from vos.export.export import export_results
        from vos.run.read_results import read_results

        began = last = time.monotonic()

        def note(frame: ExportFrame) -> None:
            nonlocal last
            self._model.do_waiting()
            if self._stop.is_set():
                raise _Stopped
            now = time.monotonic()
            if now - last < _REPORT_SECONDS:
                return
            last = now
            with self._lock:
                self._run = {
                    "done": frame.number + 1,
                    "total": len(results.frames),
                    "rate": (frame.number + 1) / max(now - began, 1e-6),
                    "head": None,
                }
            self.publish_progress([])

        try:
            results = read_results(self.folder, self.name)
            clean_up = CleanUp(
                soft=choices.soft, grow_px=choices.grow_px, min_area_px=choices.min_area_px
            )
            options = ExportOptions(clean_up=clean_up, per_object=choices.per_object)
            done = export_results(
                results,
                choices.formats,
                options=options,
                source=self.source,
                overwrite=True,
                on_frame=note,
            )
            folder = done[0].folder.parent
            text = f"{', '.join(each.name for each in done)}: in {folder}"
            self._publish({"type": "notice", "kind": "done", "text": text})
        except _Stopped:
            self._publish({"type": "notice", "kind": "info", "text": "export stopped"})
        finally:
            self._end_run()

    @property
    def _choices_path(self) -> Path:
        return self.app_folder / "export.json"

    def _export_choices(self) -> dict[str, Any] | None:
        """Give what was exported last."""
        with suppress(OSError, ValueError):
            values: dict[str, Any] = json.loads(self._choices_path.read_bytes())
            return values
        return None

    def note_progress(
        self, done: JobProgress, rate_hz: float, made: tuple[Path, ...]
    ) -> list[tuple[int, int]]:
        """Take notice of a frame that was tracked.

        Args:
            done: The frame.
            rate_hz: Frames per second so far.
            made: Where its label map is.

        Returns:
            (object id, byte) pairs, as of :class:`vos.app.timeline.Timeline`.
        """
        masks = done.masks
        rows = zip(masks.object_ids, masks.scores, masks.present, strict=True)
        values = [
            (id_, byte_of(float(s), is_present=bool(p)))
            for id_, s, p in rows
            if p or not done.is_backwards  # that pass knows some of the objects only
        ]
        with self._lock:
            self._made = made
            self._recent.append(done.frame)
            self._timeline.set(done.frame.index, values)
            self._run = {
                "done": done.num_done,
                "total": done.num_frames,
                "rate": rate_hz,
                "head": done.frame.index,
            }
        return values

    def let_others_in(self) -> None:
        """Do what waits for the model, between two frames of a tracking run."""
        self._model.do_waiting()

    def publish_progress(self, frames: list[tuple[int, list[tuple[int, int]]]]) -> None:
        """Tell of frames that were tracked."""
        self._publish({"type": "progress", "run": self._run, "frames": frames})

    def _publish_project(self) -> None:
        with self._lock:
            message = {"type": "project", **self._changeable()}
        self._publish(message)

    def _publish(self, message: dict[str, Any]) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for publish in listeners:
            publish(message)


class _Stopped(Exception):
    """The user has stopped an export."""


class _Reports:
    """Gathers the frames of a tracking run into some messages a second."""

    def __init__(self, session: Session, outputs: Outputs, *, is_update: bool) -> None:
        self._session = session
        made = outputs.update if is_update else outputs
        self._backwards = (made.spool.masks_folder,)
        self._forwards = (made.masks_folder, made.spool.masks_folder)
        self._frames: list[tuple[int, list[tuple[int, int]]]] = []
        self._began = self._last = time.monotonic()

    def note(self, done: JobProgress) -> None:
        now = time.monotonic()
        num_new = done.num_done - done.num_before
        rate_hz = num_new / max(now - self._began, 1e-6)
        made = self._backwards if done.is_backwards else self._forwards
        values = self._session.note_progress(done, rate_hz, made)
        self._frames.append((done.frame.index, values))
        self._session.let_others_in()
        if now - self._last >= _REPORT_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._frames:
            self._session.publish_progress(self._frames)
            self._frames = []
        self._last = time.monotonic()


def _triple(stretch: ObjectStretch) -> tuple[int, int, int]:
    return stretch.object_id, stretch.first, stretch.last


def _kept(
    labels: Labels, before: Labels, painted: tuple[int, ...], object_id: int, hint: Hint
) -> Labels:
    """Leave painted objects as they are, but where a click says that it is the other object."""
    clicked = {int(before[c.y, c.x]) for c in hint.clicks if c.is_positive}
    yielding = {each for each in painted if each in clicked}
    kept = only_objects(before, painted)
    covers = (kept > 0) & ~(np.isin(kept, list(yielding)) & (labels == object_id))
    return np.where(covers, kept, labels)
