"""What one `log()` of four scalars costs, beside a `json.dumps` line to a buffered file, in one process and in turns.

Prints one JSON object: the medians over the rounds, in microseconds a call, and their ratio. Both write step, time and
the same four values; ours is in the kernel when the call returns, the other one is not.
"""

import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

CALLS = 20_000
ROUNDS = 15


def main() -> None:
    rng = random.Random(1)
    rows = [
        {
            "train/loss": rng.random(),
            "lr": rng.random() / 1000,
            "accuracy": rng.random(),
            "grad_norm": 10 * rng.random(),
        }
        for _ in range(CALLS)
    ]
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        os.environ["AUTOTRACK_DIR"] = os.path.join(folder, "store")
        import autotrack

        run = autotrack.init(project="benchmark")
        with open(os.path.join(folder, "peer.jsonl"), "w") as file:

            def peer(step: int, row: dict[str, float]) -> None:
                file.write(json.dumps({"step": step, "time": time.time(), **row}) + "\n")

            def ours(step: int, row: dict[str, float]) -> None:
                run.log(row, step=step)

            time.sleep(2)  # the capture of the environment is over
            peers, own = [], []
            for _ in range(ROUNDS):
                peers.append(timed(peer, rows))
                own.append(timed(ours, rows))
        run.finish()
    result = {"json_line_us": statistics.median(peers), "log_us": statistics.median(own)}
    print(
        json.dumps(
            {
                **{key: round(value, 3) for key, value in result.items()},
                "ratio": round(result["log_us"] / result["json_line_us"], 3),
            }
        )
    )


def timed(call: Callable[[int, dict[str, float]], None], rows: list[dict[str, float]]) -> float:
    started = time.perf_counter_ns()
    for step, row in enumerate(rows):
        call(step, row)
    return (time.perf_counter_ns() - started) / len(rows) / 1000


if __name__ == "__main__":
    main()
