"""What recording adds to a scikit-learn fit on the caller's thread: fits with and without `autolog()`, in turns.

Prints one JSON object: medians in milliseconds. `score_ms` is what the training score itself takes, a prediction
that users of autologging expect; `added_ms` is everything that a tracked fit takes beyond the plain one, the score included.
"""

import json
import os
import statistics
import sys
import tempfile
import time

BLOCKS = 5
FITS = 20


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        os.environ["AUTOTRACK_DIR"] = os.path.join(folder, "store")
        import numpy as np
        from sklearn.linear_model import LinearRegression

        import autotrack

        x = np.random.default_rng(0).normal(size=(200, 5))
        y = x @ np.arange(5.0)
        plain, tracked = [], []
        for _ in range(BLOCKS):
            plain += fits(LinearRegression, x, y)
            autotrack.autolog()
            tracked += fits(LinearRegression, x, y)
            autotrack.autolog(disable=True)
        base = statistics.median(plain)
        runs = autotrack.runs(project=os.path.basename(os.getcwd()))
        opened = statistics.median(sum(run.own_ns.values()) / 1e6 for run in runs)
        result = {"fit_ms": base, "tracked_fit_ms": statistics.median(tracked), "own_time_ms": opened}
        result["score_ms"] = statistics.median(scores(LinearRegression, x, y))
        result["added_ms"] = result["tracked_fit_ms"] - base
        print(json.dumps({key: round(value, 3) for key, value in result.items()} | {"runs": len(runs)}))


def scores(kind: type, x: object, y: object) -> list[float]:
    found = []
    for _ in range(FITS):
        model = kind().fit(x, y)
        started = time.perf_counter()
        model.score(x, y)
        found.append((time.perf_counter() - started) * 1000)
    return found


def fits(kind: type, x: object, y: object) -> list[float]:
    """The times of some fits; the first of a block is a warm-up."""
    found = []
    for _ in range(FITS + 1):
        model = kind()
        started = time.perf_counter()
        model.fit(x, y)
        found.append((time.perf_counter() - started) * 1000)
        time.sleep(0.02)
    return found[1:]


if __name__ == "__main__":
    main()
