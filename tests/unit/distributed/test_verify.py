"""Collectives that do nothing and replicas that differ are found, whatever runs them."""

import pytest
import tensorflow as tf

from vaeflow.distributed.strategies.single import SingleStrategy
from vaeflow.distributed.strategies.verify import Agreement, self_test_reductions
from vaeflow.errors import DivergedError


class Idle(SingleStrategy):
    """Two replicas whose sums are what each was handed: what fails silently."""

    def __init__(self):
        super().__init__(replicas=2)


@pytest.mark.parametrize("wire", ["float32", "float16", "bfloat16"])
def test_one_device_reduces(wire):
    self_test_reductions(SingleStrategy(), wire)


def test_a_reduction_that_does_nothing_is_found():
    with pytest.raises(DivergedError, match="rank 0: the sum of the all-reduce self-test over 2 replicas"):
        self_test_reductions(Idle())


class Deaf(Idle):
    """Two replicas that add right, but not in a type."""

    def all_reduce_sum(self, tensors):
        return tensors if tensors[0].dtype == tf.bfloat16 else [3 * t for t in tensors]

    def all_reduce_max(self, tensor):
        return tf.constant([2.0, -1.0])


def test_a_type_that_is_not_added_is_found():
    with pytest.raises(DivergedError, match="the sum of the all-reduce self-test over 2 replicas"):
        self_test_reductions(Deaf(), "bfloat16")


class Table(SingleStrategy):
    """A replica beside others whose fingerprints are given."""

    def __init__(self, others):
        super().__init__(replicas=1 + len(others))
        object.__setattr__(self, "others", others)

    def all_reduce_sum(self, tensors):
        return [t + tf.constant([[0], *self.others], tf.int64) for t in tensors]


def test_agreement_has_a_fingerprint_of_every_bit():
    variable = tf.Variable([1.0, 2.0, 3.0])
    agreement = Agreement(SingleStrategy(), {"w": variable})
    seen = {agreement.check()}
    for index in range(3):
        variable.assign(tf.tensor_scatter_nd_update(tf.constant([1.0, 2.0, 3.0]), [[index]], [1e-30]))
        seen.add(agreement.check())
    variable.assign([2.0, 1.0, 3.0])
    seen.add(agreement.check())
    assert len(seen) == 5


def test_a_replica_that_differs_is_named():
    variable = tf.Variable([1.0, 2.0])
    own = int(Agreement(SingleStrategy(), {"w": variable})._table().numpy()[0, 0])
    Agreement(Table([[own], [own]]), {"w": variable}).check()
    with pytest.raises(DivergedError, match=r"replicas 2 of 3 have another state than replica 0: 'w'"):
        Agreement(Table([[own], [own + 1]]), {"w": variable}).check()
