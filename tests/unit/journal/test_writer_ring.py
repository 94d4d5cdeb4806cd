"""The bounded memory for lines that the disk does not take, and what tells a slow disk from a busy machine."""

import gc
import random
import threading
import time
from itertools import islice

import pytest

from autotrack.journal.pace import AT_ONCE_NS, SLOW_NS, Pace, Stopwatch
from autotrack.journal.ring import Ring


def fill(ring: Ring, seqs: range, line: bytes = b'["m",' + b"x" * 95) -> None:
    for seq in seqs:
        ring.put(seq, line)


def test_lines_come_out_in_order_and_whole() -> None:
    ring = Ring(10_000_000)
    lines = [b"%d" % seq * (1 + seq % 7) + b"\n" for seq in range(5_000)]
    for seq, line in enumerate(lines):
        ring.put(seq, line)
    found = []
    while ring:
        data, ends = ring.batch(1_000)
        assert ends[-1] == len(data) <= 1_000
        found.append(data)
        ring.pop(len(ends))
    assert b"".join(found) == b"".join(lines)
    assert ring.size == 0


def test_a_line_larger_than_a_batch_comes_alone() -> None:
    ring = Ring()
    ring.put(0, b"x" * 5_000 + b"\n")
    ring.put(1, b"y\n")
    assert ring.batch(100) == (b"x" * 5_000 + b"\n", [5_001])


def test_what_is_dropped_is_named_exactly() -> None:
    ring = Ring(100 * 260)
    fill(ring, range(150))
    kept = len(ring)
    assert ring.take_dropped() == [(kept, 149, 150 - kept)]
    ring.pop(10)
    fill(ring, range(150, 170))
    assert ring.take_dropped() == [(160, 169, 10)]
    assert ring.take_dropped() == []


def test_numbers_that_come_out_of_order_make_one_stretch() -> None:
    ring = Ring(1)
    seqs = list(range(500))
    random.Random(1).shuffle(seqs)
    for seq in [*seqs, 600]:
        ring.put(seq, b"x")
    assert ring.take_dropped() == [(0, 499, 500), (600, 600, 1)]


def test_a_full_ring_still_takes_how_the_run_ended() -> None:
    ring = Ring(100 * 260)
    fill(ring, range(150))
    assert ring.put(150, b'["finish",150,1,{}]\n')
    assert not ring.put(151, b'["m",' + b"x" * 95)


def test_the_memory_of_the_lines_is_bounded() -> None:
    import tracemalloc

    ring = Ring(4_000_000)
    tracemalloc.start()
    for seq in range(1_000, 30_000):
        ring.put(seq, b'["m",%d,' % seq + b"x" * 50)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 2_500_000 < size < 4_200_000


@pytest.mark.parametrize(
    ("seqs", "alarm"), [([5, 6, 7], True), ([6, 5, 8], True), ([5, 105, 205], False), ([5, 6], False)]
)
def test_several_slow_writes_in_a_row_are_alarming(seqs: list[int], alarm: bool) -> None:
    pace = Pace()
    found = [pace.alarming(seq, SLOW_NS + 1) for seq in seqs]
    assert (True in found) is alarm


def test_one_write_that_takes_very_long_is_alarming() -> None:
    assert Pace().alarming(1, AT_ONCE_NS + 1)


def test_only_a_slow_disk_makes_lines_wait() -> None:
    pace = Pace()
    assert [pace.verdict(SLOW_NS + 1) for _ in range(3)] == [None, None, True]
    assert Pace().verdict(AT_ONCE_NS + 1) is True
    assert Pace().verdict(SLOW_NS - 1) is False


def test_the_stopwatch_counts_waiting_for_a_disk_and_not_for_the_interpreter() -> None:
    watch = Stopwatch()
    time.sleep(0.05)
    assert watch.stop() > 20_000_000
    until = time.monotonic() + 1.5

    def busy() -> None:
        while time.monotonic() < until:
            sum(range(1000))

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    began, found = time.monotonic(), []
    while time.monotonic() < until - 0.2:
        watch = Stopwatch()
        time.sleep(0)
        found.append(watch.stop())
    for thread in threads:
        thread.join()
    assert time.monotonic() - began > 100 * 0.001
    slow = [took for took in found if took > SLOW_NS]
    assert len(slow) <= len(found) / 4


def test_a_finalizer_that_puts_a_line_while_lines_are_taken_stops_nothing() -> None:
    ring = Ring()
    for seq in range(100):
        ring.put(seq, b"x" * 40)
    late = iter(range(100, 105))

    def collected(phase: str, info: dict[str, int]) -> None:
        for seq in islice(late, 1):
            ring.put(seq, b"y" * 40)

    before = gc.get_threshold()
    gc.callbacks.append(collected)
    gc.set_threshold(1)
    try:
        taken = ring.batch(64_000)[1]
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(collected)
    assert len(taken) == 105
    ring.pop(105)
    assert (len(ring), ring.size) == (0, 0)
