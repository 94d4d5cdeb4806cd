"""transformers' Trainer on several ranks: the world's rank 0 records one run, and its losses are means of its own micro-batches."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from warm_process import told

import autotrack
from autotrack.testing import points

pytestmark = pytest.mark.filterwarnings("default")
SUPPORT = str(Path(__file__).parents[1] / "support")

TRAIN = """
import json, os, sys, torch
from pathlib import Path
from tiny_transformers import Rows, Texts, llama, steady_bert, trainer
from transformers import Trainer
import autotrack

class Sees(Trainer):
    def training_step(self, model, inputs, *rest):
        with torch.no_grad():  # the model's own mean over the micro-batch: it is not told of the items of the step
            self.means.append(self.accelerator.unwrap_model(model)(**self._prepare_inputs(inputs)).loss.item())
        return super().training_step(model, inputs, *rest)

found = {}
for model, rows in ((steady_bert(), Rows()), (llama(), Texts())):
    made = trainer(Path(sys.argv[1]), [autotrack.AutoTrack()], model, rows=rows, kind=Sees, num_train_epochs=1,
                   per_device_train_batch_size=2, gradient_accumulation_steps=2, logging_steps=1, eval_strategy="epoch",
                   average_tokens_across_devices=True, ddp_backend="gloo", ddp_timeout=60)
    made.means = []
    made.train()
    assert (made.args.world_size, made.accelerator.num_processes) == (2, 2)
    first, second, third = made.means
    found[type(model).__name__] = [(first + second) / 2, third]
if os.environ["RANK"] == "0":
    print("means", json.dumps(found))
torch.distributed.destroy_process_group()
"""

FORKED = """
import os
child = os.fork()
os.environ["RANK"] = os.environ["LOCAL_RANK"] = str(int(child == 0))
{train}
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def free_port() -> str:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return str(made.getsockname()[1])


def forked(folder: Path) -> str:
    group = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }
    return told(FORKED.format(train=TRAIN), str(folder), folder=folder, path=SUPPORT, **group)


def by_torchrun(folder: Path) -> str:
    script = folder / "train.py"
    script.write_text(TRAIN)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        f"--master-port={free_port()}",
    ]
    paths = os.pathsep.join([SUPPORT, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, str(script), str(folder)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("start", [forked, pytest.param(by_torchrun, marks=pytest.mark.proof)])
def test_rank_0_alone_records_and_its_loss_is_the_mean_of_its_micro_batches(store, tmp_path, start):
    printed = start(tmp_path)
    (means,) = [json.loads(line[6:]) for line in printed.splitlines() if line.startswith("means ")]
    runs = {run.name: run for run in autotrack.runs()}
    assert len(autotrack.runs()) == 2
    assert means.keys() == runs.keys() == {"BertForSequenceClassification", "LlamaForCausalLM"}
    for name, run in runs.items():
        assert run.status == "finished"
        assert run.config["schedule"]["world_size"] == 2
        assert len([*run.dir.glob("*.jsonl*")]) == 1
        assert not [key for key in run.metrics if key.startswith("rank.")]
        assert points(run, "auto/loss") == [
            (step, pytest.approx(mean, rel=1e-4)) for step, mean in enumerate(means[name], 1)
        ]
        took, speed = dict(points(run, "auto/step_time")), dict(points(run, "auto/samples_per_second"))
        assert {step: took[step] * speed[step] for step in took} == {1: pytest.approx(8), 2: pytest.approx(4)}
        assert [step for step, _ in points(run, "eval_loss")] == [2]
