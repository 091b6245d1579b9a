"""Puts AutoKeras' own tests into a directory, adapted in the import alone, and runs them.

They come with the installed package. `import autokeras as ak` becomes `import cerebro_nas as ak`; modules of AutoKeras
that they import by name (blocks, graph, ...) stay what they are. The Titanic table that they fetch when they are
imported is replaced by a made-up one of the same columns.

python tools/autokeras_tests.py DIRECTORY                      # all but the integration tests
python tools/autokeras_tests.py DIRECTORY integration_tests    # these; minutes, as networks for pictures are among them
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_COLUMNS: dict[str, list[object]] = {
    "survived": [0, 1],
    "sex": ["male", "female"],
    "age": [float(age) for age in range(1, 80)],
    "n_siblings_spouses": [0, 1, 2, 3, 4],
    "parch": [0, 1, 2, 3],
    "fare": [round(7.25 * n, 4) for n in range(1, 40)],
    "class": ["First", "Second", "Third"],
    "deck": ["A", "B", "C", "unknown"],
    "embark_town": ["Southampton", "Cherbourg", "Queenstown"],
    "alone": ["y", "n"],
}
_ROWS = {"train.csv": 627, "eval.csv": 264}


def adapted(text: str) -> str:
    """A test of AutoKeras with the other import."""
    text = re.sub(r"^import autokeras as ak$", "import cerebro_nas as ak", text, flags=re.MULTILINE)
    text = re.sub(r"^from autokeras import test_utils$", "import test_utils", text, flags=re.MULTILINE)
    return re.sub(r'mock\.patch\(\s*"autokeras\.(?=AutoModel|auto_model)', 'mock.patch("cerebro_nas.', text)


def put(target: Path) -> None:
    """Write the adapted tests and the table."""
    spec = importlib.util.find_spec("autokeras")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("autokeras")
    source = Path(spec.origin).parent
    shutil.rmtree(target / "tests", ignore_errors=True)
    for path in [*source.rglob("*_test.py"), source / "conftest.py", source / "test_utils.py"]:
        place = target / "tests" / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        # Helpers of theirs are no tests.
        place.write_text(adapted(path.read_text()) if path.name.endswith("_test.py") else path.read_text())
    draw = random.Random(0)  # noqa: S311 - not for secrets
    tables = target / "keras" / "datasets"
    tables.mkdir(parents=True, exist_ok=True)
    for name, rows in _ROWS.items():
        with (tables / name).open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(_COLUMNS)
            out.writerows([draw.choice(values) for values in _COLUMNS.values()] for _ in range(rows))


def run(target: Path, chosen: list[str]) -> int:
    """Run them; give pytest's exit status."""
    tests = target / "tests"
    environment = {
        **os.environ,
        "KERAS_HOME": str(target / "keras"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(tests)]),
    }
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", os.devnull, "--rootdir=.", "-rf"]
    wanted = chosen or ["--ignore=integration_tests"]
    command = [sys.executable, "-m", "pytest", *options, "--tb=line", *wanted]
    return subprocess.run(command, cwd=tests, env=environment, check=False).returncode


def main() -> None:
    """Write them and run them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where to; its folder `tests` is written anew")
    parser.add_argument("tests", nargs="*", help="files or folders of them to run")
    given = parser.parse_args()
    target = given.directory.resolve()
    target.mkdir(parents=True, exist_ok=True)
    put(target)
    sys.exit(run(target, given.tests))


if __name__ == "__main__":
    main()
