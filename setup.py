"""What pyproject.toml cannot say: an editable install carries autotrack.pth too, and a wheel nothing of an earlier build."""

from __future__ import annotations

import base64
import hashlib
import shutil
import zipfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

PTH = Path(__file__).parent / "autotrack.pth"


class FreshBuildPy(build_py):
    """setuptools keeps `build/lib` between builds; a module that is gone since would be shipped from there."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class EditableWheelWithPth(editable_wheel):
    """setuptools leaves package data out of an editable wheel; this puts autotrack.pth back in."""

    def run(self) -> None:
        super().run()
        for wheel in Path(self.dist_dir).glob("*editable*.whl"):
            add_file(wheel, PTH.name, PTH.read_bytes())


def add_file(wheel: Path, name: str, data: bytes) -> None:
    """Write `data` into the wheel as `name` and into its RECORD, so that uninstalling removes it."""
    with zipfile.ZipFile(wheel) as old:
        members = [(info, old.read(info)) for info in old.infolist()]
    if any(info.filename == name for info, _ in members):
        return
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")
    row = f"{name},sha256={digest},{len(data)}\n".encode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr(name, data)
        for info, content in members:
            new.writestr(info, row + content if info.filename.endswith(".dist-info/RECORD") else content)


setup(cmdclass={"build_py": FreshBuildPy, "editable_wheel": EditableWheelWithPth})
