"""The machine's facts equal psutil's; limits of control groups are found in both versions."""

import os

import psutil

from autotrack.capture.cgroup import limits
from autotrack.capture.hardware import Hardware


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_facts_equal_those_of_psutil(tmp_path):
    facts = Hardware(tmp_path).collect()
    assert facts["memory_total"] == psutil.virtual_memory().total
    assert facts["cpu"]["logical"] == psutil.cpu_count()
    assert facts["cpu"].get("physical") == psutil.cpu_count(logical=False)
    assert facts["cpu"]["usable"] == len(os.sched_getaffinity(0))
    assert facts["disk_total"] == psutil.disk_usage(str(tmp_path)).total


def test_a_store_that_is_gone_costs_only_the_disk_space(tmp_path):
    facts = Hardware(tmp_path / "gone").collect()
    assert "disk_free" not in facts
    assert "memory_total" in facts


def test_version_2_takes_the_tightest_limit_on_the_way_up(tmp_path):
    groups = tmp_path / "groups"
    groups.write_text("0::/job/step\n")
    root = tmp_path / "cg"
    write(root / "job" / "cpu.max", "150000 100000\n")
    write(root / "job" / "step" / "cpu.max", "max 100000\n")
    write(root / "job" / "memory.max", "max\n")
    write(root / "job" / "step" / "memory.max", "1073741824\n")
    assert limits(str(root), str(groups)) == {"cpus": 1.5, "memory": 1073741824}


def test_version_1_and_a_container_that_sees_only_the_root(tmp_path):
    groups = tmp_path / "groups"
    groups.write_text("4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n")
    root = tmp_path / "cg"
    write(root / "cpu,cpuacct" / "cpu.cfs_quota_us", "50000\n")
    write(root / "cpu,cpuacct" / "cpu.cfs_period_us", "100000\n")
    write(root / "memory" / "memory.limit_in_bytes", "2147483648\n")
    assert limits(str(root), str(groups)) == {"cpus": 0.5, "memory": 2147483648}


def test_no_limit_is_left_out(tmp_path):
    groups = tmp_path / "groups"
    groups.write_text("4:memory:/a\n2:cpu:/a\n")
    root = tmp_path / "cg"
    write(root / "memory" / "a" / "memory.limit_in_bytes", "9223372036854771712\n")
    write(root / "cpu" / "a" / "cpu.cfs_quota_us", "-1\n")
    write(root / "cpu" / "a" / "cpu.cfs_period_us", "100000\n")
    assert limits(str(root), str(groups)) == {}
    assert limits(str(tmp_path / "none"), str(tmp_path / "nothing")) == {}
