"""The wiring: the only module that knows every stage."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing

from vos.config import RunConfig
from vos.errors import SourceError
from vos.masks import mask_from_array, match_frame
from vos.prefetch import read_ahead
from vos.records import Frame, FrameMasks, Labels
from vos.sam.encode import encode
from vos.sam.model import SamModel
from vos.track.personalize import personalize
from vos.track.prior import POLICIES, fresh_priors
from vos.track.segment import segment_frame


def segment_video(
    frames: Iterable[Frame],
    reference: Labels,
    sam: SamModel,
    config: RunConfig | None = None,
) -> Generator[tuple[Frame, FrameMasks], None, None]:
    """Segment the objects of one reference mask in every frame.

    Args:
        frames: The video; memory holds one batch and the read-ahead of it.
        reference: (H, W) label map of the first frame: 0 background, 1 to 254 object ids.
        sam: The model.
        config: Settings; the defaults if None.

    Yields:
        Each frame with its masks, the first with the reference itself.

    Raises:
        MaskError: the reference is empty, of another size, or not a label map.
        SourceError: there is no frame.
        DamagedSourceError: the video broke off; all frames before that were yielded.
        InputError: the frames are not all of one size.
    """
    config = config or RunConfig()
    reference = mask_from_array(reference)
    with (
        closing(read_ahead(frames, config.num_read_ahead)) as decoded,
        closing(encode(decoded, sam, config.batch_size)) as stream,
    ):
        first = next(stream, None)
        if first is None:
            raise SourceError("the source holds no frame")
        reference = match_frame(reference, first.frame.frame_hw)
        targets, masks = personalize(first, reference, sam, config)
        yield first.frame, masks

        hand_on = POLICIES[config.prior]
        priors = hand_on(fresh_priors(len(targets.object_ids)), masks)
        for encoded in stream:
            masks = segment_frame(encoded, targets, priors, sam, config)
            priors = hand_on(priors, masks)
            yield encoded.frame, masks
