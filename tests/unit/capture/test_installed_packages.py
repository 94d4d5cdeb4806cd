"""The package list equals that of importlib.metadata, cold, cached, and after what damages a cache."""

import importlib.metadata
import os
import stat
import sys

from autotrack.capture.packages import Packages, installed, normal_name
from autotrack.layout import Layout


def distribution(site, name, version, direct_url=None):
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: body\n"
    )
    if direct_url:
        (folder / "direct_url.json").write_text(direct_url)
    os.utime(site, (1, 1))
    return folder


def names(found):
    return {package["name"]: package["version"] for package in found}


def test_names_and_versions_equal_those_of_importlib_metadata(tmp_path):
    expected = {}
    for one in importlib.metadata.distributions():
        expected.setdefault(normal_name(one.metadata["Name"]), (one.metadata["Name"], one.version))
    for _ in range(2):
        found, _, _ = installed(sys.path, tmp_path)
        assert {normal_name(p["name"]): (p["name"], p["version"]) for p in found} == expected


def test_the_second_look_comes_from_a_private_cache(tmp_path):
    distribution(tmp_path / "site", "one-two", "1.0")
    cache = tmp_path / "cache"
    first = installed([str(tmp_path / "site")], cache)
    second = installed([str(tmp_path / "site")], cache)
    assert (first[2], second[2]) == (False, True)
    assert first[:2] == second[:2]
    (file,) = cache.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_an_installation_is_seen_and_a_folder_just_changed_is_not_cached(tmp_path):
    site, cache = tmp_path / "site", tmp_path / "cache"
    distribution(site, "one", "1.0")
    _, before, _ = installed([str(site)], cache)
    distribution(site, "two", "2.0")
    found, after, cached = installed([str(site)], cache)
    assert (names(found), cached, before != after) == ({"one": "1.0", "two": "2.0"}, False, True)
    os.utime(site)
    installed([str(site)], cache)
    assert installed([str(site)], cache)[2] is False


def test_a_damaged_cache_is_not_believed(tmp_path):
    site, cache = tmp_path / "site", tmp_path / "cache"
    distribution(site, "one", "1.0")
    installed([str(site)], cache)
    (file,) = cache.iterdir()
    good = file.read_bytes()
    for bad in (b"", b"{", good[: len(good) // 2], b"[]", b"null", good.replace(b'"1.0"', b'"6.6"')):
        file.write_bytes(bad)
        found, _, cached = installed([str(site)], cache)
        assert (names(found), cached) == ({"one": "1.0"}, False)


def test_the_first_folder_on_the_path_wins(tmp_path):
    distribution(tmp_path / "a", "One.Two", "2.0")
    distribution(tmp_path / "b", "one-two", "1.0")
    found, _, _ = installed(
        [str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "gone")], tmp_path / "c"
    )
    assert names(found) == {"One.Two": "2.0"}


def test_editable_and_direct_installations_say_where_from_without_credentials(tmp_path):
    site = tmp_path / "site"
    distribution(site, "mine", "1.0", '{"url": "file:///home/me/mine", "dir_info": {"editable": true}}')
    distribution(
        site,
        "theirs",
        "2.0",
        '{"url": "https://tok:x@h/r.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}',
    )
    distribution(site, "odd", "3.0", "{not json")
    found, _, _ = installed([str(site)], tmp_path / "cache")
    assert found == [
        {"name": "mine", "version": "1.0", "location": "file:///home/me/mine", "editable": True},
        {"name": "odd", "version": "3.0"},
        {"name": "theirs", "version": "2.0", "location": "https://[redacted]@h/r.git", "commit": "abc"},
    ]


def test_metadata_that_cannot_be_read_falls_back_to_the_folders_name(tmp_path):
    (distribution(tmp_path / "site", "one", "1.0") / "METADATA").unlink()
    found, _, _ = installed([str(tmp_path / "site")], tmp_path / "cache")
    assert names(found) == {"one": "1.0"}


def test_the_list_is_stored_once_as_an_object(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    layout = Layout(tmp_path / "store")
    layout.create()
    first, second = Packages(layout).collect(), Packages(layout).collect()
    assert first["digest"] == second["digest"]
    assert first["count"] > 20
    stored = layout.objects / first["digest"][:2] / first["digest"][2:]
    assert stored.stat().st_size == first["size"]
    assert Packages(layout).holds(first)
    stored.unlink()
    assert not Packages(layout).holds(first)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    distribution(tmp_path / "site", "one", "1.0")
    (tmp_path / "cache").write_text("a file")
    found, _, cached = installed([str(tmp_path / "site")], tmp_path / "cache")
    assert (names(found), cached) == ({"one": "1.0"}, False)
