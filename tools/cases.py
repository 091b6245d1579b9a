"""Writes the table of fault and bad-input cases, with the tests that prove each, into docs/reliability.md.

python tools/cases.py           # print it
python tools/cases.py --write   # put it into the document
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- cases: begin -->\n", "<!-- cases: end -->\n"

TITLES = {
    1: "a worker dies in the middle of a sub-epoch",
    2: "a worker dies after it stored a state and before it said so",
    3: "a worker sleeps past its time, wakes and reports",
    4: "a candidate kills every worker it meets",
    5: "a worker fails whatever it is given",
    6: "all workers are lost",
    7: "a Spark executor is lost",
    8: "fewer task slots than workers",
    9: "the driver is killed, after any record of its journal",
    10: "SIGINT and SIGTERM, once and twice; a notebook's interrupt",
    11: "the journal is torn, glued, damaged, empty or missing",
    12: "a stored state is damaged",
    13: "the disk is full",
    14: "the store is slow, fails for a moment, or is forbidden",
    15: "a loss or metric that is no number, is missing, or is no scalar",
    16: "out of memory",
    17: "every candidate is too large",
    18: "a graph that cannot be built",
    19: "a training step that hangs",
    20: "a sub-epoch that fails half-way, and the next model on that worker",
    21: "reports that come twice, late, out of order or not at all",
    22: "strangers, replays and garbage on the control port",
    23: "where the secret might show",
    24: "malicious models, states and descriptions",
    25: "names and paths that lead elsewhere, or are merely unusual",
    26: "`overwrite=True` on files of somebody else",
    27: "two drivers on one search",
    28: "too few rows, empty and skewed partitions",
    29: "nulls, NaN, wrong columns, shapes that do not fit",
    30: "labels: one class only, classes of validation rows only, wrong width",
    31: "direction of the objective, unknown metrics",
    32: "arguments out of range, calls out of order",
    33: "a search that is gone on with as another one",
    34: "executors whose environment differs",
    35: "leaks over hundreds of trials",
}


def marked_tests(root: Path = ROOT) -> dict[int, list[str]]:
    """Tests by case, as `file::name`, found by reading the markers."""
    found: dict[int, list[str]] = defaultdict(list)
    for path in sorted((root / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        everywhere = [case for node in tree.body for case in _module_cases(node)]
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                cases = [case for decorator in node.decorator_list for case in _cases(decorator)]
                for case in sorted({*everywhere, *cases}):
                    found[case].append(f"{path.relative_to(root).as_posix()}::{node.name}")
    return dict(found)


def table(tests: dict[int, list[str]]) -> str:
    """The table, in Markdown: for each case the files whose tests carry its number."""
    lines = ["| # | Case | Tests |", "|---|---|---|"]
    for case, title in TITLES.items():
        files = dict.fromkeys(test.split("::")[0] for test in tests.get(case, ()))
        # Folders of tests are named after rooms, so two of them make a name.
        where = ", ".join(f"[{Path(file).parent.name}/{Path(file).stem[5:]}](../{file})" for file in files)
        lines.append(f"| {case} | {title} | {where} |")
    return "\n".join(lines) + "\n"


def written(document: str, found: str) -> str:
    """The document with the table in its place."""
    head, rest = document.split(BEGIN)
    return head + BEGIN + found + END + rest.split(END)[1]


def _module_cases(node: ast.stmt) -> Iterator[int]:
    if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets):
        for item in node.value.elts if isinstance(node.value, ast.List) else [node.value]:
            yield from _cases(item)


def _cases(mark: ast.expr) -> Iterator[int]:
    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.case":
        yield from (argument.value for argument in mark.args if isinstance(argument, ast.Constant))  # type: ignore[misc]


def main() -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put it into docs/reliability.md")
    found = table(marked_tests())
    if parser.parse_args().write:
        DOCUMENT.write_text(written(DOCUMENT.read_text(), found))
    else:
        sys.stdout.write(found)


if __name__ == "__main__":
    main()
