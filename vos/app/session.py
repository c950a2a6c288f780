"""One video and its folder of results: all that the page shows and does."""

from __future__ import annotations

import json
import logging
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vos.app import messages
from vos.app.edits import (
    Canvas,
    Stroke,
    drop_object,
    paint,
    say_absent,
    take_back,
    take_correction,
    take_hint,
    take_mask,
)
from vos.app.found import Found
from vos.app.history import History
from vos.app.model_thread import ModelThread
from vos.app.page_state import Stale, project_to_json, stale_to_json
from vos.app.pictures import Pictures
from vos.app.project import (
    Project,
    accept,
    add_object,
    colour_object,
    further_hint,
    mark_absent,
    rename_object,
    set_range,
)
from vos.app.runs import Runs, Stopped
from vos.app.stored_masks import StoredMasks, outlines, put_objects, without_objects
from vos.config import RunConfig
from vos.errors import InputError, MaskError, VosError, is_out_of_memory
from vos.files import make_folder, write_whole
from vos.hint import Box, Click, Hint
from vos.masks import OBJECT_COLOURS, match_frame, read_painted_mask
from vos.records import Labels
from vos.source import Selection
from vos.source.random_access import FrameReader

if TYPE_CHECKING:
    from vos.app.frame_model import FrameModel
    from vos.run.job import Job, ModelChoice
    from vos.sam.model import SamModel

_log = logging.getLogger("vos")

SOURCE_FILE: Final = "source"
"""Says in a project's folder what it is of."""

_NUM_FRAME_MODELS: Final = 2
_PATIENCE_SECONDS: Final = 1.0  # for the page to show its first frame

Publish = Callable[[dict[str, Any]], None]
Edit = Callable[[Project], Project]


class Session:
    """A video, what the user has shown of it, and what was found.

    Methods may be called from any thread. What takes the model is done in another thread; its
    outcome is published.

    Args:
        source: The video, a file or a folder of pictures.
        folder: Folder of the results.
        name: Name of the results; the source's if None.
        selection: How the source is read.
        choose_model: Gives the model to load; called in the model's thread, as it loads torch.
            Of results that are there already its device is taken alone.
        config: The method and its settings, where there are no results yet.
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
        config: RunConfig | None = None,
        sam: SamModel | None = None,
    ) -> None:
        self._selection = selection or Selection()
        self.reader = FrameReader(source, self._selection)
        self.source, self.folder = source, folder
        self.name = name or self.reader.info.name
        self._app_folder = folder / f"{self.name}.app"
        make_folder(self._app_folder)
        write_whole(self._app_folder / SOURCE_FILE, str(Path(source).resolve()).encode())
        self._history = History(self._app_folder / "history.jsonl")
        self._canvas = Canvas(StoredMasks(self._app_folder / "masks"), self.reader.info.frame_hw)
        self._pictures = Pictures(self.reader)
        self._found = Found(self.reader, folder, self.name, self._selection.max_pixels)
        self._choose_model, self._sam = choose_model, sam
        self._config = config or RunConfig()
        self._settings: Job | None = None
        self._frame_models: OrderedDict[int, FrameModel] = OrderedDict()
        self._lock = threading.RLock()
        self._has_shown = threading.Event()
        self._is_loading = True
        self._stale: dict[str, Any] = stale_to_json(Stale(), 0)
        self._listeners: list[Publish] = []
        self._model = ModelThread()
        self._runs = Runs(self._model, self._publish)
        self._submit(self._prepare)

    def close(self) -> None:
        """Stop what goes on, and let go of the video and the model."""
        self._runs.stop()
        self._has_shown.set()
        self._model.close()
        self.reader.close()

    def earlier_job(self) -> Job | None:
        """Give the job of results that are there already; None if there are none."""
        from vos.run.read_results import read_results, result_names

        if not self.folder.is_dir() or self.name not in result_names(self.folder):
            return None
        return read_results(self.folder, self.name).job

    # What the page sees.

    def listen(self, publish: Publish) -> Callable[[], None]:
        """Subscribe to all that happens; gives what unsubscribes."""
        with self._lock:
            self._listeners.append(publish)

        def leave() -> None:
            with self._lock:
                self._listeners.remove(publish)

        return leave

    def state(self) -> dict[str, Any]:
        """Give all that a page needs, but for pictures and the frames' times."""
        info = self.reader.info
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
            "palette": OBJECT_COLOURS.tolist(),
            "timeline": self._found.timeline.to_json(),
            "doubts": self._found.doubts,
            "stale": self._stale,
            "export": self._export_choices(),
            **self._changeable(),
        }

    def picture(self, index: int, kind: str) -> bytes:
        """Give a frame as :meth:`vos.app.pictures.Pictures.encode` does."""
        picture = self._pictures.encode(index, kind)
        self._has_shown.set()
        return picture

    def packed_labels(self, index: int) -> bytes:
        """Give a frame's label map, (H, W) uint8 row by row, compressed by zlib."""
        return zlib.compress(self.labels(index).tobytes(), 1)

    def labels(self, index: int) -> Labels:
        """Give the label map of a frame: what was found, and over it what the user shows.

        Raises:
            VosError: a file of it is gone or broken.
        """
        project = self._history.project
        labels = self._found.labels(index)
        marks = project.marks.get(index)
        if marks is not None:
            labels = put_objects(labels, self._canvas.shown(project, index), marks.object_ids)
        gone = {
            each
            for each in np.flatnonzero(np.bincount(labels.ravel())).tolist()
            if each and (each not in project.names or project.is_absent(each, index))
        }
        return without_objects(labels, gone)

    def command(self) -> str:
        """Give the command line that does the same.

        Raises:
            InputError: nothing is shown yet.
        """
        from vos.app.jobs import command_of

        return command_of(self._job(self._history.project))

    def _changeable(self) -> dict[str, Any]:
        with self._lock:
            return {
                "project": project_to_json(self._history.project),
                "undo": self._history.undo_label,
                "redo": self._history.redo_label,
                "status": self._status(),
                "run": self._runs.progress,
                "is_complete": self._found.is_complete,
                "is_up_to_date": self._is_up_to_date(),
            }

    def _status(self) -> str:
        if self._is_loading:
            return "loading"
        return self._runs.kind or ("failed" if self._sam is None else "ready")

    def _publish_project(self) -> None:
        self._publish({"type": "project", **self._changeable()})
        self._submit(self._find_stale, "stale")

    def _publish(self, message: dict[str, Any]) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for publish in listeners:
            publish(message)

    # What the page does.

    def handle(self, message: messages.Message) -> None:
        """Do what the page asks for, or let it wait for the model.

        Raises:
            VosError: it cannot be done.
        """
        canvas = self._canvas
        match message:
            case messages.UndoMessage():
                with self._lock:
                    (self._history.undo if message.type == "undo" else self._history.redo)()
                self._publish_project()
            case messages.AddObjectMessage():
                self._edit("add an object", add_object)
            case messages.NameMessage(object=object_id, name=name):
                self._edit("rename", lambda now: rename_object(now, object_id, name))
            case messages.ColourMessage(object=object_id, rgb=rgb):
                self._edit("change a colour", lambda now: colour_object(now, object_id, rgb))
            case messages.RemoveObjectMessage(object=object_id):
                self._edit("remove an object", lambda now: drop_object(now, canvas, object_id))
            case messages.ClearMessage(frame=index, object=object_id):
                self._edit("clear", lambda now: take_back(now, canvas, index, object_id))
            case messages.StrokeMessage(frame=index):
                stroke = Stroke(
                    object_id=message.object,
                    points_xy=message.points,
                    radius_px=message.radius,
                    is_erasing=message.erase,
                )
                found = self.labels(index)
                self._edit(
                    "erase" if message.erase else "paint",
                    lambda now: paint(now, canvas, index, stroke, found),
                )
            case messages.AbsentMessage(object=object_id, first=first, last=last):
                if message.is_absent:
                    self._edit(
                        "mark absent",
                        lambda now: say_absent(now, canvas, object_id, first, last),
                    )
                else:
                    self._edit(
                        "mark as present",
                        lambda now: mark_absent(now, object_id, first, last, is_absent=False),
                    )
            case messages.AcceptMessage(object=object_id, first=first, last=last):
                self._edit("accept", lambda now: accept(now, object_id, first, last))
            case messages.RangeMessage(range=range_):
                self._edit("change the range", lambda now: set_range(now, range_))
            case messages.ClickMessage(frame=index, object=object_id):
                click = Click(message.x, message.y, message.positive)
                self._submit(partial(self._click, index, object_id, click))
            case messages.BoxMessage(frame=index, object=object_id, box=box):
                self._submit(partial(self._point, index, object_id, (), (box,)))
            case messages.HoverMessage(frame=index, x=x, y=y):
                self._submit(partial(self._sketch, index, None, Hint((Click(x, y),))), "hover")
            case messages.LookMessage(frame=index):
                self._submit_ahead(lambda: self._frame_model(index).encode())
            case messages.RestMessage(frame=index, object=object_id, x=x, y=y):
                self._submit_ahead(partial(self._point_ahead, index, object_id, Click(x, y)))
            case messages.TrackMessage():
                job = self._job(self._history.project, message)
                self._runs.claim("tracking")
                self._publish_project()
                self._submit(partial(self._track, job))
            case messages.ExportMessage():
                if not message.formats:
                    raise InputError("choose a format")
                self._runs.claim("exporting")
                choices = message.model_dump_json(exclude={"type"})
                write_whole(self._choices_path, choices.encode())
                self._publish_project()
                self._submit(partial(self._export, message))
            case messages.StopMessage():
                self._runs.stop()

    def import_mask(self, index: int, path: Path) -> None:
        """Take the objects of a mask's file over to a frame.

        Raises:
            MaskError: it is no mask, or of another shape than the frame.
        """
        painted = read_painted_mask(path, max_pixels=self._selection.max_pixels)
        labels = match_frame(painted.labels, self.reader.info.frame_hw, resize=True)
        self._edit(
            "import a mask",
            lambda now: take_mask(now, self._canvas, index, labels, painted.colours),
        )

    def _edit(self, label: str, edit: Edit) -> None:
        with self._lock:
            self._history.do(label, edit(self._history.project))
        self._publish_project()

    # In the model's thread.

    def _submit(self, task: Callable[[], None], replaces: str | None = None) -> None:
        def guarded() -> None:
            try:
                task()
            except Exception as error:
                text = str(error)
                if is_out_of_memory(error):
                    text = "out of memory; take a smaller model or another device"
                elif not isinstance(error, VosError):
                    _log.exception("the page asked for something that failed")
                    text = f"{type(error).__name__}: {error}"
                self._publish({"type": "notice", "kind": "error", "text": text})

        self._model.submit(guarded, replaces=replaces)

    def _submit_ahead(self, task: Callable[[], None]) -> None:
        """Let something wait its turn that is likely to be of use, while nothing else goes on."""

        def if_idle() -> None:
            if self._status() == "ready":
                with suppress(VosError):
                    task()

        self._submit(if_idle, "ahead")

    def _prepare(self) -> None:
        """Load the model, and what earlier runs have found."""
        # Loading torch holds up the whole process.
        self._has_shown.wait(_PATIENCE_SECONDS)
        try:
            from vos.app.jobs import settings_of
            from vos.run.job import JobOutputs

            self._settings = settings_of(
                self.source,
                self._selection,
                JobOutputs(folder=self.folder, name=self.name, overlay_alpha=None),
                self._choose_model(),
                self._config,
            )
            self._open_results()
            self._publish(self.state())
            self._find_stale()
            if self._sam is None:
                from vos.run.run_job import load_model

                device = self._choose_model().device
                self._sam = load_model(replace(self._settings.sam, device=device))
        finally:
            self._is_loading = False
            self._publish_project()

    def _open_results(self) -> None:
        """Read the results, and go on from their job if nothing else is known."""
        from vos.app.jobs import project_of

        results = self._found.read()
        if results is None or self._found.job is None:
            return
        self._settings = self._found.job
        if not self._history.project.names and self._history.undo_label is None:
            project = project_of(self._found.job, results, self._canvas.masks)
            with self._lock:
                self._history.do("open the results", project)

    def _frame_model(self, index: int) -> FrameModel:
        from vos.app.frame_model import FrameModel

        model = self._frame_models.get(index)
        if model is None:
            model = FrameModel(self._pictures.frame(index), self._loaded())
            self._frame_models[index] = model
            while len(self._frame_models) > _NUM_FRAME_MODELS:
                self._frame_models.popitem(last=False)
        self._frame_models.move_to_end(index)
        return model

    def _loaded(self) -> SamModel:
        if self._sam is None:
            raise InputError("the model could not be loaded; start vos app again with another one")
        return self._sam

    def _sketch(self, index: int, object_id: int | None, hint: Hint) -> None:
        """Show at once what a hint is likely to mean; of no object while nothing is clicked."""
        polygons = self._frame_model(index).outlines(hint)
        message = {"type": "preview", "frame": index, "object": object_id}
        self._publish({**message, "polygons": polygons})

    def _click(self, index: int, object_id: int, click: Click) -> None:
        """Correct the mask that the object has here, or make one of what was clicked."""
        done = self._corrected(index, object_id, click)
        if done is None:
            self._point(index, object_id, (click,), ())
            return
        self._edit("click", lambda now: take_correction(now, self._canvas, index, object_id, *done))

    def _point(
        self, index: int, object_id: int, clicks: tuple[Click, ...], boxes: tuple[Box, ...]
    ) -> None:
        """Make the mask of what was clicked or boxed."""
        hints = self._with_hint(index, object_id, clicks, boxes)
        # A further click corrects the mask that is there, in the time that a sketch takes.
        if object_id not in self._hints_on(index):
            self._sketch(index, object_id, hints[object_id])
        labels, scores = self._frame_model(index).segment(hints)
        self._edit(
            "draw a box" if boxes else "click",
            lambda now: take_hint(now, self._canvas, index, object_id, hints, labels, scores),
        )

    def _corrected(
        self, index: int, object_id: int, click: Click
    ) -> tuple[tuple[Click, ...], Labels, float] | None:
        """Correct the mask that an object has on a frame, from tracking or by hand.

        Returns:
            What was clicked to correct it, the (H, W) label map of the frame with it, and its
            expected IoU. None where it has none, where clicks and boxes alone say what it is, and
            where the click means another object.

        Raises:
            MaskError: SAM finds nothing at the click that could be taken away.
        """
        labels = self.labels(index)
        mask = labels == object_id
        if object_id in self._hints_on(index) or not mask.any() or self._goes(index, object_id):
            return None
        marks = self._history.project.marks.get(index)
        earlier = () if marks is None else marks.corrections.get(object_id, ())
        clicks = (*earlier, click)
        done = self._frame_model(index).correct(mask, clicks)
        if done is None and not click.is_positive:
            raise MaskError("nothing is found there that could be taken away; erase it (E)")
        if done is None:
            return None
        corrected, score = done
        clicked = labels[click.y, click.x]
        is_free = (labels == 0) | mask | (labels == clicked)  # others keep what is theirs
        changed = without_objects(labels, [object_id])
        return clicks, np.where(corrected & is_free, np.uint8(object_id), changed), score

    def _goes(self, index: int, object_id: int) -> bool:
        """Tell whether an update will take a mask away, so that the page does not show it."""
        spans = self._stale["cleared"].get(object_id, ())
        return any(first <= index <= last for first, last in spans)

    def _point_ahead(self, index: int, object_id: int, click: Click) -> None:
        """Compute what a click is likely to take, until something else waits, and show it.

        In the object's mask that is likely a click that takes away, elsewhere one that adds.
        """
        from vos.app.cached_model import Superseded

        labels = self.labels(index)
        is_inside = 0 <= click.y < labels.shape[0] and 0 <= click.x < labels.shape[1]
        is_in_mask = bool(is_inside and labels[click.y, click.x] == object_id)
        model = self._frame_model(index)
        for is_positive in (not is_in_mask, is_in_mask):
            likely = replace(click, is_positive=is_positive)
            with suppress(Superseded, VosError), model.ahead(self._model.is_awaited):
                if (done := self._corrected(index, object_id, likely)) is not None:
                    labels = done[1]
                else:
                    labels, _ = model.segment(self._with_hint(index, object_id, (likely,), ()))
                if is_positive:
                    polygons = outlines((labels == object_id).view(np.uint8), (1.0, 1.0))
                    message = {"type": "preview", "frame": index, "object": None}
                    self._publish({**message, "polygons": polygons})

    def _with_hint(
        self, index: int, object_id: int, clicks: tuple[Click, ...], boxes: tuple[Box, ...]
    ) -> dict[int, Hint]:
        """Give what is pointed out on a frame, by object, with further clicks or boxes."""
        known = self._hints_on(index)
        return {**known, object_id: further_hint(known.get(object_id), clicks, boxes)}

    def _hints_on(self, index: int) -> Mapping[int, Hint]:
        marks = self._history.project.marks.get(index)
        return {} if marks is None else marks.hints

    # Tracking and exporting.

    def _job(self, project: Project, message: messages.TrackMessage | None = None) -> Job:
        """Give the job of a project, or of what is to be tracked of it now.

        Raises:
            InputError: nothing is shown yet, or the model is still being loaded.
        """
        from vos.app.jobs import job_of

        if self._settings is None:
            raise InputError("the model is still being loaded; a moment, please")
        if message is not None:
            project = replace(project, tracked=self._range_from(project, message))
        return job_of(project, self._settings, self._canvas.masks)

    def _range_from(
        self, project: Project, message: messages.TrackMessage
    ) -> tuple[int, int] | None:
        """Give the frames to track, and those beside them that were tracked before."""
        limits = project.tracked
        if message.direction == "both":
            return limits
        is_tracked = self._found.timeline.is_tracked
        least, most = limits or (0, len(self.reader.times().pts_seconds) - 1)
        first, last = least, most
        if message.direction == "forwards":
            first = min(max(least, message.frame), most)
        else:
            last = max(min(most, message.frame), least)
        while first > least and is_tracked(first - 1):
            first -= 1
        while last < most and is_tracked(last + 1):
            last += 1
        return limits if (first, last) == (least, most) else (first, last)

    def _find_stale(self) -> None:
        """Publish which masks are of another state of the project, if that has changed."""
        from vos.app.stale import find_stale

        made_from, project = self._found.made_from, self._history.project
        if self._runs.kind == "tracking" or self._settings is None:
            return
        stale = Stale()
        if made_from is not None and not self._is_up_to_date():
            selection = self._settings.selection
            first_index = made_from.spans[0][0] if selection.start is not None else 0
            stale = find_stale(
                project,
                self._canvas,
                made_from,
                first_index=first_index,
                every=selection.every,
            )
        found = stale_to_json(stale, self._found.timeline.num_frames)
        if found != self._stale:
            self._stale = found
            self._publish({"type": "stale", "stale": found})

    def _is_up_to_date(self) -> bool:
        from vos.app.jobs import is_same_job

        project, tracked_job = self._history.project, self._found.job
        if not self._found.is_complete or tracked_job is None or not project.marks:
            return False
        return is_same_job(self._job(project), tracked_job)

    def _track(self, job: Job) -> None:
        try:
            with self._runs.within():
                self._runs.track(job, self._loaded(), self._found, self._pictures)
        finally:
            self._found.read()
            self._find_stale()
            self._publish(self.state())

    def _export(self, choices: messages.ExportMessage) -> None:
        from vos.run.read_results import read_results

        notice = {"type": "notice", "kind": "done"}
        try:
            with self._runs.within():
                results = read_results(self.folder, self.name)
                text = self._runs.export(choices, results, self.source)
            self._publish({**notice, "text": text})
        except Stopped:
            self._publish({**notice, "text": "the export was stopped"})
        finally:
            self._publish_project()

    @property
    def _choices_path(self) -> Path:
        return self._app_folder / "export.json"

    def _export_choices(self) -> dict[str, Any] | None:
        """Give what was exported last."""
        with suppress(OSError, ValueError):
            values: dict[str, Any] = json.loads(self._choices_path.read_bytes())
            return values
        return None
