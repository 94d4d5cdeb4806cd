"""Run the proofs (`pytest -m proof`) with one seed, and write what came of them to benchmarks/results/proof.json.

`AUTOTRACK_TEST_SEED` replays a seed. Words given to this program go to pytest: `python benchmarks/prove.py tests/crash/test_kill.py`.
What the file tells of proofs that are not run now stays; each has the commit that it was run at, and its seed. Exits with pytest's code.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

from stamp import RESULTS, stamp

Case = dict[str, Any]


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
        told = xml.etree.ElementTree.parse(report).iter("testcase")
        cases = [case(each) for each in told if each.get("name")]  # without a name: what Ctrl-C has ended
    now = stamp()
    ran = {"commit": now["commit"], "seed": int(seed)}
    target = RESULTS / "proof.json"
    result = now | {"proofs": merged(target, [one | ran for one in cases])}
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{len(cases)} proofs in {time.monotonic() - began:.0f} s")
    return code


def merged(target: Path, cases: list[Case]) -> list[Case]:
    """These cases in the place of what is known of the same tests, and what is known of others."""
    known: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {}
    before = {str(one["test"]): one for one in known.get("proofs", [])}
    return list((before | {str(one["test"]): one for one in cases}).values())


def case(element: xml.etree.ElementTree.Element) -> Case:
    failed = any(element.find(kind) is not None for kind in ("failure", "error", "skipped"))
    facts = {str(each.get("name")): each.get("value") for each in element.iter("property")}
    name = f"{element.get('classname')}.{element.get('name')}"
    return {"test": name, "passed": not failed, "seconds": round(float(element.get("time") or 0), 1)} | facts


if __name__ == "__main__":
    sys.exit(main())
