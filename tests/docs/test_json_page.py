"""docs/json.md names every field that the program prints, and every counter that the sampler reads."""

import json
import re
from pathlib import Path

import autotrack
from autotrack.cli.output import json_text
from autotrack.cli.records import complete

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")


def test_every_field_of_a_run_is_on_the_page(store: Path) -> None:
    with autotrack.init(project="p") as run:
        run.log({"a": float("nan"), "b": float("-inf")})
    printed = json.loads(json_text(complete(autotrack.get_run(run.id))))
    assert [name for name in printed if f"`{name}`" not in PAGE] == []
    assert [name for name in printed["metrics"]["a"] if f"`{name}`" not in PAGE] == []
    assert (printed["summary"]["a"], printed["summary"]["b"]) == ("nan", "-inf")
    assert '`"nan"`' in PAGE
    assert '`"-inf"`' in PAGE


def test_every_system_counter_is_on_the_page() -> None:
    source = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "autotrack" / "sampler").glob("*.py")
    )
    names = set(re.findall(r'"(system/[a-z_.]+[a-z])"', source))
    names |= {f"system/gpu.<n>.{name}" for name in re.findall(r'start \+ "(\w+)"', source)}
    assert len(names) > 12
    assert sorted(name for name in names if f"`{name}`" not in PAGE) == []
