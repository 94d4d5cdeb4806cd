"""What recording adds to a scikit-learn fit on the caller's thread: fits with and without `autolog()`, in turns.

Prints one JSON object: medians in milliseconds. The training score, which is a prediction and not recording, is left to
its own budget and is part of the second figure only.
"""

import json
import os
import statistics
import sys
import tempfile
import time

ROUNDS = 60


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        os.environ["AUTOTRACK_DIR"] = os.path.join(folder, "store")
        import numpy as np
        from sklearn.linear_model import LinearRegression

        import autotrack

        x = np.random.default_rng(0).normal(size=(200, 5))
        y = x @ np.arange(5.0)
        plain, tracked = [], []
        for _ in range(ROUNDS):
            plain.append(fit(LinearRegression, x, y))
            autotrack.autolog()
            tracked.append(fit(LinearRegression, x, y))
            autotrack.autolog(disable=True)
            time.sleep(0.02)
        base = statistics.median(plain)
        runs = autotrack.runs(project=os.path.basename(os.getcwd()))
        opened = statistics.median(sum(run.own_ns.values()) / 1e6 for run in runs)
        result = {"fit_ms": base, "tracked_fit_ms": statistics.median(tracked), "own_time_ms": opened}
        result["added_ms"] = result["tracked_fit_ms"] - base
        print(json.dumps({key: round(value, 3) for key, value in result.items()} | {"runs": len(runs)}))


def fit(kind: type, x: object, y: object) -> float:
    model = kind()
    started = time.perf_counter()
    model.fit(x, y)
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
