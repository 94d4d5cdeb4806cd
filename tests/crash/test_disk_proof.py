"""Real disks that fill up: tmpfs and ext4 of a few megabytes, without inodes, remounted read-only, and systems that lack half of what
others have. These need mounts: a user namespace (`unshare -rm`), for ext4 root.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from disk import TIMED, events, failing, merge, number, unexplained
from oracle import Victim, statuses

Victims = Callable[..., Victim]
Library = Callable[[str], str]
Record = Callable[[str, object], None]

pytestmark = pytest.mark.proof

FILLER = (
    TIMED
    + """
from autotrack import background
mount = os.environ["AUTOTRACK_DIR"].rpartition("/")[0]
def fill():
    with open(os.path.join(mount, "filler"), "wb", buffering=0) as file:
        for size in (1 << 16, 4096, 512, 64, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
def free():
    os.unlink(os.path.join(mount, "filler"))
run = autotrack.init(project="p", name="run", config={"lr": 0.1})
background.drain(60)
"""
)


class Disk:
    """A small disk that only the victim sees; what is on it at the end is copied to where the test can look at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounted = folder / "mounted"
        self.copy = folder / "copy"
        self.mounted.mkdir()

    def wrap(self, kind: str, options: str, also: str = "") -> tuple[str, ...]:
        """The words before the victim's command that give it this disk."""
        mount = f"mount -t tmpfs -o {options} disk {self.mounted}"
        if kind == "ext4":
            image = self.folder / "image"
            mount = f"truncate -s 16M {image} && mkfs.ext4 -q {image} && mount -o loop,{options} {image} {self.mounted}"
        script = f'{mount} && {also or ":"} || exit 97; "$@"; code=$?; cp -a {self.mounted} {self.copy}; umount {self.mounted}; exit $code'
        flags = "-m" if os.geteuid() == 0 and kind == "ext4" else "-rm"
        return ("unshare", flags, "sh", "-c", script, "sh")

    def environment(self) -> dict[str, str]:
        """Where the victim finds it."""
        return {"AUTOTRACK_DIR": str(self.mounted / ".autotrack")}

    def take(self, one: Victim) -> Path:
        """The victim's store, from the copy."""
        one.store = self.copy / ".autotrack"
        return one.store


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """A small disk for one victim."""
    return Disk(tmp_path)


def without_torn(wrong: list[str]) -> list[str]:
    return [text for text in wrong if "damaged line" not in text and "within a line" not in text]


@pytest.mark.parametrize(("kind", "options"), [("tmpfs", "size=8m"), ("ext4", "noatime")])
def test_a_disk_that_is_full_for_four_seconds_of_1500_steps_loses_nothing(
    victim: Victims, disk: Disk, kind: str, options: str, record_property: Record
) -> None:
    one = victim(
        FILLER
        + """
full = []
def trouble():
    fill(); full.append(True)
    time.sleep(4)
    full.append(run.waiting()); free()
for step in range(1500):
    if step == 300:
        thread = threading.Thread(target=trouble)
        thread.start()
    timed(run, "a", step)
    time.sleep(0.01)
thread.join()
assert full == [True, True], full
run.finish()
tell_times()
""",
        *disk.wrap(kind, options),
        **disk.environment(),
    )
    code, _, errors = one.end(120)
    assert code == 0, errors
    disk.take(one)
    lost = [text for text in one.faults() if text.startswith("lost")]
    record_property("longest_call_ms", round(number(one, "longest") * 1000, 2))
    record_property("lost", len(lost))
    print("longest", number(one, "longest"), "lost", len(lost))
    assert without_torn(one.faults()) == []
    assert unexplained(one.store) == []
    assert number(one, "longest") < 0.05


@pytest.mark.parametrize(("kind", "options"), [("tmpfs", "size=8m"), ("ext4", "noatime")])
def test_a_disk_that_is_full_to_the_end_leaves_the_rest_in_the_fallback(
    victim: Victims, disk: Disk, tmp_path: Path, kind: str, options: str
) -> None:
    one = victim(
        FILLER
        + """
for step in range(200):
    timed(run, "a", step)
fill()
for step in range(200, 1000):
    timed(run, "a", step)
assert run.waiting()
tell_times()
sys.exit(3)
""",
        *disk.wrap(kind, options),
        **disk.environment(),
    )
    code, _, errors = one.end(120)
    assert code == 3, errors
    store = disk.take(one)
    fallback = tmp_path / "state" / "autotrack" / "store"
    before = {event.step for event in events(store, "m")}
    assert before >= set(range(200))
    assert merge(fallback, store) == 1
    assert without_torn(one.faults()) == []
    assert unexplained(store) == []
    assert statuses(store) == {"run": "failed"}
    assert number(one, "longest") < 0.05


def test_a_disk_without_inodes_loses_nothing(victim: Victims, disk: Disk, tmp_path: Path) -> None:
    one = victim(
        FILLER
        + """
taken = []
while True:
    name = os.path.join(mount, f"file{len(taken)}")
    try:
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    except OSError:
        break
    taken.append(name)
late = autotrack.init(project="p", name="late")
mine = os.path.join(os.environ["WORK"], "mine")
open(mine, "w").write("mine")
late.log_artifact(mine)
writer.SEGMENT_BYTES = 1_000
for step in range(500):
    timed(run, "a", step)
    timed(late, "b", step)
    time.sleep(0.002)
assert late.waiting()
for name in taken:
    os.unlink(name)
wait_for(lambda: not late.waiting())
timed(late, "b", 500)
late.finish()
tell_times()
""",
        *disk.wrap("tmpfs", "size=8m,nr_inodes=60"),
        **disk.environment(),
    )
    code, _, errors = one.end(60)
    assert code == 0, errors
    disk.take(one)
    assert one.faults() == []
    assert number(one, "longest") < 0.05


def test_a_disk_that_is_remounted_read_only_sends_the_run_to_the_fallback(
    victim: Victims, disk: Disk, tmp_path: Path
) -> None:
    one = victim(
        FILLER
        + """
writer.LEAVE_SECONDS = 0.5
import subprocess
for step in range(200):
    timed(run, "a", step)
os.close(run._journal._place.fd)  # a file that is open for writing keeps a disk from being remounted
subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
for step in range(200, 600):
    timed(run, "a", step)
    time.sleep(0.005)
assert str(run._journal.folder).startswith(os.environ["XDG_STATE_HOME"])
tell_times()
""",
        *disk.wrap("tmpfs", "size=8m"),
        **disk.environment(),
    )
    code, _, errors = one.end(60)
    assert code == 0, errors
    store = disk.take(one)
    merge(tmp_path / "state" / "autotrack" / "store", store)
    assert one.faults() == []
    assert unexplained(store) == []
    assert number(one, "longest") < 0.05


NO_SHM = "mount -t tmpfs -o size=4k,nr_inodes=1 none /dev/shm"
READ_ONLY_TMP = "mount --bind /tmp /tmp && mount -o remount,ro,bind /tmp"
NO_PROC = "mount -t tmpfs -o ro none /proc"
READ_ONLY_HOME = "mount -t tmpfs -o ro none $HOME"
ALL = f"{NO_SHM} && {READ_ONLY_TMP} && {READ_ONLY_HOME} && {NO_PROC}"


@pytest.mark.parametrize("also", [NO_SHM, READ_ONLY_TMP, NO_PROC, READ_ONLY_HOME, ALL])
def test_a_system_that_lacks_half_of_what_others_have_is_enough(
    victim: Victims, tmp_path: Path, also: str
) -> None:
    place = Path(os.environ.get("AUTOTRACK_PROOF_FOLDER", "/var/tmp")) / f"autotrack-proof-{os.getpid()}"
    disk_folder = place / "disk"
    disk_folder.mkdir(parents=True)
    home = place / "home"
    home.mkdir()
    try:
        disk = Disk(disk_folder)
        one = victim(
            TIMED
            + """
run = autotrack.init(project="p", name="run")
for step in range(300):
    timed(run, "a", step)
    time.sleep(0.003)
run.log_table("table", {"x": [1, 2]})
""",
            *disk.wrap(
                "tmpfs",
                "size=8m",
                f"cd {place} && {also.replace('$HOME', str(home))}",
            ),
            **disk.environment(),
            HOME=str(home),
            XDG_STATE_HOME="",
            XDG_CACHE_HOME="",
        )
        code, _, errors = one.end(60)
        assert code == 0, errors
        assert "Traceback" not in errors
        disk.take(one)
        assert one.faults() == []
        assert statuses(one.store)["run"] in ("finished", "running")
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("what", ["errno=ENOSPC", "short=2", "errno=EIO count=1", "short=3 count=1"])
def test_no_write_of_all_that_fails_from_there_on_hides_another_line(
    victim: Victims, library: Library, store: Path, tmp_path: Path, what: str
) -> None:
    """Every write of a journal in turn is the first that fails; what is refused lies in the fallback folder in the end."""
    fallback = tmp_path / "state" / "autotrack" / "store"
    wrong, failed = [], 0
    for place in range(1, 61):
        one = victim(
            """
run = autotrack.init(project="p")
child = run.child("child")
for step in range(20):
    log(run, "a", step)
    config(child, f"c{step}", step)
""",
            into=f"at{place}",
            **failing(library, tmp_path, f"call=write path=/at{place}/runs from={place} {what}"),
        )
        assert one.end()[0] == 0
        failed += bool(merge(fallback, one.store))
        found = without_torn(one.faults()) + unexplained(one.store)
        wrong += [f"at {place}: {text}" for text in found]
        shutil.rmtree(fallback, ignore_errors=True)
        shutil.rmtree(one.store)
    assert wrong == []
    assert failed > 30 or what != "errno=ENOSPC"
