"""One workload of one tracker, in that tracker's own environment: `python worker.py TRACKER WORKLOAD FOLDER RESULT OPTIONS`.

What the workload returns is written to the file RESULT as JSON; trackers may print what they like.
"""

import json
import os
import sys
from pathlib import Path

import cpu
import workloads
from adapters import kind


def main() -> None:
    tracker, workload, folder, result, options = sys.argv[1:]
    cpu.adopt_orphans()
    adapter = kind(tracker)
    os.environ.update(adapter.settings(Path(folder)))
    found = getattr(workloads, workload)(adapter(Path(folder)), **json.loads(options))
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
