"""How a worker's memory is handed out and given back."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 128 << 20
_LARGEST_BYTES = 32 << 20
_CGROUPS = Path("/sys/fs/cgroup")


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed, up to 128 MB, instead of giving it back to the system at once.

    States and activations of megabytes come and go all the time, and fetching their pages anew from the system takes
    longer than filling them. Only glibc knows this setting.

    Returns:
        Whether it was taken.
    """
    if not sys.platform.startswith("linux"):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    # 32 MB is the most that glibc accepts; larger blocks go back at once, as ever.
    wanted = ((_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_MMAP_THRESHOLD, _LARGEST_BYTES))
    return all([set_option(option, value) == 1 for option, value in wanted])


def allowed_memory_bytes() -> int:
    """Memory that this process may take at most: the machine's, or less where a container or a limit says so."""
    import resource

    import psutil

    found = [int(psutil.virtual_memory().total)]
    for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            found.append(limit)
    return min([*found, *_group_limits(Path("/proc/self/cgroup"), _CGROUPS)])


def _group_limits(memberships: Path, root: Path) -> list[int]:
    """Limits of the control groups that this process is in, and of those around them; containers are such groups."""
    if not memberships.exists():
        return []
    found = []
    for line in memberships.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        # Version 2 has one tree for all controllers, version 1 one for each.
        top, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            text = (folder / name).read_text().strip() if (folder / name).exists() else ""
            if text.isdigit():
                found.append(int(text))
            if folder == top:
                break
    return found


def resident_memory_bytes() -> int:
    """Resident size of this process now."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import psutil

    return int(psutil.Process().memory_info().rss)
