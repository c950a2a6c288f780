"""The errors of vos: one small tree, each also a standard exception.

Every message says what was wrong, what was got and what is legal. The command line prints the
message and exits with code 1; library callers catch :class:`VosError` or the standard exception
they would expect from Python itself.
"""


class VosError(Exception):
    """Anything vos raises on purpose."""


class InputError(VosError, ValueError):
    """A value is illegal: a setting, an array's shape or dtype, a box outside the frame."""


class SourceError(VosError, OSError):
    """A video, stream or folder of images cannot be opened or holds no frame."""


class DamagedSourceError(SourceError):
    """A source broke off after some good frames; those were delivered before this was raised.

    Attributes:
        frame_index: Index of the first frame that cannot be had, if it is known.
        pts_seconds: Its time, counted from the source's first frame, if it is known.
    """

    def __init__(
        self, message: str, *, frame_index: int | None = None, pts_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.frame_index = frame_index
        self.pts_seconds = pts_seconds


class MaskError(VosError, ValueError):
    """A reference mask cannot be read, is empty, or does not fit its frame."""


class OutputError(VosError, OSError):
    """Results cannot be written, or would overwrite something that is not ours."""


class UnknownModelError(VosError, LookupError):
    """No model of this name is registered."""


class CheckpointError(VosError, ValueError):
    """A weights file is broken, of another architecture, or not plain weights."""


class MissingPackageError(VosError, ImportError):
    """What was asked for needs a package that an extra of vos brings, and it is not installed."""


class DownloadError(VosError, ConnectionError):
    """Weights could not be fetched: no network, an HTTP error, a wrong length or hash."""


class StoreError(VosError, ConnectionError):
    """A store of files, such as ``s3://...``, cannot be reached or does not answer as it should."""


class DeviceError(VosError, RuntimeError):
    """The asked-for device is absent or cannot run what was asked of it."""


class ScoreError(VosError, ValueError):
    """Results cannot be scored: frames are missing, broken, or of another size."""


# Of RuntimeErrors: torch's on a CPU, the driver's, and those of cuBLAS and cuDNN.
_TEXTS_OF_FULL_MEMORY = ("DefaultCPUAllocator", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell torch's and Python's errors of full memory from others, without importing torch."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"OutOfMemoryError", "MemoryError"}:
        return True
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in _TEXTS_OF_FULL_MEMORY
    )
