"""What a step or a fit of a framework takes more under each logger: CPU and time."""

import json
import tempfile
from pathlib import Path

from framework_tasks import VARIANTS
from lab import HERE, Lab, Result, say


def frameworks(lab: Lab) -> dict[str, Result]:
    """One process a framework; the loggers take turns in it."""
    found = {}
    for framework in VARIANTS:
        say("frameworks", framework)
        found[framework] = one(lab, framework)
    lab.clear("frameworks")
    return found


def one(lab: Lab, framework: str) -> Result:
    folder = lab.place("frameworks", framework)
    options = {
        "rounds": lab.amount(15 if framework == "sklearn" else 5, 1),
        "rounds_of_others": 3,
        "length": lab.amount([1.5, 1.5, 12, 20], [0.3, 0.5, 1, 2]),
    }
    with tempfile.TemporaryDirectory(dir=lab.work) as scratch:
        result = Path(scratch) / "result.json"
        script = str(HERE / "framework_worker.py")
        words = [framework, str(folder), str(result), json.dumps(options)]
        process = lab.start([lab.python("frameworks"), "-W", "ignore", script, *words], folder)
        return lab.ended(process, result, 600)
