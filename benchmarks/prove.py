"""Run the proofs (`pytest -m proof`) with one seed, and write what came of them to benchmarks/results/proof.json.

`AUTOTRACK_TEST_SEED` replays a seed. Words given to this program go to pytest: `python benchmarks/prove.py tests/crash/test_kill.py`.
Exits with pytest's code.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from pathlib import Path

from stamp import RESULTS, stamp


def main() -> int:
    seed = os.environ.setdefault("AUTOTRACK_TEST_SEED", str(time.time_ns() % 2**32))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = [
            "pytest",
            "-q",
            "-m",
            "proof",
            "-o",
            "junit_family=xunit1",
            f"--junitxml={report}",
            *sys.argv[1:],
        ]
        code = subprocess.run([Path(sys.executable).parent / words[0], *words[1:]], check=False).returncode
        if not report.exists():  # nothing ran: the result before stands
            return code or 1
        cases = [case(each) for each in xml.etree.ElementTree.parse(report).iter("testcase")]
    result = stamp() | {"seed": int(seed), "seconds": round(time.monotonic() - began), "proofs": cases}
    (RESULTS / "proof.json").write_text(json.dumps(result, indent=2) + "\n")
    return code


def case(element: xml.etree.ElementTree.Element) -> dict[str, object]:
    failed = any(element.find(kind) is not None for kind in ("failure", "error", "skipped"))
    facts = {str(each.get("name")): each.get("value") for each in element.iter("property")}
    name = f"{element.get('classname')}.{element.get('name')}"
    return {"test": name, "passed": not failed, "seconds": round(float(element.get("time") or 0), 1)} | facts


if __name__ == "__main__":
    sys.exit(main())
