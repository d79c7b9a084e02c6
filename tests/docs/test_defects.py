"""docs/defects.md: every defect of the list is there, and every test that it names exists and is about it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (A[1-5][^|]*?) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def test_every_defect_names_a_test_or_says_why_not() -> None:
    """A1 is complete; each row names a test that exists, by file or by function, or a line why it has none."""
    rows = ROW.findall((ROOT / "docs" / "defects.md").read_text("utf-8"))
    assert {number for number, _, _ in rows if number.startswith("A1")} == {f"A1-{n}" for n in range(1, 18)}
    assert {number.split()[0].partition("-")[0] for number, _, _ in rows} == {"A1", "A2", "A3", "A4", "A5"}
    for number, _, cell in rows:
        named = re.findall(r"`(tests/[^`]+)`", cell)
        assert named or cell.startswith(("does not apply: ", "measured, not tested: ")), number
        for test in named:
            file, _, function = test.partition("::")
            text = (ROOT / file).read_text("utf-8")
            assert function == "" or f"def {function}(" in text, test
            assert number.split()[0] in text, f"{test} does not name {number}"
