"""transformers' Trainer: the values of every optimizer step, against a reference that the test computes itself."""

import time
from typing import Any

import pytest
import torch
import transformers
from tensor_reads import Reads
from tiny_transformers import BATCH, ROWS, Rows, Texts, Watched, bert, llama, logged, trainer
from transformers import Trainer

import autotrack
from autotrack.integrations._transformers_loss import Parts, StepLoss
from autotrack.testing import only_run, points

pytestmark = pytest.mark.filterwarnings("default")
FRAMEWORK = "transformers"
VERSION = int(transformers.__version__.partition(".")[0])


class Reference(transformers.TrainerCallback):
    """What a callback of one's own sees at each step: rates before the optimizer, and the wall clock."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
        self.rates.append([float(group["lr"]) for group in facts["optimizer"].param_groups])


def test_every_step_has_its_rate_gradient_norm_and_speed(store, arm):
    reference = Reference()
    made = trainer(store.parent, [*arm(), reference], logging_steps=1, warmup_steps=2)
    made.train()
    run = only_run()
    steps = list(range(1, 7))
    assert points(run, "auto/lr") == list(zip(steps, [rates[0] for rates in reference.rates], strict=True))
    for ours, theirs in (("auto/lr", "learning_rate"), ("auto/grad_norm", "grad_norm")):
        assert dict(points(run, ours)) == pytest.approx(dict(logged(made, theirs)), rel=1e-4)
    for key, per_step in (("auto/samples_per_second", BATCH), ("auto/tokens_per_second", BATCH * 8)):
        times = dict(points(run, "auto/step_time"))
        assert points(run, key) == [(step, pytest.approx(per_step / times[step])) for step in steps]


def test_gradient_norms_are_there_also_when_nothing_is_logged(store, arm):
    trainer(store.parent, arm(), logging_strategy="no").train()
    run = only_run()
    assert [step for step, _ in points(run, "auto/grad_norm")] == [1, 2, 3, 4, 5, 6]
    assert "grad_norm" not in run.summary


def test_a_step_that_is_logged_is_one_line_of_the_journal(store, arm):
    trainer(store.parent, arm(), logging_steps=1, max_steps=3).train()
    run = only_run()
    (journal,) = run.dir.glob("*.jsonl")
    lines = [line for line in journal.read_text().splitlines() if line.startswith('["m"')]
    assert len(lines) == 3 + 1  # the last one has train_runtime and the like


def test_each_parameter_group_has_its_rate_where_they_differ(store, arm):
    class Two(Trainer):
        def create_optimizer(self, *_: Any) -> Any:
            heads, rest = [], []
            for name, weight in self.model.named_parameters():
                (heads if "classifier" in name else rest).append(weight)
            self.optimizer = torch.optim.SGD([{"params": heads, "lr": 0.5}, {"params": rest, "lr": 0.25}])
            return self.optimizer

    reference = Reference()
    trainer(store.parent, [*arm(), reference], kind=Two, max_steps=3).train()
    run = only_run()
    for group in (0, 1):
        assert points(run, f"auto/lr/{group}") == [(n, r[group]) for n, r in enumerate(reference.rates, 1)]
    assert points(run, "auto/lr") == points(run, "auto/lr/0")
    assert [group["lr"] for group in run.config["optimizer_groups"]] == [0.5, 0.25]


class Elsewhere(torch.Tensor):
    """A tensor that says it lies on an accelerator."""

    is_cpu = False

    def __deepcopy__(self, memo: Any) -> torch.Tensor:  # accelerate copies the optimizer's groups
        return self.clone()


@pytest.mark.parametrize("kind", [torch.Tensor, Elsewhere])
def test_a_rate_in_a_tensor_is_the_one_that_the_step_used_though_its_scheduler_changes_it_in_place(
    store, kind
):
    reference = Reference()
    made = trainer(store.parent, [autotrack.AutoTrack(), reference], gradient_accumulation_steps=2)
    rate = torch.tensor(0.25).as_subclass(kind)
    made.optimizer = torch.optim.SGD(made.model.parameters(), lr=rate)
    made.train()
    assert type(made.optimizer.param_groups[0]["lr"]) is kind
    rates = [rates[0] for rates in reference.rates]
    assert len(set(rates)) == 4
    assert points(only_run(), "auto/lr") == list(enumerate(rates, 1))


class Nan(Watched):
    """The loss of the second and third micro-batch is not a number, or infinite."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)
        number = len(self.losses)
        if number in (2, 3):
            loss = loss + (float("nan") if number == 2 else float("inf"))  # the gradients stay what they are
            self.losses[-1] = float(loss.detach())
        return loss


def test_losses_that_the_trainer_hides_are_counted_and_shown(store, arm):
    made = trainer(store.parent, arm(), kind=Nan, logging_steps=1)
    made.train()
    run = only_run()
    found = points(run, "auto/loss")
    assert [step for step, value in found if value != value or abs(value) == float("inf")] == [2, 3]
    assert points(run, "auto/nonfinite") == [(1, 0), (2, 1), (3, 2)]
    assert all(value == value for _, value in points(run, "loss"))  # the Trainer's own number hides it
    assert run.metrics["auto/loss"].nonfinite == 2


class OwnLoss(Trainer):
    """Ignores the count of items: its losses are means of micro-batches, which the Trainer does not divide."""

    losses: list[float]

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(**inputs)
        self.losses.append(float(outputs.loss.detach()))
        return (outputs.loss, outputs) if return_outputs else outputs.loss


class OwnCount(OwnLoss):
    """Divides by the count of items in the step."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        logits = model(**{key: value for key, value in inputs.items() if key != "labels"}).logits
        loss = (
            torch.nn.functional.cross_entropy(logits, inputs["labels"], reduction="sum") / num_items_in_batch
        )
        self.losses.append(float(loss.detach()))
        return loss


def mean_loss(logits: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    return torch.nn.functional.cross_entropy(logits.logits, labels)


def counted_loss(logits: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    return torch.nn.functional.cross_entropy(logits.logits, labels, reduction="sum") / num_items_in_batch


def true_loss() -> float:
    """The mean loss over all rows, of the model as it is made."""
    model = bert().eval()
    rows = [Rows()[row] for row in range(ROWS)]
    batch = {key: torch.stack([torch.as_tensor(row[key]) for row in rows]) for key in rows[0]}
    with torch.no_grad():
        return float(model(**batch).loss)


@pytest.mark.parametrize(
    ("kind", "function"),
    [(OwnLoss, None), (OwnCount, None), (Trainer, None), (Trainer, mean_loss), (Trainer, counted_loss)],
)
def test_the_loss_of_a_step_is_the_mean_over_its_rows_whoever_computes_it(store, kind, function):
    """Accumulated over three micro-batches of equal size, without dropout: the mean over all rows."""
    made = trainer(
        store.parent,
        [autotrack.AutoTrack()],
        no_dropout(bert()),
        kind=kind,
        gradient_accumulation_steps=3,
        max_steps=1,
    )
    made.losses = []
    if kind is OwnCount:
        made.model_accepts_loss_kwargs = True  # in transformers 4 this model does not by itself
    if kind is Trainer:
        made.compute_loss_func = function
    made.train()
    ((step, loss),) = points(only_run(), "auto/loss")
    assert step == 1
    assert loss == pytest.approx(true_loss(), rel=1e-5)


def no_dropout(model: Any) -> Any:
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return model


class OwnStep(Trainer):
    """Has a `training_step` of its own, and calls nothing of transformers' there."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        model.train()
        loss = model(**self._prepare_inputs(inputs)).loss
        self.accelerator.backward(loss)
        self.own = [*getattr(self, "own", []), float(loss.detach())]
        return loss.detach()


class Timed(Watched):
    """Calls the original `training_step` from its own."""

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        return super().training_step(*args, **kwargs)


def test_a_training_step_of_ones_own_is_heard_once(store, arm):
    own = trainer(store.parent, arm(), kind=OwnStep, max_steps=3)
    before = OwnStep.__dict__["training_step"]
    own.train()
    run = only_run()
    assert points(run, "auto/loss") == list(enumerate(own.own, 1))
    assert OwnStep.__dict__["training_step"].__name__ == before.__name__ == "training_step"


def test_a_training_step_that_calls_the_original_is_counted_once(store, arm):
    made = trainer(store.parent, arm(), kind=Timed, max_steps=4)
    made.train()
    assert points(only_run(), "auto/loss") == list(enumerate(made.losses, 1))


def test_a_class_of_the_users_is_not_listened_to_when_autolog_is_off(store):
    before = OwnStep.__dict__["training_step"]
    autotrack.autolog()
    trainer(store.parent, [], kind=OwnStep, max_steps=1).train()
    autotrack.autolog(disable=True)
    own = trainer(store.parent, [], kind=OwnStep, max_steps=1)
    own.train()  # whether or not an AutoTrack of another test is alive: nothing more is recorded
    assert len(autotrack.runs()) == 1
    assert OwnStep.__dict__["training_step"].__name__ == before.__name__


def test_evaluation_and_saving_are_no_part_of_a_steps_time(store, arm, monkeypatch):
    hours = [0]

    class Slow(transformers.TrainerCallback):
        def on_prediction_step(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
            hours[0] += 1

    for module in ("_transformers_steps", "transformers"):
        monkeypatch.setattr(
            f"autotrack.integrations.{module}.perf_counter", lambda: time.perf_counter() + 3600 * hours[0]
        )
    made = trainer(store.parent, [*arm(), Slow()], eval_strategy="steps", eval_steps=1, max_steps=3)
    made.train()
    times = dict(points(only_run(), "auto/step_time"))
    assert hours[0] >= 3
    assert times[2] < 3600 > times[3]


def test_a_training_reads_each_loss_and_each_gradient_norm_once_and_no_other_tensor(store):
    def reads(callbacks: list[Any]) -> int:
        made = trainer(
            store.parent,
            callbacks,
            kind=Trainer,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH // 2,
            gradient_accumulation_steps=2,
            logging_steps=1,
            eval_strategy="epoch",
            save_strategy="epoch",
        )
        with Reads() as transfers:
            made.train()
        return transfers.count

    untracked = reads([])
    tracked = reads([autotrack.AutoTrack()])
    assert len(points(only_run(), "auto/grad_norm")) == 3
    assert tracked - untracked == 6 + 3


def test_without_clipping_the_norm_is_the_one_that_the_trainer_computes_if_it_does(store, arm):
    reference = Reference()
    made = trainer(
        store.parent, [*arm(), reference], gradient_accumulation_steps=2, max_grad_norm=0.0, logging_steps=1
    )
    made.train()
    run = only_run()
    losses = [made.losses[at : at + 2] for at in (0, 3)], [made.losses[at : at + 1] for at in (2, 5)]
    means = [sum(part) / len(part) for parts in zip(*losses, strict=True) for part in parts]
    assert points(run, "auto/loss") == [(step, pytest.approx(mean)) for step, mean in enumerate(means, 1)]
    assert points(run, "auto/lr") == [(step, rates[0]) for step, rates in enumerate(reference.rates, 1)]
    if VERSION == 4:
        assert "auto/grad_norm" not in run.metrics
    else:
        assert dict(points(run, "auto/grad_norm")) == pytest.approx(dict(logged(made, "grad_norm")))


def test_losses_on_an_accelerator_are_added_up_without_reading_them():
    steps = StepLoss()
    values: dict[str, Any] = {}
    memory = torch.zeros(())
    with Reads() as transfers:
        for value in (0.5, float("nan"), 1.5, 2.5):
            memory.fill_(value)  # the same memory again, as under CUDA graphs
            steps.add(memory.as_subclass(Elsewhere))
            if value == value or steps.batches == 0:
                continue
            steps.take(Parts(shares=False), {})
        steps.take(Parts(shares=False), values)
    assert transfers.count == 0
    assert float(values["auto/loss"]) == 2.0
    assert int(values["auto/nonfinite"]) == 1


def test_on_several_ranks_the_factor_of_the_trainer_is_taken_out_of_means():
    steps = StepLoss()
    values: dict[str, Any] = {}
    for value in (2.0, 4.0):
        steps.add(torch.tensor(value))
    steps.take(Parts(shares=False, times=2), values)
    assert values["auto/loss"] == 1.5


def test_a_compiled_language_model_is_seen_to_count_its_tokens(store):
    made = trainer(
        store.parent,
        [autotrack.AutoTrack()],
        llama(),
        rows=Texts(),
        gradient_accumulation_steps=3,
        max_steps=1,
        torch_compile=True,
        torch_compile_backend="eager",
    )
    made.train()
    ((_, loss),) = points(only_run(), "auto/loss")
    assert loss == pytest.approx(sum(made.losses))
