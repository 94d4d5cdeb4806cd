"""Counters of the machine, against psutil and real load, each in a process of its own."""

import json
from typing import Any

import pytest

from autotrack.sampler.host import Rates


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


def test_a_sample_costs_less_than_a_millisecond_of_processor_time(script: Any) -> None:
    source = """
import time
from autotrack.sampler.host import Host
from autotrack.sampler.gpu import Gpus
host, gpus = Host(time.monotonic(), time.process_time()), Gpus()
costs = []
for _ in range(200):
    started = time.thread_time()
    host.read(), gpus.read()
    costs.append(time.thread_time() - started)
print(sorted(costs)[100])
"""
    assert float(script(source)) < 1e-3
