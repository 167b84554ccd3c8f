"""Exact sums: the same bits for any order and grouping, within one rounding of the true sum."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from hypothesis import given
from hypothesis import strategies as st

from vaeflow.distributed.strategies.single import SingleStrategy
from vaeflow.engine.microbatch_sums import Part
from vaeflow.engine.reduce import BLOCK, NARROW, ExactSum, PlainSum

SINGLE = SingleStrategy()
LARGEST = np.finfo(np.float32).max
TINIEST_NORMAL = float(np.finfo(np.float32).tiny)


@dataclass
class Exchange:
    """What replicas that are threads of this process have put down for each other."""

    replicas: int
    order: list[int]
    slots: dict[int, list[tf.Tensor]] = field(default_factory=dict)

    def __post_init__(self):
        self.barrier = threading.Barrier(self.replicas, timeout=60)

    def all(self, rank: int, tensors: list[tf.Tensor]) -> list[list[tf.Tensor]]:
        """Return the tensors of all replicas, replica by replica in the exchange's order."""
        self.slots[rank] = tensors
        self.barrier.wait()
        everyone = [self.slots[r] for r in self.order]
        self.barrier.wait()
        return everyone


@dataclass(frozen=True)
class ThreadStrategy(SingleStrategy):
    """One replica of several; adds over them one after the other, in the order of the exchange."""

    exchange: Exchange = None

    def all_reduce_sum(self, tensors):
        return [tf.add_n(list(same)) for same in zip(*self.exchange.all(self.rank, list(tensors)), strict=True)]

    def all_reduce_max(self, tensor):
        everyone = [tensors[0] for tensors in self.exchange.all(self.rank, [tensor])]
        return tf.reduce_max(tf.stack(everyone), axis=0)


def part_of(gradients: list[np.ndarray], sums: np.ndarray | None = None) -> Part:
    """Return a part with some gradients [v, ...], without state, and with sums [v, n] or some ones."""
    count = len(gradients[0]) if gradients else len(sums)
    return Part([tf.constant(g) for g in gradients], [], tf.ones((count, 2)) if sums is None else tf.constant(sums))


def replicated(reduction, groups: list[list[np.ndarray]], order: list[int]) -> list[list[np.ndarray]]:
    """Return what each replica gets, given the parts [v, ...] of each of its tensors."""
    exchange = Exchange(len(groups), order)

    def replica(rank: int) -> list[np.ndarray]:
        strategy = ThreadStrategy(rank=rank, replicas=len(groups), exchange=exchange)
        return [t.numpy() for t in reduction.sum(part_of(groups[rank]), strategy).gradients]

    with ThreadPoolExecutor(len(groups)) as pool:
        return list(pool.map(replica, range(len(groups))))


def parts_of(seed: int, count: int, spread: int, offset: int) -> np.ndarray:
    """Return parts [count, 30] whose magnitudes lie within 2^(offset +- spread), some of which cancel."""
    rng = np.random.default_rng(seed)
    exponents = np.clip(offset + rng.integers(-spread, spread + 1, (count, 30)), -160, 120)
    parts = np.ldexp(rng.normal(size=(count, 30)), exponents).astype(np.float32)
    if count > 1:
        parts[-1, :10] = -parts[0, :10]
    parts[:, 20] = 0.0
    return parts


def bits(array: np.ndarray) -> np.ndarray:
    return np.asarray(array).view(np.uint32)


def exact(parts: np.ndarray, count: int | None = None) -> np.ndarray:
    return ExactSum(count or len(parts)).sum(part_of([parts]), SINGLE).gradients[0].numpy()


def exact_one_by_one(parts: np.ndarray) -> np.ndarray:
    """Return sums as what is counted gets them: each has a scale of its own."""
    return ExactSum(len(parts)).sum(part_of([parts], parts), SINGLE).sums.numpy()


def unit(parts: np.ndarray) -> float:
    """Return the largest distance of neighbours that parts of one block may be rounded to."""
    bits = (30 if len(parts) <= NARROW else 62) - math.ceil(math.log2(len(parts)))
    return float(np.abs(parts).max()) * 2.0 ** (1 - bits)


CASES = {
    "seed": st.integers(0, 10**6),
    "count": st.sampled_from([1, 2, 3, 7, 8, 20, 100]),
    "spread": st.sampled_from([0, 3, 12, 40]),
    "offset": st.sampled_from([-140, -120, -20, 0, 60, 110]),
}


def true_sums(parts: np.ndarray) -> np.ndarray:
    return np.array([math.fsum(column) for column in parts.T.astype(np.float64)])


@pytest.mark.slow
@given(**CASES)
@builders.examples(60)
def test_exact_sum_is_the_true_sum_within_one_rounding(seed, count, spread, offset):
    parts = parts_of(seed, count, spread, offset)
    true = true_sums(parts)
    # Each part is rounded to a unit, the sum to float32, and what is subnormal in float32 may count as zero.
    rounding = 2.0**-24 * np.abs(true) * (1.0 + 1e-6) + (count + 1) * TINIEST_NORMAL
    assert np.all(np.abs(exact(parts).astype(np.float64) - true) <= rounding + count / 2 * unit(parts))


@pytest.mark.slow
@given(**CASES)
@builders.examples(30)
def test_a_sum_with_its_own_scale_is_as_exact_as_that_scale(seed, count, spread, offset):
    parts = parts_of(seed, count, spread, offset)
    true = true_sums(parts)
    rounding = 2.0**-24 * np.abs(true) * (1.0 + 1e-6) + (count + 1) * TINIEST_NORMAL
    units = np.array([unit(column[:, None]) for column in parts.T])
    assert np.all(np.abs(exact_one_by_one(parts).astype(np.float64) - true) <= rounding + count / 2 * units)


@given(seed=st.integers(0, 10**6), count=st.sampled_from([65, 100]))
@builders.examples(30)
def test_wide_integers_give_the_rounded_sum_of_like_magnitudes(seed, count):
    parts = parts_of(seed, count, 3, 0)
    np.testing.assert_array_equal(exact(parts), true_sums(parts).astype(np.float32))


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), count=st.sampled_from([2, 4, 12, 64]), spread=st.sampled_from([0, 3, 8]))
@builders.examples(30)
def test_exact_sums_err_less_than_float32_sums(seed, count, spread):
    """In the norm of a tensor, however its magnitudes differ from block to block."""
    rng = np.random.default_rng(seed)
    blocks = rng.normal(size=(count, 20, BLOCK)) * np.ldexp(1.0, rng.integers(-spread, spread + 1, (1, 20, 1)))
    parts = blocks.reshape((count, -1)).astype(np.float32)
    true = true_sums(parts)
    in_float32 = np.zeros(parts.shape[1], np.float32)
    for part in parts:
        in_float32 += part
    errors = [float(np.linalg.norm(s.astype(np.float64) - true)) for s in (exact(parts), in_float32)]
    assert errors[0] <= errors[1] * (1.0 if count > 2 else 1.01) + 1e-12


@pytest.mark.parametrize("count", [1, 4, 64, 65])
def test_counts_are_exact_beside_large_sums(count):
    sums = np.tile(np.float32([25.0, 1e30, -3e-20, 0.1]), (count, 1))
    found = ExactSum(count).sum(part_of([sums], sums), SINGLE).sums.numpy()
    np.testing.assert_array_equal(found, np.float32(np.float64(sums[0]) * count))


@given(**CASES, cut=st.data())
@builders.examples(30)
def test_exact_sum_does_not_depend_on_the_order_of_the_parts(seed, count, spread, offset, cut):
    parts = parts_of(seed, count, spread, offset)
    order = cut.draw(st.permutations(range(count)))
    np.testing.assert_array_equal(bits(exact(parts[order])), bits(exact(parts)))


@pytest.mark.slow
@given(**CASES, cut=st.data())
@builders.examples(25)
def test_exact_sum_does_not_depend_on_the_replicas(seed, count, spread, offset, cut):
    parts, other = parts_of(seed, count, spread, offset), parts_of(seed + 1, count, spread, 0)[:, :3]
    expected = [t.numpy() for t in ExactSum(count).sum(part_of([parts, other]), SINGLE).gradients]
    replicas = cut.draw(st.integers(1, min(count, 5)))
    order = cut.draw(st.permutations(range(replicas)))
    owners = np.append(np.arange(replicas), np.random.default_rng(seed).integers(0, replicas, count - replicas))
    groups = [[parts[owners == rank], other[owners == rank]] for rank in range(replicas)]
    for got in replicated(ExactSum(count), groups, list(order)):
        for tensor, whole in zip(got, expected, strict=True):
            np.testing.assert_array_equal(bits(tensor), bits(whole))


def test_plain_sums_would_depend_on_the_order():
    parts = parts_of(0, 100, 12, 0)
    sums = [np.add.reduce(p, axis=0, dtype=np.float32) for p in (parts, parts[::-1])]
    assert not np.array_equal(*sums)  # so the tests above can fail


@pytest.mark.slow
@given(**CASES)
@builders.examples(20)
def test_parts_that_are_padding_change_nothing(seed, count, spread, offset):
    parts = parts_of(seed, count, spread, offset)
    padded = np.concatenate([parts, np.zeros_like(parts)])
    np.testing.assert_array_equal(bits(exact(padded, 2 * count)), bits(exact(parts, 2 * count)))


@pytest.mark.parametrize("value", [0.0, TINIEST_NORMAL, 1e-30, 1.0, 1e30, float(LARGEST) / 128])
@pytest.mark.parametrize("count", [1, 2, 5, 64, 100])
def test_equal_parts_of_any_magnitude(value, count):
    parts = np.full((count, 2), value, np.float32)
    parts[:, 1] *= -1.0
    expected = np.float32(np.float64(parts[0, 0]) * count)
    np.testing.assert_array_equal(exact(parts), [expected, -expected])


def test_largest_numbers_do_not_overflow_on_the_way():
    parts = np.array([[LARGEST], [LARGEST], [-LARGEST], [-LARGEST], [2.0**110]], np.float32)
    np.testing.assert_array_equal(exact(parts), np.float32([2.0**110]))


def test_a_sum_beyond_float32_is_infinite():
    assert np.isposinf(exact(np.array([[LARGEST], [LARGEST]], np.float32)))[0]


def test_subnormal_numbers_stay_below_the_least_normal_one():
    parts = np.full((4, 3), 1e-40, np.float32)
    assert np.all(np.abs(exact(parts)) <= TINIEST_NORMAL)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("at", [(0, 0), (4, 2)])
def test_nonfinite_sums_are_nan_and_affect_no_other_tensor(bad, at):
    clean, dirty = parts_of(1, 5, 3, 0), parts_of(2, 5, 3, 0)
    dirty[at] = bad
    groups = [[dirty[:2], clean[:2]], [dirty[2:], clean[2:]]]
    for got, untouched in replicated(ExactSum(5), groups, [1, 0]):
        assert np.all(np.isnan(got))
        np.testing.assert_array_equal(bits(untouched), bits(exact(clean)))


def test_infinities_of_both_signs_are_nan():
    assert np.isnan(exact(np.array([[np.inf, 1.0], [-np.inf, 1.0]], np.float32))).all()


def test_shapes_are_kept_and_scalars_taken():
    scalars, matrices = np.ones((3,), np.float32), np.ones((3, 2, 4), np.float32)
    for reduction in (ExactSum(3), PlainSum()):
        part = part_of([scalars, matrices])
        got = reduction.sum(part._replace(state=[tf.ones((3, 5)), tf.ones((3,))]), SINGLE)
        flat = tf.nest.flatten(got)
        assert [t.shape for t in flat] == [(), (2, 4), (5,), (), (2,)]
        assert all(t.dtype == tf.float32 for t in flat)
        assert all(np.all(t == 3.0) for t in flat)


@given(seed=st.integers(0, 10**6), count=st.sampled_from([1, 2, 7, 100]))
@builders.examples(15)
def test_plain_sum_is_close(seed, count):
    parts = parts_of(seed, count, 3, 0)
    (plain,) = PlainSum().sum(part_of([parts]), SINGLE).gradients
    np.testing.assert_allclose(plain, exact(parts), atol=1e-6 * float(np.abs(parts).sum(0).max()), rtol=1e-6)
    halves = [[parts[: count // 2]], [parts[count // 2 :]]]
    for (got,) in replicated(PlainSum(), halves, [0, 1]):
        np.testing.assert_allclose(got, plain, atol=1e-6 * float(np.abs(parts).sum(0).max()), rtol=1e-6)


def test_plain_sum_keeps_what_is_not_finite():
    (got,) = PlainSum().sum(part_of([np.float32([[np.nan, 1.0], [0.0, 1.0]])]), SINGLE).gradients
    assert np.isnan(got[0])
    assert got[1] == 2.0


def test_packed_parts_have_the_sums_of_unpacked_ones():
    shapes, rng = [(3, 5), (130,), (1,)], np.random.default_rng(0)
    gradients = [rng.normal(size=(4, *shape)).astype(np.float32) for shape in shapes]
    whole = part_of(gradients)
    single = [tf.nest.map_structure(lambda one, n=n: one[n], whole) for n in range(4)]
    signature = tf.nest.map_structure(lambda one: tf.TensorSpec(one.shape, one.dtype), single[0])
    for reduction in (ExactSum(4), PlainSum()):
        packed = [reduction.pack(part) for part in single]
        expected = tf.nest.flatten(reduction.packed(signature))
        assert [one.shape for one in tf.nest.flatten(packed[0])] == [spec.shape for spec in expected]
        stacked = tf.nest.map_structure(lambda *same: tf.stack(same), *packed)
        total = reduction.unpack(reduction.sum(stacked, SINGLE), signature)
        for got, sums in zip(total.gradients, reduction.sum(whole, SINGLE).gradients, strict=True):
            np.testing.assert_array_equal(got, sums)
