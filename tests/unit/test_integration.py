"""The contract of an integration: when it is armed, for which versions, and that one bad one harms no other."""

import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest

from autotrack import guard
from autotrack import integration as contract
from autotrack.errors import AutotrackWarning, UnsupportedVersion
from autotrack.guard import forget
from autotrack.integration import Integration, discover
from autotrack.options import Options


class ToyIntegration(Integration):
    """Counts what it is told."""

    name: ClassVar[str] = "toy"
    targets: ClassVar[tuple[str, ...]] = ("toy_one", "toy_two.core")
    supports: ClassVar[Mapping[str, str]] = {"toy-one": ">=1,<2", "toy-two": ">=5"}

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def _install(self, module: ModuleType) -> None:
        self.heard.append(module.__name__)
        self.patcher.replace(module.Trainer, "fit", lambda original: lambda self: "tracked " + original(self))

    def _uninstall(self) -> None:
        self.heard.append("gone")


CODE = "class Trainer:\n    def fit(self):\n        return 'fit'\n"


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "toy_one.py").write_text(CODE)
    (tmp_path / "toy_two").mkdir()
    (tmp_path / "toy_two" / "__init__.py").write_text("")
    (tmp_path / "toy_two" / "core.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    yield tmp_path
    for name in ("toy_one", "toy_two", "toy_two.core"):
        sys.modules.pop(name, None)


def installed(folder: Path, name: str, version: str) -> None:
    (folder / f"{name}-{version}.dist-info").mkdir()


def fit(module: str) -> str:
    __import__(module)
    answer: str = sys.modules[module].Trainer().fit()
    return answer


@pytest.mark.usefixtures("toys")
def test_each_target_is_armed_once_as_it_is_imported_and_undone() -> None:
    toy = ToyIntegration()
    meta_path = list(sys.meta_path)
    assert fit("toy_one") == "fit"
    toy.install(Options())
    toy.install(Options(project="other"))
    assert toy.options.project == "other"
    assert fit("toy_one") == "tracked fit"
    assert toy.heard == ["toy_one"]
    assert fit("toy_two.core") == "tracked fit"
    assert toy.heard == ["toy_one", "toy_two.core"]
    toy.uninstall()
    toy.uninstall()
    assert toy.heard[2:] == ["gone"]
    assert fit("toy_one") == fit("toy_two.core") == "fit"
    assert sys.meta_path == meta_path
    toy.install(Options())
    assert fit("toy_one") == fit("toy_two.core") == "tracked fit"
    toy.uninstall()


@pytest.mark.usefixtures("toys")
def test_undone_before_the_import_nothing_happens_at_it() -> None:
    toy = ToyIntegration()
    toy.install(Options())
    toy.uninstall()
    assert fit("toy_one") == "fit"
    assert toy.heard == ["gone"]


def test_a_version_outside_the_range_is_left_alone_with_one_warning(toys: Path) -> None:
    installed(toys, "toy_one", "2.1")
    installed(toys, "toy_two", "5.0rc1")
    toy = ToyIntegration()
    toy.install(Options())
    with pytest.warns(
        AutotrackWarning, match=r"toy-one 2\.1 is installed, and toy is recorded for >=1,<2"
    ) as caught:
        assert fit("toy_one") == "fit"
    assert len(caught) == 1
    toy.uninstall()


def test_a_distribution_with_another_targets_name_does_not_count_for_this_one(toys: Path) -> None:
    installed(toys, "toy_one", "2.1")
    installed(toys, "toy_two", "5.1")
    toy = ToyIntegration()
    toy.install(Options())
    assert fit("toy_two.core") == "tracked fit"
    toy.uninstall()


def test_asked_for_by_name_an_unsupported_version_is_an_error_and_nothing_is_imported(toys: Path) -> None:
    ToyIntegration().check()
    installed(toys, "toy_two", "4.9")
    with pytest.raises(UnsupportedVersion, match=r"toy-two 4\.9 .* >=5; install a version in that range"):
        ToyIntegration().check()
    assert "toy_two" not in sys.modules


def test_silent_means_that_nothing_is_said_of_the_version(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(guard._SILENT, "on", True)
    installed(toys, "toy_one", "0.9")
    toy = ToyIntegration()
    toy.install(Options())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert fit("toy_one") == "fit"
    assert caught == []
    toy.uninstall()


def test_an_integration_that_cannot_be_loaded_is_named_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    lines = [
        "[autotrack.integrations]",
        "broken = broken_toy:Nothing",
        "noclass = json:dumps",
        "gone = nosuch:X",
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    (tmp_path / "broken_toy.py").write_text("raise ValueError('this file is broken')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    with pytest.warns(AutotrackWarning) as caught:
        found = discover()
    texts = sorted(str(warning.message) for warning in caught)
    assert len(texts) == 3
    assert "'broken' (broken_toy:Nothing) cannot be loaded: ValueError: this file is broken" in texts[0]
    assert "sklearn" in found
    assert not {"broken", "noclass", "gone"} & set(found)
    for name in ("broken", "noclass", "gone"):
        contract._known.pop(name)


@pytest.mark.parametrize(("value", "left"), [("sklearn, KERAS", False), ("*", False), ("torch", True)])
def test_the_environment_switches_integrations_off(
    monkeypatch: pytest.MonkeyPatch, value: str, left: bool
) -> None:
    monkeypatch.setenv("AUTOTRACK_DISABLE_INTEGRATIONS", value)
    found = discover()
    assert ("sklearn" in found) is ("keras" in found) is left


def test_finding_all_integrations_imports_no_framework() -> None:
    code = (
        "import sys; from autotrack.integration import discover; found = discover(); assert 'sklearn' in found\n"
        "heavy = {'sklearn', 'torch', 'keras', 'transformers', 'lightning', 'pytorch_lightning', 'numpy', 'joblib'}\n"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_folder_imported_under_another_name_is_refused(tmp_path: Path) -> None:
    root = Path(contract.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", "import integrations"], cwd=root, capture_output=True, text=True, check=False
    )
    if (root / "integrations").is_dir():
        assert "import autotrack.integrations instead" in done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize(
    ("version", "specifier", "inside"),
    [
        ("1.9.1", ">=1.5,<2", True),
        ("1.4.2", ">=1.5,<2", False),
        ("2.0rc1", ">=1.5,<2", False),
        ("5.0.dev3+local", ">= 5", True),
        ("2.3", "!=2.3", False),
        ("2.3.0", "==2.3", True),
        ("3", ">3", False),
        ("3.0", "<=3,>2", True),
    ],
)
def test_versions_are_compared_by_number_and_a_pre_release_counts_as_its_release(
    toys: Path, version: str, specifier: str, inside: bool
) -> None:
    class Ranged(ToyIntegration):
        supports: ClassVar[Mapping[str, str]] = {"toy-one": specifier}

    installed(toys, "toy_one", version)
    if inside:
        Ranged().check()
    else:
        with pytest.raises(UnsupportedVersion):
            Ranged().check()
