"""For minutes at a high rate: memory, descriptors and threads stay as they are, and a call costs at the end what it did before."""

import os
from collections.abc import Callable

import pytest
from oracle import Victim, read_store

import autotrack

SOAK = """
import gc, resource
seconds = float(os.environ["SECONDS"])
run = autotrack.init(project="p", name="soak")
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() // 1024
values = {f"metric.{place}": place * 0.5 for place in range(10)}
begun, step, window, costs = time.monotonic(), 0, 0, []
while (now := time.monotonic()) - begun < seconds:
    for _ in range(100):
        start = time.perf_counter()
        run.log(values, step=step)
        costs.append(time.perf_counter() - start)
        step += 1
    run.log({"spelled": float("nan"), "long": 2**80})
    run.log({f"refused.{step}": "text"})
    child = run.child(f"child{step}")
    child.log({"x": 1.0})
    child.finish()
    with autotrack.init(project="short", name="short") as short:
        short.log({"x": 1.0})
    time.sleep(0.02)
    if now - begun > window * seconds / 30:
        window += 1
        gc.collect()
        costs.sort()
        tell("window", resident(), len(os.listdir("/proc/self/fd")), threading.active_count(),
             round(1e9 * costs[len(costs) // 2]), round(1e9 * costs[len(costs) * 99 // 100]), step)
        costs.clear()
tell("steps", step)
"""


@pytest.mark.proof
def test_minutes_at_a_high_rate_cost_no_memory_and_no_speed(
    victim: Callable[..., Victim], record_property: Callable[[str, object], None]
) -> None:
    seconds = float(os.environ.get("AUTOTRACK_SOAK_SECONDS") or 240)
    one = victim(SOAK, SECONDS=str(seconds), AUTOTRACK_SILENT="1")
    code, _, errors = one.end(seconds * 2 + 120)
    assert (code, errors) == (0, "")
    windows = [[int(word) for word in words] for words in one.said("window")]
    settled = windows[len(windows) // 3 :]
    third = len(settled) // 3
    growth = min(window[0] for window in settled[-third:]) - min(window[0] for window in settled[:third])
    steps = int(one.said("steps")[0][0])
    record_property("seconds", seconds)
    record_property("steps", steps)
    record_property("resident_kb_growth", growth)
    record_property("resident_kb", settled[-1][0])
    record_property("median_ns_first_third", sorted(window[3] for window in settled[:third])[third // 2])
    record_property("median_ns_last_third", sorted(window[3] for window in settled[-third:])[third // 2])
    record_property("p99_ns_last", settled[-1][4])
    assert growth < 1500
    assert max(window[1] for window in settled) - min(window[1] for window in settled) < 80
    assert max(window[2] for window in settled) <= 3
    first, last = (
        sorted(window[3] for window in part)[third // 2] for part in (settled[:third], settled[-third:])
    )
    assert last < 2 * first
    kept, wrong = read_store(one.store)
    assert wrong == []
    soak = autotrack.runs(project="p")[-1]
    assert soak.metrics["metric.3"].count == steps
    assert len(kept) > 100
