"""The page about faults names tests that are there, and tells the long ones from the others."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CELL = re.compile(r"proof: |`([\w/]*\.py)?::(test_\w+)`")


def named() -> list[tuple[str, str, bool]]:
    """(file, test, whether the page calls it a proof) for every test that the page names."""
    found = []
    for row in (ROOT / "docs" / "faults.md").read_text(encoding="utf-8").splitlines():
        file, proof = "", False
        for match in CELL.finditer(row) if row.startswith("|") else ():
            if match[0] == "proof: ":
                proof = True
                continue
            file = match[1] or file
            found.append((file if "/" in file else f"tests/crash/{file}", match[2], proof))
    return found


def test_every_test_that_the_page_of_faults_names_is_there() -> None:
    tests = named()
    assert len(tests) > 80
    for file, test, proof in tests:
        text = (ROOT / file).read_text(encoding="utf-8")
        found = re.search(rf"((?:^@.*\n|^    .*\n|^\)\n)*)^def {test}\(", text, re.MULTILINE)
        assert found, f"{file} has no {test}"
        marked = found[1].count("@pytest.mark.proof") > 0 or "pytestmark = pytest.mark.proof" in text
        assert marked == proof, f"{test}: the page says proof={proof}"
