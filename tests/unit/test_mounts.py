"""What is known of file systems by their mounts."""

from pathlib import Path

import pytest

from autotrack.mounts import file_system, holds_what_is_read, kind_of


def test_network_file_systems_are_known_by_their_mounts() -> None:
    mounts = "/dev/vda / ext4 rw 0 0\nserver:/x /data nfs4 rw 0 0\nme@host:/ /data/my\\040files fuse.sshfs rw 0 0\n"
    assert file_system("/home/me", mounts) == "ext4"
    assert file_system("/data", mounts) == "nfs4"
    assert file_system("/data/runs", mounts) == "nfs4"
    assert file_system("/database", mounts) == "ext4"
    assert file_system("/data/my files/x", mounts) == "fuse.sshfs"
    assert file_system("/x", "") == ""


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"])
def test_nothing_is_read_where_that_can_keep_a_training_from_removing_it(kind: str) -> None:
    assert holds_what_is_read(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "tmpfs", "overlay", "lustre", "gpfs", "ceph", ""])
def test_elsewhere_a_removed_file_is_gone_from_its_folder_while_it_is_read(kind: str) -> None:
    assert not holds_what_is_read(kind)


def test_the_place_of_the_tests_has_a_file_system(tmp_path: Path) -> None:
    assert kind_of(tmp_path)
