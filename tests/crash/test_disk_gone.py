"""Folders that are read-only, deleted, moved or replaced while a run writes to them, and descriptors that run out or are closed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from disk import TIMED, cli, events, failing, merge, number, slugs, unexplained
from oracle import Victim, statuses

Victims = Callable[..., Victim]
Library = Callable[[str], str]

READ_ONLY = "call=write,open,mkdir,unlink,rename path=/.autotrack errno=EROFS"

WORK = (
    TIMED
    + """
from autotrack import background
import shutil
session.TICK_SECONDS = 0.05
store = os.environ["AUTOTRACK_DIR"]
run = autotrack.init(project="p", name="run", config={"lr": 0.1})
background.drain(60)
def work(steps):
    for step in steps:
        timed(run, "a", step)
        time.sleep(0.0005)
def remove(folder):
    while True:
        try:
            return shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError:  # the run was made again while it was being deleted
            continue
def settled():
    time.sleep(0.2)
    wait_for(lambda: not run.waiting())
work(range(100))
"""
)


@pytest.fixture
def fallback(tmp_path: Path) -> Path:
    """The store that takes what the victim's store refuses."""
    return tmp_path / "state" / "autotrack" / "store"


def ended_well(one: Victim, warnings: int = 1) -> str:
    code, _, errors = one.end()
    assert code == 0, errors
    assert errors.count("AutotrackWarning: ") == warnings, errors
    return errors


def test_a_store_that_is_read_only_at_the_start_sends_the_run_to_the_fallback(
    victim: Victims, library: Library, store: Path, fallback: Path, tmp_path: Path
) -> None:
    one = victim(
        TIMED
        + """
run = autotrack.init(project="p", name="run")
for step in range(100):
    timed(run, "a", step)
artifact(run, "file", 100)
""",
        **failing(library, tmp_path, READ_ONLY),
    )
    assert f"recorded in {fallback} instead" in ended_well(one)
    assert not store.exists()
    one.store = fallback
    assert one.faults() == []
    assert statuses(fallback) == {"run": "finished"}


def test_a_store_that_becomes_read_only_loses_nothing(
    victim: Victims, library: Library, store: Path, fallback: Path, tmp_path: Path
) -> None:
    one = victim(
        WORK
        + """
writer.LEAVE_SECONDS = 0.1
trouble(on=True)
work(range(100, 500))
wait_for(lambda: str(run._journal.folder).startswith(os.environ["XDG_STATE_HOME"]))
work(range(500, 600))
tell_times()
""",
        **failing(library, tmp_path, READ_ONLY + " while=SWITCH"),
    )
    errors = ended_well(one, warnings=2)
    assert f"they go to {fallback}" in errors
    assert number(one, "longest") < 0.05
    assert f"1 more run in {fallback}" in cli("--store", str(store), "ls")[1]
    merge(fallback, store)
    assert one.faults() == []
    assert unexplained(store) == []


@pytest.mark.parametrize("what", ["run.dir", "run.dir.parent.parent", "store"])
def test_a_folder_that_is_deleted_is_made_again_with_all_that_was_in_the_journal(
    victim: Victims, store: Path, what: str
) -> None:
    one = victim(
        WORK
        + f"""
remove({what})
work(range(100, 300))
settled()
work(range(300, 400))
tell_times()
"""
    )
    assert "was deleted; the run goes on in" in ended_well(one)
    assert one.faults() == []
    assert number(one, "longest") < 0.05
    assert statuses(store) == {"run": "finished"}
    assert (store / ".gitignore").read_text().endswith("*\n")
    assert slugs(store) == ["vanished", "waited"]


def test_a_file_that_is_deleted_again_and_again_loses_nothing(victim: Victims, store: Path) -> None:
    one = victim(
        WORK
        + """
def work_on(key):
    step = 0
    while not done:
        timed(run, key, step)
        step += 1
        time.sleep(0.0005)
done = False
threads = [threading.Thread(target=work_on, args=(f"t{place}",)) for place in range(3)]
[thread.start() for thread in threads]
for _ in range(10):
    for path in run.dir.glob("*.jsonl"):
        path.unlink()
    settled()
done = True
[thread.join() for thread in threads]
"""
    )
    code, _, errors = one.end()
    assert code == 0, errors
    assert one.faults() == []
    assert statuses(store) == {"run": "finished"}


@pytest.mark.parametrize("what", ["run.dir", "store"])
def test_a_folder_that_is_moved_is_followed(victim: Victims, store: Path, tmp_path: Path, what: str) -> None:
    one = victim(
        WORK
        + f"""
moved = os.path.join(os.environ["WORK"], "moved")
os.rename({what}, moved)
work(range(100, 300))
settled()
writer.SEGMENT_BYTES = 20_000  # the next segments lie there, too
work(range(300, 600))
settled()
work(range(600, 700))
tell("moved", moved)
"""
    )
    assert "was moved to" in ended_well(one)
    moved = Path(one.said("moved")[0][0])
    if what == "run.dir":
        one.store = tmp_path / "there"
        (one.store / "runs" / "p").mkdir(parents=True)
        run = one.said("m")[0][0]
        moved.rename(one.store / "runs" / "p" / run)
    else:
        one.store = moved
    assert one.faults() == []
    assert statuses(one.store) == {"run": "finished"}


def test_a_store_that_cannot_be_made_again_sends_the_run_to_the_fallback(
    victim: Victims, store: Path, fallback: Path
) -> None:
    one = victim(
        WORK
        + """
writer.LEAVE_SECONDS = 0.1
remove(store)
open(store, "w").close()
work(range(100, 300))
wait_for(lambda: str(run._journal.folder).startswith(os.environ["XDG_STATE_HOME"]))
work(range(300, 400))
os.unlink(store)
"""
    )
    code, _, errors = one.end()
    assert code == 0, errors
    told = [words for words in one.told if words[0] != "m" or int(words[3]) >= 100]
    one._bytes = bytearray("".join(" ".join(words) + "\n" for words in told).encode())
    assert [text for text in one.faults() if "never told" not in text] == []
    assert list(fallback.glob("runs/*/*")) == []


def test_a_working_folder_that_is_deleted_disturbs_nothing(
    victim: Victims, store: Path, tmp_path: Path
) -> None:
    one = victim(
        WORK
        + """
gone = os.path.join(os.environ["WORK"], "gone")
os.mkdir(gone)
os.chdir(gone)
os.rmdir(gone)
work(range(100, 200))
artifact(run, "file", 100)
run.log_artifact("not/there")
other = autotrack.init(project="p", name="other")
log(other, "b", 0)
other.finish()
settled()
"""
    )
    assert "not/there" in ended_well(one)
    assert one.faults() == []
    assert statuses(store) == {"run": "finished", "other": "finished"}


def test_with_no_working_folder_at_the_start_a_run_is_recorded(
    victim: Victims, store: Path, tmp_path: Path
) -> None:
    one = victim(
        TIMED
        + """
gone = os.path.join(os.environ["WORK"], "gone")
os.mkdir(gone)
os.chdir(gone)
os.rmdir(gone)
run = autotrack.init(project="p", name="run")
log(run, "a", 0)
"""
    )
    assert one.end() == (0, "", "")
    assert one.faults() == []


def test_open_runs_go_on_without_descriptors_and_new_ones_wait_for_them(victim: Victims, store: Path) -> None:
    one = victim(
        WORK
        + """
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (24, hard))
taken = []
while True:
    try:
        taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        break
work(range(100, 300))
late = autotrack.init(project="p", name="late")
for step in range(100):
    timed(late, "b", step)
assert late.waiting()
for fd in taken[::2]:
    os.close(fd)
wait_for(lambda: not late.waiting())
for step in range(100, 200):
    timed(late, "b", step)
work(range(300, 400))
late.finish()
tell_times()
"""
    )
    code, _, errors = one.end()
    assert code == 0, errors
    assert "Too many open files" in errors
    assert one.faults() == []
    assert number(one, "longest") < 0.05
    assert statuses(store) == {"run": "finished", "late": "finished"}
    assert list(store.parent.parent.glob("state/autotrack/store/runs/*/*")) == []


def test_a_program_that_closes_all_descriptors_gets_no_line_of_ours_into_its_files(
    victim: Victims, store: Path, tmp_path: Path
) -> None:
    one = victim(
        WORK
        + """
keep = os.dup(TOLD)
os.dup2(keep, 3)
TOLD = 3
os.closerange(4, 1024)
files = [os.open(os.path.join(os.environ["WORK"], f"mine{place}"), os.O_CREAT | os.O_RDWR) for place in range(30)]
work(range(100, 200))
settled()
work(range(200, 300))
assert [os.fstat(fd).st_size for fd in files] == [0] * 30
"""
    )
    code, _, errors = one.end()
    assert code == 0, errors
    assert one.faults() == []
    assert events(store, "gap") == []
    assert statuses(store) == {"run": "finished"}


def test_a_number_that_the_program_gave_to_a_file_of_its_own_is_no_longer_ours(
    victim: Victims, store: Path
) -> None:
    one = victim(
        WORK
        + """
settled()
mine = os.open(os.path.join(os.environ["WORK"], "mine"), os.O_CREAT | os.O_RDWR)
number = run._journal.fast
os.dup2(mine, number)
settled()
work(range(100, 200))
assert os.fstat(mine).st_size == 0
assert os.fstat(number).st_ino == os.fstat(mine).st_ino
"""
    )
    code, _, errors = one.end()
    assert code == 0, errors
    assert one.faults() == []


@pytest.mark.parametrize("home", ["", "/proc/self", "file"])
def test_without_a_home_that_can_be_written_to_a_run_is_recorded(
    victim: Victims, library: Library, store: Path, tmp_path: Path, home: str
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (tmp_path / "file").write_text("")
    one = victim(
        TIMED
        + """
for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "HOME"):
    if not os.environ.get(name):
        os.environ.pop(name, None)
run = autotrack.init(project="p", name="run", dir=os.environ["PLACE"])
for step in range(100):
    timed(run, "a", step)
""",
        **failing(library, tmp_path, READ_ONLY),
        HOME=str(tmp_path / "file") if home == "file" else home,
        XDG_STATE_HOME="",
        XDG_CACHE_HOME="",
        TMPDIR=str(temporary),
        PLACE=str(tmp_path / "refused" / ".autotrack"),
        # Without HOME the folder of the user's account is taken, which is not ours to write to.
        AUTOTRACK_FALLBACK="" if home else str(temporary / "autotrack-fallback" / "store"),
    )
    ended_well(one)
    (one.store,) = temporary.glob("autotrack-*/store")
    assert one.faults() == []
