"""PEFT: adapters that the user's own code saves with `PeftModel.save_pretrained`, and loads."""

from collections.abc import Mapping
from types import ModuleType
from typing import ClassVar

from autotrack.integration import Integration
from autotrack.integrations import _pretrained


class PeftIntegration(Integration):
    """Watches `PeftModel.save_pretrained`, and `load_adapter`, which `from_pretrained` calls; what a Trainer saves or loads is its own."""

    name: ClassVar[str] = "peft"
    targets: ClassVar[tuple[str, ...]] = ("peft.peft_model",)
    supports: ClassVar[Mapping[str, str]] = {}

    def _install(self, module: ModuleType) -> None:
        self.patcher.observe(vars(module)["PeftModel"], "save_pretrained", _pretrained.saved)
        self.patcher.observe(vars(module)["PeftModel"], "load_adapter", _pretrained.load)
