"""What a resumed run shows: the latest attempt from its first step on."""

from typing import Any

HOUR = 3600 * 10**9


def test_later_attempts_hide_what_they_repeat(bench: Any) -> None:
    first = bench.journal().start()
    for step in range(10):
        first.metrics(step, loss=float(step), early=1.0)
    second = bench.journal(pid=999_998, wall=first.base + HOUR).start(resumed=True)
    for step in range(6, 12):
        second.metrics(step, loss=100.0 + step)
    run = bench.read()
    assert run.attempts == 2
    assert run.history()["loss"].steps.tolist() == [*range(6), *range(6, 12)]
    assert run.history()["loss"].values.tolist() == [
        *map(float, range(6)),
        *(100.0 + step for step in range(6, 12)),
    ]
    assert run.history(attempts=True)["loss"].steps.tolist() == [*range(10), *range(6, 12)]
    assert run.history()["early"].steps.tolist() == list(range(10))
    loss = run.metrics["loss"]
    assert (loss.count, loss.last, loss.max, loss.min, loss.last_step) == (12, 111.0, 111.0, 0.0, 11)
    assert loss.mean == (sum(range(6)) + sum(range(106, 112))) / 12


def test_three_attempts_and_a_start_over(bench: Any) -> None:
    base = bench.journal().start()
    for step in range(5):
        base.metrics(step, loss=1.0)
    second = bench.journal(pid=999_998, wall=base.base + HOUR).start(resumed=True)
    for step in range(3, 8):
        second.metrics(step, loss=2.0)
    third = bench.journal(pid=999_997, wall=base.base + 2 * HOUR).start(resumed=True)
    for step in range(2, 4):
        third.metrics(step, loss=3.0)
    assert bench.read().history()["loss"].values.tolist() == [1.0, 1.0, 3.0, 3.0]


def test_an_attempt_in_the_same_process_counts_by_the_numbers_of_its_lines(bench: Any) -> None:
    hand = bench.journal().start().metrics(0, loss=1.0).metrics(1, loss=2.0).finish("failed")
    hand.start(resumed=True).metrics(1, loss=3.0).finish()
    run = bench.read()
    assert run.history()["loss"].values.tolist() == [1.0, 3.0]
    assert (run.attempts, run.status, run.duration) == (2, "finished", 5.0)


def test_a_clock_that_was_set_back_does_not_turn_the_attempts_round(bench: Any) -> None:
    first = bench.journal().start().metrics(0, loss=1.0).metrics(1, loss=2.0)
    bench.journal(pid=999_998, wall=first.base - HOUR).start(resumed=True).metrics(1, loss=3.0).metrics(
        2, loss=4.0
    )
    run = bench.read()
    assert run.history()["loss"].values.tolist() == [1.0, 3.0, 4.0]
    assert run.duration >= 0
    assert run.name == run.id


def test_points_of_a_second_rank_belong_to_the_attempt_of_their_time(bench: Any) -> None:
    first = bench.journal().start()
    other = bench.journal(rank=1, pid=5).start()
    other.metrics(0, rank__1=1.0).metrics(1, rank__1=2.0)
    bench.journal(pid=999_998, wall=first.base + HOUR).start(resumed=True)
    bench.journal(rank=1, pid=6, wall=first.base + HOUR + 10**9).start(resumed=True).metrics(1, rank__1=3.0)
    assert bench.read().history()["rank/1"].values.tolist() == [1.0, 3.0]


def test_samples_of_the_system_are_never_hidden(bench: Any) -> None:
    first = bench.journal().start().event("s", {"system/cpu": 1.0})
    bench.journal(pid=999_998, wall=first.base + HOUR).start(resumed=True).event("s", {"system/cpu": 2.0})
    series = bench.read().history("system")["system/cpu"]
    assert (series.steps.tolist(), series.values.tolist()) == ([0, 1], [1.0, 2.0])


def test_a_point_that_comes_late_changes_the_summary_of_a_resumed_run(bench: Any) -> None:
    first = bench.journal().start().metrics(0, loss=5.0)
    again = bench.journal(pid=999_998, wall=first.base + HOUR).start(resumed=True)
    assert bench.read().summary["loss"] == 5.0
    again.metrics(0, loss=1.0)
    run = bench.read()
    assert (run.metrics["loss"].count, run.metrics["loss"].max) == (1, 1.0)
