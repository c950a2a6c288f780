import gc
import threading
import time
from collections.abc import Iterator

import pytest

from vos.errors import InputError, SourceError
from vos.segment.read_ahead import read_ahead


class Upstream:
    """Counts what is asked of it and fails where told."""

    def __init__(self, num_items: int, fail_at: int | None = None) -> None:
        self.num_items, self.fail_at = num_items, fail_at
        self.num_given, self.num_closed = 0, 0
        self.threads: set[str] = set()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self.threads.add(threading.current_thread().name)
        if self.num_given == self.fail_at:
            raise SourceError("broken here")
        if self.num_given == self.num_items:
            raise StopIteration
        self.num_given += 1
        return self.num_given - 1

    def close(self) -> None:
        self.num_closed += 1


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("num_items", [0, 1, 3, 50])
def test_keeps_items_and_order(num_items):
    upstream = Upstream(20)
    assert list(read_ahead(upstream, num_items)) == list(range(20))
    assert upstream.num_closed == 1


@pytest.mark.parametrize("num_items", [0, 1, 4, 50])
def test_an_error_comes_after_the_items_before_it(num_items):
    upstream, got = Upstream(20, fail_at=7), []
    with pytest.raises(SourceError, match="broken here"):
        got.extend(read_ahead(upstream, num_items))
    assert got == list(range(7))
    assert upstream.num_given == 7
    assert upstream.num_closed == 1


def test_reads_no_further_ahead_than_told():
    upstream = Upstream(100)
    stream = read_ahead(upstream, 3)
    for taken in range(1, 6):
        next(stream)
        deadline = time.monotonic() + 5
        while upstream.num_given < taken + 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)  # long enough for one item too many
        assert upstream.num_given == taken + 3
    stream.close()
    assert upstream.num_given == 8


def test_runs_upstream_in_another_thread_only_when_reading_ahead():
    here, ahead = Upstream(2), Upstream(2)
    list(read_ahead(here, 0))
    list(read_ahead(ahead, 1))
    assert here.threads == {threading.current_thread().name}
    assert ahead.threads == {"vos-read-ahead"}


@pytest.mark.parametrize("num_items", [0, 1, 8])
def test_closing_early_closes_the_upstream_generator(num_items):
    events = []

    def upstream() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            events.append("closed")

    stream = read_ahead(upstream(), num_items)
    assert next(stream) == 0
    stream.close()
    assert events == ["closed"]


def test_an_abandoned_generator_ends_its_thread():
    upstream = Upstream(1000)
    stream = read_ahead(upstream, 2)
    next(stream)
    del stream
    gc.collect()
    assert upstream.num_closed == 1


def test_an_error_of_the_consumer_ends_the_thread():
    upstream = Upstream(1000)

    def consume() -> None:
        for item in read_ahead(upstream, 2):
            if item == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    gc.collect()
    assert upstream.num_closed == 1


def test_nothing_starts_before_the_first_item_is_asked_for():
    upstream = Upstream(5)
    stream = read_ahead(upstream, 2)
    num_threads = threading.active_count()
    stream.close()
    assert upstream.num_given == 0
    assert threading.active_count() == num_threads


def test_an_error_of_closing_upstream_reaches_the_consumer():
    def upstream() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            raise SourceError("cannot close")

    stream = read_ahead(upstream(), 2)
    next(stream)
    with pytest.raises(SourceError, match="cannot close"):
        stream.close()


def test_takes_any_iterable():
    assert list(read_ahead([1, 2, 3], 2)) == [1, 2, 3]
    assert list(read_ahead((), 2)) == []
    with pytest.raises(TypeError):
        list(read_ahead(None, 2))


def test_rejects_a_negative_number():
    with pytest.raises(InputError, match="0 or more, got -1"):
        read_ahead([], -1)
