"""The snippets of the page on tuners that need no data run as they stand there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

_PAGE = Path(__file__).parents[2] / "docs" / "tuners.md"


def test_a_tuner_of_your_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = _PAGE.read_text().split("## A tuner of your own")[1].split("\n## ")[0]
    script = tmp_path / "snippets.py"
    script.write_text("\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL)))
    names = runpy.run_path(str(script))
    assert 0 <= float(capsys.readouterr().out) < 0.1
    oracle = names["TestMyOracle"]().make_oracle(names["hps"], 1, names["objective"], 3)
    assert isinstance(oracle, names["MyOracle"])
