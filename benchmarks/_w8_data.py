"""Data and candidates of the W8 workload: Fashion-MNIST and eight small convolutional networks."""

from __future__ import annotations

import gzip
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks._errors import BenchmarkError

FOLDER = Path("/usr/share/datasets/fashion-mnist")
TRAIN_ROWS = 12_000
VALID_ROWS = 2_000
_PIXELS = 784
_HEADER_BYTES = {"images": 16, "labels": 8}


def candidates(copies: int = 1) -> list[dict[str, Any]]:
    """The eight candidates; `copies` of each with seeds of their own for tests of growth."""
    grid = product(range(copies), (8, 16), (3, 5), (1e-3, 3e-3))
    return [
        {
            "name": f"w{width}-k{kernel}-lr{rate:g}" + (f"-{copy}" if copy else ""),
            "width": width,
            "kernel": kernel,
            "learning_rate": rate,
            "seed": 1 + number,
        }
        for number, (copy, width, kernel, rate) in enumerate(grid)
    ]


def write_candidates(path: Path, copies: int = 1) -> Path:
    """Write the candidates as JSON."""
    path.write_text(json.dumps(candidates(copies), indent=1))
    return path


def write_data(directory: Path, folder: Path = FOLDER, train: int = TRAIN_ROWS, valid: int = VALID_ROWS) -> Path:
    """Write train.parquet and valid.parquet, pixels scaled to [0, 1], unless they are there already.

    Raises:
        BenchmarkError: the files of Fashion-MNIST are not in `folder`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for split, name, rows in (("train", "train", train), ("valid", "t10k", valid)):
        path = directory / f"{split}.parquet"
        if path.exists() and pq.read_metadata(path).num_rows == rows:
            continue
        images, labels = _read(folder, name)
        pixels = (images[:rows].astype(np.float32) / 255).reshape(-1)
        offsets = np.arange(0, len(pixels) + 1, _PIXELS, dtype=np.int32)
        column = pa.ListArray.from_arrays(pa.array(offsets), pa.array(pixels))
        table = pa.table({"features": column, "label": pa.array(labels[:rows].astype(np.int32))})
        pq.write_table(table, path, row_group_size=max(1, rows // 4))
    return directory


def _read(folder: Path, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    found = []
    for kind, file in (("images", f"{name}-images-idx3-ubyte.gz"), ("labels", f"{name}-labels-idx1-ubyte.gz")):
        path = folder / file
        if not path.exists():
            raise BenchmarkError(
                f"`--images` must be a folder with Fashion-MNIST's four files. Received: {folder}, without {file}. "
                "Install the Debian package dataset-fashion-mnist, or run ./download_data.sh fashion-mnist."
            )
        found.append(np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=_HEADER_BYTES[kind]))
    return found[0].reshape(-1, _PIXELS), found[1]
