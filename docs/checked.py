"""Run all rules on all components, and write the results into docs/checked.md; this takes some minutes.

python docs/checked.py                                  # all components
python docs/checked.py 'prior/*' likelihood/poisson     # only these; the rows of others stay
"""

from __future__ import annotations

import collections
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import scipy.sparse
from array_record.python.array_record_module import ArrayRecordWriter
from docstrings import cell, table
from PIL import Image

from vaeflow.plugin_kit.testing import check
from vaeflow.plugins.registry import Registry

REQUIRED: dict[tuple[str, str], dict[str, object]] = {
    ("learning_rate", "constant"): {"value": 1e-3},
    ("learning_rate", "cosine-decay"): {"initial_learning_rate": 1e-3},
    ("learning_rate", "cosine-decay-restarts"): {"initial_learning_rate": 1e-3},
    ("learning_rate", "exponential-decay"): {"initial_learning_rate": 1e-3, "decay_rate": 0.9},
    ("learning_rate", "inverse-time-decay"): {"initial_learning_rate": 1e-3, "decay_rate": 0.5},
    ("learning_rate", "piecewise-constant-decay"): {"boundaries": [5], "values": [1e-3, 1e-4]},
    ("learning_rate", "polynomial-decay"): {"initial_learning_rate": 1e-3},
    ("dataset", "sparse-counts"): {"path": "made-sparse.npz"},
    ("dataset", "array-record"): {"path": "records", "shape": [8, 8]},
    ("dataset", "arrays"): {"path": "made.npz"},
    ("dataset", "idx"): {"train_images": "made-idx3-ubyte"},
    ("dataset", "image-folder"): {"path": "images", "size": [8, 8], "channels": 1},
}
"""Options of components with required ones; the files are created for the checks."""

SHAPES = {"conv-mnist": (28, 28, 1), "counts": (12,)}
"""Examples of components that do not take those of the checks, by name."""

PARTNERS = {("metric", "code-perplexity"): {"model": "vq"}}
"""What components are checked with, if they are for some components only."""

HEAD = """All components, checked with all rules of their kinds, by `python docs/checked.py` on the machine of
[](results.md). A rule is skipped if it does not apply to the component; the last column gives the reason.
"""


PAGE = Path(__file__).parent / "checked.md"


def main(patterns: list[str]) -> None:
    """Check the components whose kind/name fits a pattern, or all, and write the table."""
    every = [(one.component.kind, one.component.name) for one in Registry.load().all()]
    chosen = [one for one in every if not patterns or any(fnmatch("/".join(one), pattern) for pattern in patterns)]
    with tempfile.TemporaryDirectory() as folder:
        _make_files(Path(folder))
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            found = dict(zip(chosen, pool.map(lambda one: _row(*one, Path(folder)), chosen), strict=True))
    by_component = _rows_before() | found
    rows = [by_component[one] for one in every if one in by_component]
    text = table(("kind", "name", "of", "rules kept", "broken", "skipped", "why"), rows)
    PAGE.write_text(f"{HEAD}\n{text}\n", encoding="utf-8")


def _rows_before() -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the rows of the page by kind and name."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    rows = [tuple(line.removeprefix("| ").removesuffix(" |").split(" | ")) for line in lines]
    return {(row[0].strip("`"), row[1].strip("`")): row for row in rows}


def _make_files(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    np.savez(folder / "made.npz", x_train=pixels)
    scipy.sparse.save_npz(folder / "made-sparse.npz", scipy.sparse.csr_matrix(pixels.reshape(20, 64) // 128))
    header = bytes([0, 0, 8, 3]) + b"".join(side.to_bytes(4, "big") for side in pixels.shape)
    (folder / "made-idx3-ubyte").write_bytes(header + pixels.tobytes())
    (folder / "records").mkdir()
    writer = ArrayRecordWriter(str(folder / "records" / "train.array_record"), "group_size:1")
    for image in pixels:
        writer.write(image.tobytes())
    writer.close()
    (folder / "images").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / "images" / f"{number}.png")


def _row(kind: str, name: str, folder: Path) -> tuple[str, ...]:
    options = REQUIRED.get((kind, name), {})
    if kind == "dataset":
        options = {key: str(folder / value) if isinstance(value, str) else value for key, value in options.items()}
    found = check(kind, name, x_shape=SHAPES.get(name), partners=PARTNERS.get((kind, name)), **options)
    counts = collections.Counter(one.outcome for one in found)
    sys.stderr.write(f"{kind} {name}: {dict(counts)}\n")
    sys.stderr.writelines(f"  {one.rule}: {one.message}\n" for one in found if one.outcome == "broken")
    why = "; ".join(f"{one.rule}: {one.message}" for one in found if one.outcome == "skipped")
    numbers = [str(counts[outcome]) for outcome in ("ok", "broken", "skipped")]
    return f"`{kind}`", f"`{name}`", found[0].origin, *numbers, cell(why or "-")


if __name__ == "__main__":
    main(sys.argv[1:])
