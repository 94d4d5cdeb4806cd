"""Counters of the machine, against psutil and real load, each in a process of its own."""

import json
from typing import Any

import pytest

from autotrack.sampler.host import Host, Rates
from autotrack.sampler.linux import LinuxCounters


def test_a_rate_is_per_second_and_left_out_where_there_is_none() -> None:
    rates = Rates()
    assert rates.of("sent", 10.0, 1000) == {}
    assert rates.of("sent", 12.0, 5000) == {"sent": 2000.0}
    assert rates.of("sent", 13.0, 40) == {}, "the counter began anew"
    assert rates.of("sent", 14.0, 50) == {"sent": 10.0}
    assert rates.of("sent", 14.0, 60) == {}, "no time has passed"


def test_memory_load_and_size_agree_with_psutil(script: Any) -> None:
    source = """
import json, os, time, psutil
from autotrack.sampler.host import Host
values = Host(time.monotonic(), time.process_time()).read()
process = psutil.Process()
print(json.dumps([values, psutil.virtual_memory().used, process.memory_info().rss, os.getloadavg()[0]]))
"""
    values, used, rss, load = json.loads(script(source))
    assert values["system/memory"] == pytest.approx(used, rel=0.2)
    assert 0 < values["system/memory_percent"] <= 100
    assert values["system/process.rss"] == pytest.approx(rss, rel=0.05)
    assert values["system/load"] == pytest.approx(load, abs=1)


def test_the_first_reading_has_no_rates_but_the_process(script: Any) -> None:
    source = """
import json, time
from autotrack.sampler.host import Host
host = Host(time.monotonic(), time.process_time())
time.sleep(0.3)
print(json.dumps(sorted(host.read())))
"""
    names = set(json.loads(script(source)))
    assert not names & {
        "system/cpu",
        "system/disk.read",
        "system/disk.write",
        "system/net.sent",
        "system/net.recv",
    }
    assert "system/process.cpu" in names


def test_a_busy_process_is_seen_as_busy_and_a_sleeping_one_is_not(script: Any) -> None:
    source = """
import json, time
from autotrack.sampler.host import Host
host = Host(time.monotonic(), time.process_time())
host.read()
spent, started = time.process_time(), time.monotonic()
while time.monotonic() < started + 1:
    sum(range(1000))
busy, truth = host.read(), 100 * (time.process_time() - spent) / (time.monotonic() - started)
time.sleep(1)
print(json.dumps([busy, truth, host.read()]))
"""
    busy, truth, idle = json.loads(script(source))
    assert busy["system/process.cpu"] == pytest.approx(truth, abs=10)
    assert busy["system/cpu"] > 0
    assert idle["system/process.cpu"] < 10
    assert 0 <= idle["system/cpu"] <= 100


def test_what_is_written_to_the_disk_and_sent_is_measured_as_psutil_does(script: Any) -> None:
    source = """
import json, os, time, psutil
from autotrack.sampler.host import Host
host = Host(time.monotonic(), time.process_time())
before, started = psutil.disk_io_counters(nowrap=False), time.monotonic()
host.read()
with open("big", "wb") as file:
    file.write(os.urandom(8 << 20))
    os.fsync(file.fileno())
values, after = host.read(), psutil.disk_io_counters(nowrap=False)
seconds = time.monotonic() - started
expected = None if after is None else (after.write_bytes - before.write_bytes) / seconds
print(json.dumps([values, expected]))
"""
    values, expected = json.loads(script(source))
    if expected is None:
        assert "system/disk.write" not in values
    else:
        assert values["system/disk.write"] == pytest.approx(expected, rel=0.2, abs=1e6)


def test_the_loopback_is_not_the_network(script: Any) -> None:
    source = """
import json, socket, time
from autotrack.sampler.host import Host
host = Host(time.monotonic(), time.process_time())
host.read()
one, other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("127.0.0.1", 0))
started = time.monotonic()
for _ in range(500):
    other.sendto(bytes(50_000), one.getsockname())
print(json.dumps([host.read(), 500 * 50_000 / (time.monotonic() - started)]))
"""
    values, sent = json.loads(script(source))
    assert values.get("system/net.sent", 0.0) < sent / 2


def test_the_users_own_cpu_percent_is_not_disturbed(script: Any) -> None:
    source = """
import json, time, psutil
from autotrack.sampler.host import Host
psutil.cpu_percent(None)
host = Host(time.monotonic(), time.process_time())
until = time.monotonic() + 0.5
while time.monotonic() < until:
    host.read()
print(psutil.cpu_percent(None))
"""
    assert float(script(source)) > 1


def test_linux_and_psutil_count_the_same(script: Any) -> None:
    source = """
import json
from autotrack.sampler.anywhere import AnyCounters
from autotrack.sampler.linux import LinuxCounters
names = ("memory", "resident", "disks", "network")
print(json.dumps([[getattr(each(), name)() for name in names] for each in (LinuxCounters, AnyCounters)]))
"""
    ours, theirs = json.loads(script(source))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=0.05, abs=1e6)


def test_how_long_processors_ran_is_what_psutil_says(script: Any) -> None:
    source = """
import json, os
from autotrack.sampler.anywhere import AnyCounters
from autotrack.sampler.linux import LinuxCounters
print(json.dumps([LinuxCounters().processors(), AnyCounters().processors(), os.sysconf("SC_CLK_TCK")]))
"""
    ticks, seconds, hertz = json.loads(script(source))
    assert [each / hertz for each in ticks] == pytest.approx(seconds, rel=0.01, abs=1)


def test_a_host_reads_through_psutil_where_linux_is_not(script: Any) -> None:
    source = """
import json, time
from autotrack.sampler.anywhere import AnyCounters
from autotrack.sampler.host import Host
hosts = Host(time.monotonic(), time.process_time(), AnyCounters()), Host(time.monotonic(), time.process_time())
for host in hosts:
    host.read()
time.sleep(0.3)
print(json.dumps([sorted(host.read()) for host in hosts]))
"""
    there, here = json.loads(script(source))
    assert there == here


def test_what_cannot_be_read_is_left_out() -> None:
    class Nothing:
        def refuse(self) -> Any:
            raise PermissionError(13, "hidden")

        processors = memory = resident = disks = network = refuse

    assert set(Host(0.0, 0.0, Nothing()).read()) <= {"system/load", "system/process.cpu"}


def test_a_sample_on_linux_never_gives_the_interpreter_away(script: Any) -> None:
    source = """
import json, sys, threading, time
from autotrack.sampler.host import Host
sys.setswitchinterval(1000)
host = Host(time.monotonic(), time.process_time())
host.read()
turns, start = [0], threading.Event()
def other():
    start.set()
    while True:
        turns[0] += 1
        time.sleep(0)
threading.Thread(target=other, daemon=True).start()
start.wait()
before = turns[0]
host.read()
print(json.dumps([turns[0] - before, "psutil" in sys.modules]))
"""
    turns, heavy = json.loads(script(source))
    assert turns == 0
    assert not heavy


def test_a_file_longer_than_a_page_is_read_whole() -> None:
    with open("/proc/self/smaps", "rb") as file:
        whole = file.read()
    read = LinuxCounters()._read("/proc/self/smaps")
    assert read.count(b"VmFlags") == pytest.approx(whole.count(b"VmFlags"), abs=3)
    assert len(read) > 2 * 4096


def test_a_file_that_cannot_be_opened_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="/proc/no-such-file"):
        LinuxCounters()._read("/proc/no-such-file")
