"""Forks in the middle of everything: no deadlock, nothing twice, and the parent's record is whole."""

from collections.abc import Callable

import pytest
from oracle import Victim, read_store, statuses

STORM = """
import itertools, random, warnings
warnings.simplefilter("ignore")
sys.setswitchinterval(1e-5)
run = autotrack.init(project="p", name="run")
go = True
def work(key):
    for step in itertools.count():
        if not go:
            return
        log(run, key, step)
        if step % 7 == 0:
            config(run, f"{key}.c{step}", step)
        if step % 50 == 0:
            artifact(run, f"{key}.{step}", 50)
        if step % 40 == 0:
            run._journal._suspend("the test asks for it", quiet=True)
            run.log({"text": "refused"})
        time.sleep(0.001)
def child(place):
    # What children do: nothing, log and leave, log and exit with Python's end, log and raise, finish, fork again.
    kind = place % 6
    if kind == 0:
        os._exit(0)
    log(run, f"child{place}", 0)
    config(run, f"child{place}.c", 0)
    if kind == 1:
        os._exit(0)
    if kind == 2:
        sys.exit(0)
    if kind == 3:
        sys.stderr.close()
        raise ValueError("in the child")
    if kind == 4:
        run.finish()
        os._exit(0)
    grandchild = os.fork()
    if grandchild == 0:
        log(run, f"grandchild{place}", 0)
        os._exit(0)
    os.waitpid(grandchild, 0)
    log(run, f"child{place}", 1)
    os._exit(0)
threads = [threading.Thread(target=work, args=(f"thread{place}",)) for place in range(3)]
[thread.start() for thread in threads]
ends = []
for place in range(COUNT):
    pid = os.fork()
    if pid == 0:
        child(place)
    ends.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    log(run, "main", place)
go = False
[thread.join() for thread in threads]
assert all(code == (place % 6 == 3) for place, code in enumerate(ends)), ends
assert os.listdir("/proc/self/fd").__len__() < 40
"""


def storm(victim: Callable[..., Victim], count: int, seconds: float) -> None:
    one = victim(STORM.replace("COUNT", str(count)))
    code, _, errors = one.end(seconds)
    assert code == 0, errors
    assert one.damage() == []
    kept, _ = read_store(one.store)
    finished = [event for events in kept.values() for event in events if event.kind == "finish"]
    assert len(finished) == 1
    assert statuses(one.store) == {"run": "finished"}


def test_forks_while_threads_hold_our_locks_lose_and_double_nothing(victim: Callable[..., Victim]) -> None:
    storm(victim, 48, 60)


@pytest.mark.proof
def test_five_hundred_forks_lose_and_double_nothing(victim: Callable[..., Victim]) -> None:
    storm(victim, 500, 120)


def test_a_data_loader_with_eight_persistent_workers_runs_to_its_end(victim: Callable[..., Victim]) -> None:
    one = victim(
        """
import torch
from torch.utils.data import DataLoader, Dataset
steps = {}
class Logging(Dataset):
    def __len__(self):
        return 80
    def __getitem__(self, place):
        run, key = autotrack.active_run(), f"worker{torch.utils.data.get_worker_info().id}"
        steps[key] = steps.get(key, -1) + 1
        log(run, key, steps[key])
        return place
if __name__ == "__main__":
    run = autotrack.init(project="p", name="run")
    go = True
    def busy():
        step = 0
        while go:
            log(run, "busy", step)
            step += 1
            time.sleep(0.0005)
    thread = threading.Thread(target=busy)
    thread.start()
    loader = DataLoader(Logging(), batch_size=5, num_workers=8, persistent_workers=True, multiprocessing_context="fork")
    for epoch in range(3):
        assert sorted(int(place) for batch in loader for place in batch) == list(range(80))
        log(run, "epoch", epoch)
    del loader
    go = False
    thread.join()
"""
    )
    code, _, errors = one.end(60)
    assert code == 0, errors
    assert one.damage() == []
    assert len([words for words in one.said("m") if words[1].startswith("worker")]) == 240
    assert statuses(one.store) == {"run": "finished"}
