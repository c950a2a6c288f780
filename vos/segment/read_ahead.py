"""Reading ahead in a thread, so that decoding and computing overlap."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

from vos.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _End:
    """The upstream has ended; ``error`` tells why, unless it simply ran out."""

    error: BaseException | None


def read_ahead(items: Iterable[T], num_items: int) -> Generator[T, None, None]:
    """Pass items on in order, while a thread fetches the next ones.

    The thread starts with the first request and is joined before the generator ends,
    however it ends. It calls nothing but the upstream's ``__next__`` and ``close``, so an upstream
    that blocks for ever blocks the joining too.

    Args:
        items: The upstream. Its ``close``, if it has one, is called at the end.
        num_items: Items held at most beyond the one the consumer works on; 0 runs the upstream
            in the consumer's thread.

    Returns:
        A generator of the same items. The upstream's error is raised after the items before it.

    Raises:
        InputError: ``num_items`` is negative.
    """
    if num_items < 0:
        raise InputError(f"num_items must be 0 or more, got {num_items}")
    return _read_in_thread(items, num_items) if num_items else _read_directly(items)


def _read_directly(items: Iterable[T]) -> Generator[T, None, None]:
    upstream = iter(items)
    try:
        yield from upstream
    finally:
        _close(upstream)


def _read_in_thread(items: Iterable[T], num_items: int) -> Generator[T, None, None]:
    upstream = iter(items)
    mailbox: SimpleQueue[_Item[T] | _End] = SimpleQueue()
    free_slots = threading.Semaphore(num_items)
    stopped = threading.Event()

    def work() -> None:
        error = None
        try:
            while free_slots.acquire() and not stopped.is_set():
                mailbox.put(_Item(next(upstream)))
        except StopIteration:
            pass
        except BaseException as raised:
            error = raised
        mailbox.put(_End(error))

    # A daemon, so that a generator nobody closed cannot keep the interpreter from exiting.
    thread = threading.Thread(target=work, name="vos-read-ahead", daemon=True)
    thread.start()
    try:
        while isinstance(message := mailbox.get(), _Item):
            free_slots.release()
            yield message.value
        if message.error is not None:
            raise message.error
    finally:
        stopped.set()
        free_slots.release()
        thread.join()
        _close(upstream)


def _close(upstream: Iterator[T]) -> None:
    close = getattr(upstream, "close", None)
    if close is not None:
        close()
