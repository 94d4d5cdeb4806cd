"""PEFT: adapters that the user's own code saves with `PeftModel.save_pretrained`."""

from collections.abc import Mapping
from types import ModuleType
from typing import ClassVar

from autotrack.integration import Integration
from autotrack.integrations import _pretrained


class PeftIntegration(Integration):
    """Watches `PeftModel.save_pretrained`; a Trainer's own saves of adapters are that Trainer's."""

    name: ClassVar[str] = "peft"
    targets: ClassVar[tuple[str, ...]] = ("peft.peft_model",)
    supports: ClassVar[Mapping[str, str]] = {}

    def _install(self, module: ModuleType) -> None:
        self.patcher.observe(vars(module)["PeftModel"], "save_pretrained", _pretrained.saved)
