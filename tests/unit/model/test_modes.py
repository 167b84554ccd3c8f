"""Computations in a mode of layers."""

from __future__ import annotations

from typing import NamedTuple

import keras
import pytest

from vaeflow.model.modes import in_mode


class Results(NamedTuple):
    value: int
    prior: keras.layers.Layer


def test_a_result_may_hold_a_layer_as_a_learned_prior_is():
    layer = keras.layers.Dense(2)
    for training in (False, True):
        found = in_mode(lambda: Results(3, layer), training=training)
        assert isinstance(found, Results)
        assert found.prior is layer


def test_errors_are_raised_as_they_are():
    with pytest.raises(ZeroDivisionError):
        in_mode(lambda: 1 // 0, training=False)
