"""Writes the table of AutoKeras' names, and what they are here, into docs/autokeras-compatibility.md.

python tools/conformance.py           # print it
python tools/conformance.py --write   # put it into the document
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "autokeras-compatibility.md"
ROWS = ROOT / "tests" / "tasks" / "conformance.py"
BEGIN, END = "<!-- conformance: begin -->\n", "<!-- conformance: end -->\n"


def rows(path: Path = ROWS) -> ModuleType:
    """The module that holds the table."""
    spec = importlib.util.spec_from_file_location("conformance_rows", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def table(sections: dict[str, tuple[Any, ...]]) -> str:
    """The table, in Markdown, with the numbers of each verdict."""
    counts = {verdict: 0 for verdict in ("same", "different", "refused")}
    lines: list[str] = []
    for title, entries in sections.items():
        lines += [f"### {title}", "", "| Name | | How, or why | Shown by |", "|---|---|---|---|"]
        for entry in entries:
            counts[entry.verdict] += 1
            lines.append(f"| `{entry.name}` | {entry.verdict} | {entry.how} | {_link(entry.proof)} |")
        lines.append("")
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return "\n".join([f"{sum(counts.values())} entries: {summary}.", "", *lines])


def written(document: str, found: str) -> str:
    """The document with the table in its place."""
    head, rest = document.split(BEGIN)
    return head + BEGIN + found + END + rest.split(END)[1]


def _link(proof: str) -> str:
    file = Path(proof.split("::")[0])
    return f"[{file.parent.name}/{file.stem[5:]}](../tests/{file.as_posix()})" if proof else ""


def main() -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put it into docs/autokeras-compatibility.md")
    found = table(rows().SECTIONS)
    if parser.parse_args().write:
        DOCUMENT.write_text(written(DOCUMENT.read_text(), found))
    else:
        sys.stdout.write(found)


if __name__ == "__main__":
    main()
