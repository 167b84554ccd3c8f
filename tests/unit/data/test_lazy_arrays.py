"""Arrays of a data set that are computed when they are indexed: the same bytes and bits as arrays in memory."""

from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.components.binarizations import dynamic
from vaeflow.contracts import Dataset, Split
from vaeflow.data import source
from vaeflow.data.batches import Batches
from vaeflow.data.sets.checks import blocks
from vaeflow.data.sets.image_warnings import data_warnings
from vaeflow.plugin_kit.checks.lazy_arrays import require_lazy_array
from vaeflow.plugin_kit.checks.require import BrokenRuleError
from vaeflow.training.provenance import data as provenance

HELD = np.random.default_rng(0).integers(0, 256, (300, 5, 4, 1), np.uint8)


@dataclass
class Lazy:
    """Examples that are read from an array, with a list of how many were read at a time."""

    held: np.ndarray

    def __post_init__(self):
        self.read = []

    @property
    def shape(self):
        return self.held.shape

    @property
    def dtype(self):
        return self.held.dtype

    @property
    def nbytes(self):
        return self.held.nbytes

    def __len__(self):
        return len(self.held)

    def __getitem__(self, index):
        found = self.held[index]
        self.read.append(len(found) if found.ndim == self.held.ndim else 1)
        return found


def batches(x, **options):
    return Batches.of("train", Split(x), dynamic(), seed=3, batch_size=32, **options)


def test_a_small_one_is_read_once(monkeypatch):
    monkeypatch.setattr("vaeflow.data.sets.checks.BLOCK_BYTES", 20 * 70)
    lazy = Lazy(HELD)
    found = source.source_of(lazy)
    assert isinstance(found, source.ResidentSource)
    np.testing.assert_array_equal(found.x, HELD)
    assert lazy.read == [1, 70, 70, 70, 70, 20]


def test_batches_have_the_bits_of_arrays_in_memory(monkeypatch):
    steps = [tf.constant(step, tf.int64) for step in (0, 1, 2, 9)]
    wanted = [batches(HELD).shuffled(step, tf.constant(0), 32) for step in steps]
    monkeypatch.setattr(source, "RESIDENT_BYTES", 1000)
    lazy = Lazy(HELD)
    made = batches(lazy)
    assert isinstance(made.source, source.ReadingSource)
    assert lazy.read == []
    compiled = tf.function(made.shuffled)
    for step, want in zip(steps, wanted, strict=True):
        got = compiled(step, tf.constant(0), 32)
        np.testing.assert_array_equal(got.x, want.x)
        np.testing.assert_array_equal(got.valid, want.valid)
    assert set(lazy.read) == {32}


@pytest.mark.parametrize("exact", [2**31, 1000])
def test_the_fingerprint_is_that_of_an_array_in_memory(monkeypatch, exact):
    monkeypatch.setattr(provenance, "EXACT_BYTES", exact)
    monkeypatch.setattr(provenance, "SAMPLED_BYTES", 100)
    assert provenance.fingerprint(Lazy(HELD)) == provenance.fingerprint(HELD)


def test_warnings_are_those_of_an_array_in_memory():
    def warnings(make):
        repeated = np.concatenate([HELD, HELD[:30]])
        return list(data_warnings(Dataset("made", Split(make(repeated)), None, Split(make(HELD)), "made"), 500))

    assert len(warnings(np.asarray)) == 3
    assert warnings(Lazy) == warnings(np.asarray)


def test_labels_of_computed_examples_may_be_any_factor():
    y = np.random.default_rng(1).integers(0, 4, len(HELD))
    held, lazy = (list(data_warnings(Dataset("made", Split(x, y), None, None, ""), 5)) for x in (HELD, Lazy(HELD)))
    assert ["unrelated to its images" in line for line in held] == [True]
    assert lazy == []


def test_blocks_end_at_the_count(monkeypatch):
    monkeypatch.setattr("vaeflow.data.sets.checks.BLOCK_BYTES", 20 * 70)
    assert [(start, len(block)) for start, block in blocks(HELD, 100)] == [(0, 70), (70, 30)]
    assert sum(len(block) for _, block in blocks(HELD, 10**6)) == len(HELD)


# The contract


class DependsOnTheBatch(Lazy):
    def __getitem__(self, index):
        found = super().__getitem__(index)
        return found if found.ndim < 4 or len(found) < 2 else found + np.uint8(1)


class IgnoresNegativeStarts(Lazy):
    def __getitem__(self, index):
        return super().__getitem__(slice(0, 1) if isinstance(index, slice) else index)


class Lists(Lazy):
    def __getitem__(self, index):
        found = super().__getitem__(index)
        return found if found.ndim < 4 else list(found)


class OtherType(Lazy):
    dtype = np.dtype(np.float32)


class OtherShape(Lazy):
    shape = (300, 4, 5, 1)


class OtherLength(Lazy):
    shape = (299, 5, 4, 1)


class OtherSize(Lazy):
    nbytes = 300


def test_a_correct_one_breaks_no_rule():
    require_lazy_array(Lazy(HELD), "train.x")
    require_lazy_array(Lazy(HELD[:1]), "train.x")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (DependsOnTheBatch, r"train\.x\[indices\] differs from the same examples read one by one"),
        (IgnoresNegativeStarts, r"train\.x\[-1:\] differs from the same examples"),
        (Lists, r"train\.x\[indices\] is list, not a NumPy array"),
        (OtherType, r"train\.x declares float32, but its examples are uint8"),
        (OtherShape, r"train\.x declares \(300, 4, 5, 1\), but its examples are \(5, 4, 1\)"),
        (OtherLength, r"train\.x declares \(299, 5, 4, 1\), but has 300 examples"),
        (OtherSize, r"train\.x declares 300 bytes, but its shape and type make 6000"),
    ],
)
def test_one_mistake_breaks_the_contract(kind, message):
    with pytest.raises(BrokenRuleError, match=message):
        require_lazy_array(kind(HELD), "train.x")
