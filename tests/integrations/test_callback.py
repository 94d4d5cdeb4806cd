"""`AutoTrack` itself: one object for every framework, whenever it is made, and however it is copied."""

import copy
import pickle
from pathlib import Path

import pytest
from python_process import answer
from warm_process import told

import autotrack
from autotrack.callback import Adapter, ByIdentity, adapters

pytestmark = pytest.mark.filterwarnings("default")

FRAMEWORKS = (
    "lightning",
    "pytorch_lightning",
    "transformers",
    "keras",
    "torch",
    "sklearn",
    "jax",
    "tensorflow",
)


def python(code: str, store: Path, **settings: str) -> str:
    known = {"KERAS_BACKEND": "torch", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return answer(code, **{**known, **settings, "AUTOTRACK_DIR": str(store)})


def test_making_one_imports_no_framework(store):
    code = f"""
import sys, autotrack
autotrack.AutoTrack(project="p")
print(sorted(set({FRAMEWORKS!r}) & set(sys.modules)))
"""
    assert python(code, store) == "[]"


TRAIN = """
import numpy as np, torch, warnings
from torch.utils.data import DataLoader, TensorDataset
warnings.simplefilter("ignore")

def lightning(namespace, callbacks):
    import importlib
    pl = importlib.import_module(namespace)
    class Net(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)
        def training_step(self, batch, batch_idx):
            loss = ((self.layer(batch[0]) - batch[1]) ** 2).mean()
            self.log("loss", loss)
            return loss
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)
    rows = DataLoader(TensorDataset(torch.randn(16, 4), torch.randn(16, 1)), batch_size=8)
    quiet = dict(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    pl.Trainer(max_epochs=1, callbacks=callbacks, enable_checkpointing=False, **quiet).fit(Net(), rows)

def transformers(callbacks, folder):
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
    shape = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    rows = [{"input_ids": torch.arange(5, 9), "labels": n % 2} for n in range(8)]
    arguments = TrainingArguments(folder, max_steps=2, use_cpu=True, report_to="none", disable_tqdm=True, save_strategy="no")
    model = BertForSequenceClassification(BertConfig(vocab_size=20, max_position_embeddings=8, **shape))
    Trainer(model, arguments, train_dataset=rows, callbacks=callbacks).train()

def keras(callbacks):
    import keras
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((16, 4)), np.ones((16, 1))
    model.fit(x, y, batch_size=8, verbose=0, callbacks=callbacks, validation_data=(x, y))
    model.evaluate(x, y, verbose=0, callbacks=callbacks)
    model.predict(x, verbose=0, callbacks=callbacks)

def all_of_them(tracker, folder, bare):
    for namespace in ("lightning.pytorch", "pytorch_lightning"):
        lightning(namespace, tracker if bare else [tracker])
    transformers([tracker], folder)
    keras(tracker if bare else [tracker])
"""

EXPECTED = "finished lightning 2 | finished lightning 2 | finished transformers 2 | finished keras 2"

SHOW = """
from autotrack.testing import close_runs
close_runs()
runs = sorted(autotrack.runs(), key=lambda run: run.created)
print(" | ".join(f"{run.status} {run.framework} {len(run.history(keys=['auto/loss'])['auto/loss'].steps)}" for run in runs))
"""


@pytest.mark.proof
def test_one_made_before_every_import_serves_all_frameworks_in_a_list_and_bare(store, tmp_path):
    code = f"import autotrack\ntracker = autotrack.AutoTrack(project='p')\n{TRAIN}\n"
    code += f"for bare in (False, True): all_of_them(tracker, {str(tmp_path)!r}, bare)\n{SHOW}"
    assert python(code, store).splitlines()[-1] == f"{EXPECTED} | {EXPECTED}"


def test_one_made_after_every_import_serves_all_frameworks(store, tmp_path):
    code = f"""
import lightning.pytorch, pytorch_lightning, transformers, keras, autotrack
from transformers import Trainer, TrainerCallback
tracker = autotrack.AutoTrack(project='p')
bases = lightning.pytorch.Callback, pytorch_lightning.Callback, TrainerCallback, keras.callbacks.Callback
assert all(isinstance(tracker, base) for base in bases)
{TRAIN}
all_of_them(tracker, {str(tmp_path)!r}, False)
{SHOW}"""
    assert told(code, AUTOTRACK_DIR=str(store)).splitlines()[-1] == EXPECTED


def test_autolog_armed_before_every_import_serves_all_frameworks(store, tmp_path):
    code = f"""
import autotrack
autotrack.autolog(project='p')
{TRAIN}
lightning("lightning.pytorch", None)
lightning("pytorch_lightning", None)
transformers(None, {str(tmp_path)!r})
keras(None)
{SHOW}"""
    assert python(code, store).splitlines()[-1] == EXPECTED


class Named(autotrack.AutoTrack):
    """A user's subclass with a hook and a setting of its own."""

    def __init__(self, word: str, project: str | None = None) -> None:
        super().__init__(project=project)
        self.word = word


def test_pickles_with_its_options_and_without_what_frameworks_hang_on_it():
    tracker = autotrack.AutoTrack(project="p", name="n", tags=["t"], group="g", log_every=7)
    tracker.log = tracker.log_dict = open
    back = pickle.loads(pickle.dumps(tracker))
    assert type(back).__name__ == "AutoTrack"
    assert isinstance(back, autotrack.AutoTrack)
    assert back.options == tracker.options
    assert back.options.log_every == 7
    assert not {"log", "log_dict"} & set(vars(back))


@pytest.mark.parametrize("bad", [0, -1, 0.5, "2"])
def test_log_every_counts_steps(bad):
    with pytest.raises(ValueError, match=r"log_every is .* counts steps"):
        autotrack.AutoTrack(log_every=bad)


def test_pickles_as_the_users_subclass():
    back = pickle.loads(pickle.dumps(Named("word", project="p")))
    assert isinstance(back, Named)
    assert (back.word, back.options.project) == ("word", "p")


def test_a_deep_copy_is_itself_and_a_copy_has_its_options():
    tracker = Named("word", project="p")
    assert copy.deepcopy([tracker])[0] is tracker
    shallow = copy.copy(tracker)
    assert shallow is not tracker
    assert (shallow.word, shallow.options) == ("word", tracker.options)


def test_hooks_of_a_subclass_go_before_ours_and_reach_them_by_super(store):
    import torch
    from lightning.pytorch import Callback

    class Mine(autotrack.AutoTrack):
        def on_train_start(self, trainer, module):
            super().on_train_start(trainer, module)
            autotrack.log({"mine": 1.0}, step=0)

    mine = Mine(project="p")
    assert isinstance(mine, Callback)
    space: dict[str, object] = {"torch": torch}
    exec(TRAIN, space)
    space["lightning"]("lightning.pytorch", [mine])
    (run,) = autotrack.runs()
    assert dict(run.summary)["mine"] == 1.0
    assert len(run.history(keys=["auto/loss"])["auto/loss"].steps) == 2


def test_every_adapter_handles_hooks_and_leaves_the_names_that_frameworks_overwrite():
    found = adapters()
    assert {"lightning", "transformers", "keras", "sklearn"} <= set(found)
    for adapter in found.values():
        assert issubclass(adapter, Adapter)
        assert adapter.handled()
        assert not adapter.handled() & {
            "log",
            "log_dict",
            "model",
            "state_dict",
            "load_state_dict",
            "state_key",
        }
    assert [name for name, adapter in found.items() if not adapter.bases] == ["sklearn"]


class Context:
    """As scikit-learn's."""

    root_uuid = None


A, B, C = object(), object(), object()


@pytest.mark.parametrize(
    ("framework", "args", "kwargs"),
    [
        ("keras", (), {}),
        ("keras", ({},), {}),
        ("keras", (0, {}), {}),
        ("keras", (3,), {"logs": {}}),
        ("lightning", (A, B), {}),
        ("lightning", (A, B), {"stage": "fit"}),
        ("lightning", (A, B, "fit"), {}),
        ("lightning", (A,), {"pl_module": B}),
        ("lightning", (), {"trainer": A, "pl_module": B, "stage": "fit"}),
        ("lightning", (A, B, C, {}, 0), {}),
        ("sklearn", (), {"estimator": A, "context": Context()}),
        ("sklearn", (A, Context()), {}),
        ("transformers", (A, B, C), {"model": A}),
    ],
)
def test_the_arguments_of_a_hook_that_frameworks_share_tell_whose_it_is(framework, args, kwargs):
    assert [name for name, adapter in adapters().items() if adapter.claims(args, kwargs)] == [framework]


def test_every_hook_returns_none():
    tracker = autotrack.AutoTrack()
    assert tracker.on_train_end({}) is None
    assert tracker.set_params({}) is None


def test_values_by_identity_go_with_their_object():
    class Equal:
        __hash__ = None

        def __eq__(self, other: object) -> bool:
            return True

    values: ByIdentity[str] = ByIdentity()
    one, other = Equal(), Equal()
    values.set(one, "one")
    assert (values.get(one), values.get(other)) == ("one", None)
    values.set(other, "other")
    values.drop(one)
    assert (values.get(one), values.get(other)) == (None, "other")
    del other
    assert not values._items


UNSUPPORTED = """
import sys, warnings
import autotrack
from autotrack.callback import adapters
from autotrack.integration import discover

for integration in (discover()["keras"], adapters()["keras"].watch):
    type(integration).supports = {"keras": ">=99,<100"}
try:
    autotrack.keras.autolog()
    raise SystemExit("no error")
except autotrack.errors.UnsupportedVersion as error:
    for part in ("is installed", ">=99,<100", "install a version in that range"):
        assert part in str(error), error
assert sys.argv[1:] != ["autolog"] or "keras" not in sys.modules

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    if sys.argv[1:] == ["autolog"]:
        autotrack.autolog()
        callbacks = []
    else:
        callbacks = [autotrack.AutoTrack()]
    import keras, numpy as np
    for _ in range(2):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=callbacks)
(ours,) = [one for one in caught if issubclass(one.category, autotrack.AutotrackWarning)]
assert "Nothing of keras is recorded" in str(ours.message), ours.message
assert model.history.history["loss"]
"""


@pytest.mark.parametrize("arm", ["autolog", "by hand"])
def test_outside_its_versions_nothing_is_recorded_with_one_warning_and_by_name_it_is_an_error(store, arm):
    code = UNSUPPORTED.replace("sys.argv[1:]", repr([arm]))
    said = python(code, store) if arm == "autolog" else told(code, AUTOTRACK_DIR=str(store))
    assert said == ""
    assert not store.exists()
