"""A bit of the index that the disk has flipped: every answer is as before, because the index is built again."""

import random
import sqlite3
import struct
from contextlib import closing
from typing import Any

import pytest
from oracle import seed

from autotrack.index import open_index
from autotrack.index.database import Database
from autotrack.index.schema import Broken, metadata

pytestmark = pytest.mark.filterwarnings("ignore::autotrack.errors.AutotrackWarning")


@pytest.fixture
def filled(bench: Any) -> Any:
    """Runs with children, events, few points and many, with NaN and infinities, and with two attempts."""
    for number in range(6):
        hand = bench.journal(f"run{number}").start(tags=["t", f"n{number}"], notes="some notes")
        hand.event("config", {"values": {"lr": 0.1 * number, "net": {"depth": number, "kind": "conv"}}})
        hand.event("warning", {"slug": "w", "message": "m" * number * 200})
        hand.start(child=f"kid{number}").metrics(1, child=f"kid{number}", score=number)
        for step in range(1, (3, 40, 200)[number % 3]):
            hand.metrics(step, loss=1 / step, acc=(step, float("nan"), float("inf"))[step % 3], zero=-0.0)
            if step % 10 == 0:
                hand.metrics(step, val__loss=step / 7, system__cpu=step)
        hand.finish(error={"type": "E", "message": "m", "traceback": "t"} if number == 4 else None)
    bench.journal("twice").start().metrics(1, loss=1.0).metrics(2, loss=2.0).finish()
    again = bench.journal("twice", wall=1_800_000_000_000_000_000).start(resumed=True)
    again.metrics(2, loss=3.0).metrics(3, loss=4.0).finish()
    bench.index.sync(seal_seconds=0)
    bench.index.close()
    return bench


def answers(bench: Any) -> Any:
    with open_index(bench.root) as index:
        index.sync(seal_seconds=0)
        ids = [run.id for run in index.runs(order_by="name", children=True)]
        looks = {
            key: (series.steps.tolist(), repr(series.values.tolist()))
            for key, series in index.get("run2").history(max_points=20).items()
        }
        return ids, looks, bench.everything(index)


@pytest.fixture
def repairs(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """For what the index was built again."""
    found: list[Exception] = []
    repair = Database._repair

    def counted(self: Database, error: Exception) -> None:
        found.append(error)
        repair(self, error)

    monkeypatch.setattr(Database, "_repair", counted)
    return found


def changed(value: Any) -> Any:
    """A value of which one bit is another."""
    if isinstance(value, float):
        return struct.unpack(
            "<d", (int.from_bytes(struct.pack("<d", value), "little") ^ 1 << 40).to_bytes(8, "little")
        )[0]
    if isinstance(value, bytes):
        return value[:-1] + bytes([value[-1] ^ 1])
    if isinstance(value, str):
        return value[:-1] + chr(ord(value[-1]) ^ 1)
    return value ^ 1


def damage(bench: Any, table: str, column: str, which: str = "") -> None:
    """Change one value of a column, the first in this order, in all rows that have it."""
    with closing(sqlite3.connect(bench.layout.index)) as connection:
        there = f'"{column}" IS NOT NULL AND length("{column}") > 0'
        found = connection.execute(f'SELECT "{column}" FROM "{table}" WHERE {there} {which}').fetchone()
        if found is not None:
            new = f'UPDATE OR IGNORE "{table}" SET "{column}" = ? WHERE "{column}" IS ?'
            connection.execute(new, (changed(found[0]), found[0]))
            connection.commit()


SHOWN = sorted(metadata.tables.keys() - {"tags", "config_values"})
"""What is shown; the other tables are what filters look at."""
NAMED = {
    "runs": "config",
    "metrics": "last",
    "lasts": "data",
    "keys": "key",
    "events": "body",
    "axes": "steps",
    "chunks": "values",
}
NAMED |= {"folders": "size", "journals": "host", "segments": "offset"}


@pytest.mark.parametrize("table", SHOWN)
def test_a_value_that_has_changed_in_the_index_changes_no_answer(
    filled: Any, table: str, repairs: list[Exception]
) -> None:
    expected = answers(filled)
    damage(filled, table, NAMED[table])
    assert answers(filled) == expected
    assert [type(error) for error in repairs] == [Broken]


def test_a_chunk_that_is_gone_is_noticed_at_a_glance(bench: Any, repairs: list[Exception]) -> None:
    hand = bench.journal("long").start()
    for step in range(40_000):
        hand.metrics(step, loss=1 / (step + 1))
    hand.finish()

    def looked() -> list[float]:
        with open_index(bench.root) as index:
            index.sync(seal_seconds=0)
            return list(index.get("long").history(max_points=8)["loss"].values.tolist())

    expected = looked()
    bench.index.close()
    with closing(sqlite3.connect(bench.layout.index)) as connection:
        connection.execute("DELETE FROM chunks WHERE part = 2")
        connection.commit()
        assert connection.execute("SELECT count(*) FROM chunks").fetchone()[0] > 4
    assert looked() == expected
    assert [type(error) for error in repairs] == [Broken]


@pytest.mark.proof
@pytest.mark.parametrize("table", SHOWN)
def test_no_column_of_the_index_can_change_an_answer(filled: Any, table: str) -> None:
    expected, whole = answers(filled), filled.layout.index.read_bytes()
    for column in metadata.tables[table].columns:
        filled.layout.index.write_bytes(whole)
        damage(filled, table, column.name, which="ORDER BY random()")
        assert answers(filled) == expected, column.name


@pytest.mark.proof
def test_thousands_of_flipped_bits_in_the_index_change_no_answer(
    filled: Any, repairs: list[Exception]
) -> None:
    expected, rng = answers(filled), random.Random(seed())
    whole = filled.layout.index.read_bytes()
    wrong = []
    for number in range(3000):
        data = bytearray(whole)
        place = rng.randrange(len(data))
        data[place] ^= 1 << rng.randrange(8)
        filled.layout.index.write_bytes(data)
        if answers(filled) != expected:
            wrong.append((number, place))
    assert wrong == []
    assert len(repairs) > 300
