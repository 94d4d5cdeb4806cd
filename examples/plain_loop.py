"""A loop of one's own: `init`, `log`, and nothing else. `python plain_loop.py`."""

import math
import random

import autotrack

config = {"lr": 0.1, "steps": 100, "seed": 7}

with autotrack.init(project="examples", name="plain loop", config=config, tags=["demo"]) as run:
    noise = random.Random(config["seed"])
    for step in range(config["steps"]):
        loss = math.exp(-config["lr"] * step) + 0.01 * noise.random()
        run.log({"loss": loss, "lr": config["lr"]}, step=step)
print(f"recorded as {run.id} in {run.dir}")
