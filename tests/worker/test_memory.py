from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from cerebro_nas.worker._memory import _group_limits

_SCRIPT = """
import resource, sys
from cerebro_nas.worker._memory import keep_freed_memory
if "keep" in sys.argv:
    assert keep_freed_memory()
faults = 0
for number in range(30):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(8 << 20) for _ in range(2)]
    del blocks
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_that_was_freed_is_used_again_without_asking_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT, "keep"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    # 16 MB are 4096 pages; a few may be met for the first time by chance.
    assert int(done.stdout) < 400


_LIMITED = """
import resource, sys
from cerebro_nas.worker._memory import allowed_memory_bytes
before = allowed_memory_bytes()
resource.setrlimit(getattr(resource, sys.argv[1]), (3 << 28, -1))
print(before > 3 << 28, allowed_memory_bytes() == 3 << 28)
"""


@pytest.mark.parametrize("kind", ["RLIMIT_DATA", "RLIMIT_AS"])
def test_a_limit_of_the_process_says_how_much_memory_there_is(kind: str) -> None:
    done = subprocess.run([sys.executable, "-c", _LIMITED, kind], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["True", "True"], done.stderr


@pytest.mark.parametrize(
    ("memberships", "files", "limits"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": "700", "memory.max": "900"}, [700, 900]),
        ("9:memory:/a\n8:cpu:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "5", "cpu/a/memory.max": "1"}, [5]),
        ("0::/gone\n", {}, []),
    ],
)
def test_limits_of_control_groups_around_the_process_are_found(
    tmp_path: Path, memberships: str, files: dict[str, str], limits: list[int]
) -> None:
    (tmp_path / "self").write_text(memberships)
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert _group_limits(tmp_path / "self", tmp_path / "root") == limits
    assert _group_limits(tmp_path / "nothing", tmp_path / "root") == []
