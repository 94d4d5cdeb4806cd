"""What is installed: entry points and versions from the metadata folders, as importlib.metadata would give them."""

import importlib.metadata
import zipfile
from pathlib import Path

import pytest

from autotrack import plugins


def write_dist(folder: Path, name: str, version: str, entry_points: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entry_points)


def test_it_finds_what_importlib_metadata_finds() -> None:
    group = "autotrack.integrations"
    theirs = {point.name: point.value for point in importlib.metadata.entry_points(group=group)}
    assert plugins.entry_points(group) == theirs
    assert "sklearn" in theirs
    for name in ("scikit-learn", "orjson", "SQLAlchemy"):
        assert plugins.version_of(name) == importlib.metadata.version(name)
    assert plugins.version_of("no-such-distribution") is None


def test_a_distribution_that_appears_is_seen_and_the_first_on_the_path_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    for folder in (second, first):
        monkeypatch.syspath_prepend(str(folder))
    text = "# a comment\n[autotrack.toys]\nball = toys:Ball [extra]\n[other.group]\nx = y:z\n"
    write_dist(second, "toys", "2.0", text)
    assert plugins.entry_points("autotrack.toys") == {"ball": "toys:Ball [extra]"}
    write_dist(first, "toys", "1.0", "[autotrack.toys]\nkite = toys:Kite\n")
    assert plugins.entry_points("autotrack.toys") == {"kite": "toys:Kite"}
    assert plugins.version_of("Toys") == "1.0"
    (first / "toys.py").write_text("class Kite:\n    line = 'long'\n")
    assert plugins.load("toys:Kite.line") == "long"


def test_a_zip_file_on_the_path_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr(
            "zipped-3.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: zipped\nVersion: 3.1\n"
        )
        archive.writestr("zipped-3.1.dist-info/entry_points.txt", "[autotrack.toys]\ntop = zipped:Top\n")
    monkeypatch.syspath_prepend(str(tmp_path / "app.zip"))
    assert plugins.entry_points("autotrack.toys") == {"top": "zipped:Top"}
    assert plugins.version_of("zipped") == "3.1"
