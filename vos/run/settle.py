"""Making finished results of a run that was stopped: those of the frames that it has done.

The run itself cannot go on any more then, but a changed job can update what there is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vos.files import refusals
from vos.run.made_from import MadeFrom
from vos.run.only_writer import only_writer
from vos.run.outputs import Outputs
from vos.segment.plan import Gap, Span
from vos.sink.summary import SUMMARY_KEYS, Entries, read_header, write_entries

_SETTLED: Final = "settled.json"


def settle_stopped(outputs: Outputs) -> bool:
    """Turn what a stopped run has done into the finished results of a job of that range.

    Args:
        outputs: Where they are.

    Returns:
        Whether that could be done. It cannot where the run was killed, or had not come to its pass
        forwards; all is left as it is then.

    Raises:
        OutputError: another run is writing there, the summary is damaged, or the disk refuses.
    """
    path, settled = outputs.summary_path, outputs.unfinished_folder / _SETTLED
    with only_writer(outputs.lock_path, outputs.masks_folder):
        if not (outputs.unfinished_summary.is_file() and path.is_file()):
            return False
        document = read_header(path)
        with (
            refusals(f"read {path}", LookupError, TypeError, ValueError),
            Entries(path) as entries,
        ):
            if not len(entries.indices):
                return False
            done = int(entries.indices[0]), int(entries.indices[-1])
            made_from = _within(MadeFrom.from_json_values(document["made_from"]), done)
            header = {key: document[key] for key in document if key not in SUMMARY_KEYS}
            header |= {
                "job": {**document["job"], "tracked": list(done)},
                "tracked": list(done),
                "made_from": made_from.to_json_values(),
            }
            write_entries(
                settled,
                header,
                entries,
                object_ids=tuple(map(int, document["objects"])),
                min_score=float(document["min_score"]),
                elapsed_seconds=float(document["elapsed_seconds"] or 0),
            )
        with refusals(f"write {path}"):
            settled.replace(path)
        outputs.remove_unfinished()
    return True


def _within(made_from: MadeFrom, done: Span) -> MadeFrom:
    """Give what the masks of some frames are made from."""
    first, last = done
    gaps = (_cut(gap, done) for gap in made_from.gaps if gap.first <= last and gap.last >= first)
    given = {key: value for key, value in made_from.given.items() if first <= key[0] <= last}
    return MadeFrom(spans=(done,), given=given, gaps=tuple(gaps))


def _cut(gap: Gap, done: Span) -> Gap:
    last = min(gap.last, done[1])
    return replace(gap, last=last, last_forwards=min(gap.last_forwards, last))
