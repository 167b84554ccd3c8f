"""Rules for data sets."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.contracts import Dataset
from vaeflow.data.sets import Folders
from vaeflow.data.sets.checks import blocks, is_bits
from vaeflow.errors import UsageError, VaeflowError
from vaeflow.plugin_kit.checks.forks import HASH_SEEDS
from vaeflow.plugin_kit.checks.import_effects import require_clean_import
from vaeflow.plugin_kit.checks.in_subprocess import elsewhere
from vaeflow.plugin_kit.checks.lazy_arrays import require_lazy_array
from vaeflow.plugin_kit.checks.require import SkippedRuleError, require
from vaeflow.plugin_kit.checks.rule import Rule
from vaeflow.plugin_kit.checks.side_effects import require_no_pickles, watched

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaeflow.contracts import LazyArray, Split
    from vaeflow.plugin_kit.checks.subject import Subject


def dataset(subject: Subject) -> None:
    """Build the data set twice here, and in two processes with other seeds of Python's hashes; compare all arrays."""
    try:
        with watched(subject.place) as effects:
            first, again = (subject.build(Folders.default()) for _ in range(2))
    except UsageError:
        raise
    except VaeflowError as error:
        raise SkippedRuleError(f"its data can't be loaded here: {error}") from error
    require_no_pickles(effects)
    require_clean_import(subject)
    require(isinstance(first, Dataset), f"build returned {type(first).__name__}, not a vaeflow.contracts.Dataset")
    require(first.source, "source is empty: set it to one line about the origin of the examples")
    for name, split in first.splits().items():
        _require_split(split, name, first.x_shape)
    ours = _digests(first)
    _require_same(_digests(again), ours, "when built again")
    for seed in HASH_SEEDS:
        _require_same(elsewhere(subject, digests, {}, seed), ours, f"in another process, with PYTHONHASHSEED={seed}")


def digests(subject: Subject, _: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the SHA-256 of each array of the data set, [32] bytes, by `train.x` and so on."""
    return _digests(subject.build(Folders.default()))


def _digests(data: Dataset) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray | LazyArray] = {f"{name}.x": split.x for name, split in data.splits().items()}
    arrays |= {f"{name}.y": split.y for name, split in data.splits().items() if split.y is not None}
    return {name: _digest(array) for name, array in arrays.items()}


def _digest(array: np.ndarray | LazyArray) -> np.ndarray:
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    for _, block in blocks(array):
        digest.update(block.tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def _require_same(got: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], when: str) -> None:
    for name in sorted(set(got) | set(wanted)):
        same = name in got and name in wanted and np.array_equal(got[name], wanted[name])
        require(same, f"{name} differs {when}")


def _require_split(split: Split, name: str, x_shape: tuple[int, ...]) -> None:
    require(len(split) > 0, f"{name} has no examples")
    require(split.x.dtype in (np.uint8, np.float32), f"{name}.x is {split.x.dtype}, not uint8 or float32")
    require(split.x.shape[1:] == x_shape, f"{name} has examples of shape {split.x.shape[1:]}, but train has others")
    if not isinstance(split.x, np.ndarray):
        require_lazy_array(split.x, f"{name}.x")
    _require_pixels(split.x, f"{name}.x")
    if split.y is not None:
        require(len(split.y) == len(split.x), f"{name} has {len(split.x)} examples and {len(split.y)} labels")
        whole = split.y.ndim == 1 and split.y.dtype.kind in "iu"
        require(whole, f"{name}.y is {split.y.dtype} of shape {split.y.shape}, not [N] integers")


def _require_pixels(x: np.ndarray | LazyArray, name: str) -> None:
    if x.dtype == np.uint8:
        require(
            not is_bits(x), f"{name} is 0 or 1 in every byte, but bytes are divided by 255: multiply such pixels by 255"
        )
        return
    for start, block in blocks(x):
        finite = np.isfinite(block.reshape((len(block), -1))).all(axis=1)
        require(finite.all(), f"{name}[{start + int(finite.argmin())}] has values that are not finite")


DATASET = (
    Rule(
        "examples", "bytes or float32 of one shape, labels or none, the same in each process, from no pickle", dataset
    ),
)
