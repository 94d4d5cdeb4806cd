"""A model is what its decisions make of it: versions, aliases, and what was withdrawn."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from autotrack.errors import AutotrackError, CheckpointNotFound, RegistryError
from autotrack.registry.models import (
    Version,
    add_version,
    drop_alias,
    move_alias,
    read_model,
    withdraw,
)

Add = Callable[..., Version]


def test_the_same_bytes_registered_twice_are_one_version(registry: Path, add: Add) -> None:
    assert [str(add(number)) for number in (1, 2, 1, 2, 3)] == [
        "model@v1", "model@v2", "model@v1", "model@v2", "model@v3",
    ]  # fmt: skip
    assert len(read_model(registry, "model").decisions) == 3
    assert str(add(1, "another")) == "another@v1"


def test_a_version_is_named_by_its_number_by_an_alias_or_as_the_newest(registry: Path, add: Add) -> None:
    add(1), add(2)
    move_alias(registry, "model", "production", "v1", {})
    model = read_model(registry, "model")
    found = [model.version(word).number for word in (None, "latest", "v1", "2", 2, "production")]
    assert found == [2, 2, 1, 2, 2, 1]
    for word in ("v3", "v0", "candidate", "v99999999999", "-1", "", "v1\n"):
        with pytest.raises(CheckpointNotFound, match=r"production, v1, v2"):
            model.version(word)


def test_what_was_withdrawn_is_not_the_newest_and_takes_no_alias(registry: Path, add: Add) -> None:
    add(1), add(2)
    move_alias(registry, "model", "production", 2, {})
    with pytest.raises(RegistryError, match="has the alias 'production'"):
        withdraw(registry, "model", 2, "leaks the labels")
    move_alias(registry, "model", "production", 1, {})
    withdraw(registry, "model", 2, "leaks the labels")
    with pytest.raises(RegistryError, match="withdrawn already"):
        withdraw(registry, "model", 2, "again")
    with pytest.raises(RegistryError, match="leaks the labels"):
        move_alias(registry, "model", "candidate", "v2", {})
    model = read_model(registry, "model")
    assert model.version().number == 1
    assert [one.withdrawn for one in model.versions] == [None, "leaks the labels"]
    assert add(2).number == 3


def test_an_alias_that_was_removed_stands_for_nothing(registry: Path, add: Add) -> None:
    add(1)
    with pytest.raises(RegistryError, match="no alias 'production'"):
        drop_alias(registry, "model", "production", None)
    move_alias(registry, "model", "production", 1, {})
    assert drop_alias(registry, "model", "production", "not served any more").body["from"] == 1
    assert read_model(registry, "model").aliases == {}
    with pytest.raises(RegistryError, match=r"no model 'nodel'.*model"):
        drop_alias(registry, "nodel", "production", None)


def test_each_decision_tells_when_and_by_whom(registry: Path, add: Add) -> None:
    import getpass
    import socket

    version = add(1)
    assert version.by == f"{getpass.getuser()}@{socket.gethostname()}"
    assert version.kept == ("@files", "s1")
    body = read_model(registry, "model").decisions[0].body
    assert {"format", "model", "n", "before", "when", "who", "host", "action"} <= body.keys()


def test_a_last_decision_with_any_byte_flipped_is_read_or_refused_with_an_error_of_ours(
    registry: Path, facts: Callable[..., dict[str, Any]]
) -> None:
    add_version(registry, "model", {"note": "n", **facts(1)})
    move_alias(registry, "model", "production", 1, {})
    for number in (1, 2):
        path = registry / "model" / f"{number}.json"
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with suppress(AutotrackError):
                read_model(registry, "model").version()
        path.write_bytes(whole)


@pytest.mark.parametrize(
    "nonsense",
    [
        {"action": "alias", "alias": "a", "to": 9},
        {"action": "alias", "alias": "a"},
        {"action": "promote", "alias": "a", "to": "1"},
        {"action": "withdraw", "version": 0},
        {"action": "unalias", "alias": "never"},
        {"action": "register", "digest": "1"},
        {"action": "celebrate"},
        {},
    ],
)
def test_a_decision_that_makes_no_sense_is_said_to_be_so(
    registry: Path, add: Add, nonsense: dict[str, Any]
) -> None:
    add(1)
    before = read_model(registry, "model").decisions[0].digest
    body = {"format": 1, "model": "model", "n": 2, "before": before, "when": 1} | nonsense
    (registry / "model" / "2.json").write_bytes(orjson.dumps(body))
    with pytest.raises(RegistryError, match=r"decision 2 .* makes no sense"):
        read_model(registry, "model")
