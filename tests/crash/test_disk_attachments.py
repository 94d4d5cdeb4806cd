"""Artifacts and tables on a disk that refuses them: no half object, the user's file untouched, and the record names what is missing."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from disk import TIMED, events, failing, slugs
from oracle import Victim, statuses

Victims = Callable[..., Victim]
Library = Callable[[str], str]

WORK = (
    TIMED
    + """
from autotrack import background
import hashlib, pathlib
run = autotrack.init(project="p", name="run")
background.drain(60)
mine = pathlib.Path(os.environ["WORK"], "mine.bin")
mine.write_bytes(b"0123456789" * 300_000)
before = (mine.stat().st_mtime_ns, mine.read_bytes())
log(run, "a", 0)
artifact(run, "small", 100)
trouble(on=True)
run.log_artifact(mine, name="first")
run.log_artifact(mine, name="second")
run.log_table("table", {"x": list(range(100_000))})
run.log_artifact(os.environ["WORK"], name="folder")
log(run, "a", 1)
trouble(on=False)
artifact(run, "again", 100)
run.log_artifact(mine, name="third")
log(run, "a", 2)
assert (mine.stat().st_mtime_ns, mine.read_bytes()) == before
"""
)


def whole(store: Path) -> list[str]:
    """The names in the object store that do not say what is in the file."""
    found = [path for path in (store / "objects").rglob("*") if path.is_file()]
    return [
        str(path)
        for path in found
        if path.parent.name + path.name != hashlib.sha256(path.read_bytes()).hexdigest()
    ]


@pytest.mark.parametrize(
    ("calls", "error"),
    [("write", "ENOSPC"), ("open,mkdir", "ENOSPC"), ("write", "EIO"), ("rename", "EIO"), ("open", "EMFILE")],
)
def test_what_the_disk_refuses_is_missing_whole_and_named(
    victim: Victims, library: Library, store: Path, tmp_path: Path, calls: str, error: str
) -> None:
    one = victim(WORK, **failing(library, tmp_path, f"call={calls} path=/objects errno={error} while=SWITCH"))
    code, _, errors = one.end()
    assert code == 0, errors
    assert 1 <= errors.count("AutotrackWarning: ") <= 4, errors
    assert one.faults() == []
    assert whole(store) == []
    names = [event.body["name"] for event in events(store, "artifact")]
    assert names == ["small", "again", "third"]
    assert [slug for slug in slugs(store) if slug != "disk"] == ["artifact"] * 4
    assert statuses(store) == {"run": "finished"}


def test_a_disk_that_takes_only_parts_of_an_object_gets_it_whole(
    victim: Victims, library: Library, store: Path, tmp_path: Path
) -> None:
    one = victim(WORK, **failing(library, tmp_path, "call=write path=/objects short=3 while=SWITCH"))
    assert one.end() == (0, "", "")
    assert one.faults() == []
    assert whole(store) == []
    assert len(events(store, "artifact")) == 7


def test_a_limit_on_the_size_of_files_costs_only_what_is_larger(victim: Victims, store: Path) -> None:
    one = victim(
        WORK.replace("trouble(on=True)", "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, -1))").replace(
            "trouble(on=False)", "resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))"
        )
    )
    code, _, errors = one.end()
    assert code == 0, errors
    assert one.faults() == []
    assert whole(store) == []
    assert [event.body["name"] for event in events(store, "artifact")] == ["small", "again", "third"]


def test_an_object_that_a_power_loss_left_empty_is_stored_again(victim: Victims, store: Path) -> None:
    one = victim(
        TIMED
        + """
run = autotrack.init(project="p", name="run")
artifact(run, "file", 1000)
for path in (run.layout.objects).glob("??/*"):
    path.chmod(0o600)
    path.write_bytes(b"")
artifact(run, "file", 1000)
"""
    )
    assert one.end() == (0, "", "")
    assert one.faults() == []


def test_objects_are_synced_soon(victim: Victims, library: Library, store: Path, tmp_path: Path) -> None:
    one = victim(
        TIMED
        + """
run = autotrack.init(project="p", name="run")
artifact(run, "file", 1000)
""",
        **failing(library, tmp_path, "call=fsync path=/objects/ errno=EIO"),
    )
    code, _, errors = one.end()
    assert code == 0
    assert "could not be synced (Input/output error)" in errors
    assert one.faults() == []
