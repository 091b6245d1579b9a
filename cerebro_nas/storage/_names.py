"""Names and paths: what a user may call a project, and the spellings of a local directory."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from urllib.parse import unquote
from urllib.parse import urlsplit

from cerebro_nas.errors import ConfigError

_MAX_LENGTH = 120
# File systems allow 255 bytes in a name, and temporary directories add to it.
_MAX_BYTES = 200
_REFUSED = ("Cc", "Cs", "Cn", "Zl", "Zp")


def check_name(name: object) -> str:
    """Check a name that becomes a directory.

    Letters of any script, digits, spaces and punctuation are fine; what could lead out of the store is not.

    Raises:
        ConfigError: it is empty, too long, begins with a dot, or holds a slash, a quote, a wildcard or
            a control character.
    """
    safe = (
        isinstance(name, str)
        and 0 < len(name) <= _MAX_LENGTH
        and len(name.encode("utf-8", "surrogatepass")) <= _MAX_BYTES
        and name == name.strip()
        and not name.startswith(".")
        and not any(c in '/\\:*?"<>|' or unicodedata.category(c) in _REFUSED for c in name)
    )
    if not safe:
        raise ConfigError(
            f"`project_name` must be a plain name of 1 to {_MAX_LENGTH} characters ({_MAX_BYTES} bytes), without "
            "slashes, quotes, wildcards or control characters, and without a dot or a space at its beginning. "
            f"Received: project_name={name!r}. Choose another name."
        )
    return str(name)


def local_path(url: str | os.PathLike[str]) -> Path:
    """Give the path of a local directory written as a path, `file:/path` or `file:///path`.

    Raises:
        ConfigError: the URL names another file system or another host.
    """
    text = os.fspath(url)
    if not text:
        raise ConfigError("`prefix_path` must be a directory. Received: prefix_path=''. Pass a path.")
    if "://" not in text and not text.startswith("file:"):
        return Path(text).expanduser().absolute()
    parts = urlsplit(text)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ConfigError(
            "A local store needs a path or a file:// URL. "
            f"Received: {text!r}. Pass a directory that all workers can reach under the same path."
        )
    return Path(unquote(parts.path))
