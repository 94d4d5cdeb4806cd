"""How fast recorded points are brought into the index and read back. Prints one JSON object."""

import json
import os
import statistics
import sys
import tempfile
import time

STEPS = 250_000


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        os.environ["AUTOTRACK_DIR"] = os.path.join(folder, "store")
        os.environ["AUTOTRACK_SYSTEM"] = "0"
        import autotrack
        from autotrack.index import open_index

        with autotrack.init(project="benchmark", name="long") as run:
            for step in range(STEPS):
                x = step / STEPS
                run.log({"loss": (1 - x) ** 2, "lr": 0.1 * x, "accuracy": x**0.5, "norm": 3.0 + x}, step=step)
        with autotrack.init(project="benchmark", name="short") as short:
            for step in range(100_000):
                short.log({"loss": 1 / (step + 1)}, step=step)
        started = time.perf_counter()
        index = open_index()
        index.sync()
        ingest = time.perf_counter() - started
        points = 4 * STEPS + 100_000
        series = statistics.median(
            timed(lambda: index.get(short.id).history("loss")["loss"].values) for _ in range(5)
        )
        result = {
            "points": points,
            "ingest_points_per_s": round(points / ingest),
            "series_100k_ms": round(series * 1000, 1),
            "get_ms": round(
                statistics.median(timed(lambda: index.get(run.id).summary) for _ in range(5)) * 1000, 1
            ),
        }
        print(json.dumps(result))


def timed(function: object) -> float:
    assert callable(function)
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
