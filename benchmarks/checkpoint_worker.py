"""One workload in the environment of one keeper of checkpoints, or of the training that makes them.

`python checkpoint_worker.py KEEPER WORKLOAD FOLDER RESULT OPTIONS`: what it returns goes to the file RESULT as JSON.
"""

import importlib
import json
import os
import sys
from pathlib import Path

import checkpoint_work
import cpu
from keepers import kind

TRAINING = {"make": "checkpoint_series", "hooks": "checkpoint_hooks", "stored": "checkpoint_hooks"}


def main() -> None:
    name, workload, folder, result, options = sys.argv[1:]
    cpu.adopt_orphans()
    if name == "training":
        os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", **kind("autotrack").settings(Path(folder))}
        found = getattr(importlib.import_module(TRAINING[workload]), workload)(
            Path(folder), **json.loads(options)
        )
    else:
        keeper = kind(name)
        os.environ.update(keeper.settings(Path(folder)))
        found = getattr(checkpoint_work, workload)(keeper(Path(folder)), **json.loads(options))
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
