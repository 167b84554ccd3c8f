"""No function of vaeflow is rewritten by AutoGraph."""

from __future__ import annotations

import re

import pytest
import tensorflow as tf
from helpers.paths import ROOT

from vaeflow.distributed.strategies.graphs import graph


def test_no_other_module_makes_a_graph():
    makes = re.compile(r"^[^#\"]*\btf\.function\(|^@tf\.function", re.MULTILINE)
    found = [path.name for path in (ROOT / "vaeflow").rglob("*.py") if makes.search(path.read_text())]
    assert found == ["graphs.py"]


def test_a_branch_on_a_tensor_is_an_error():
    def halved(x):
        return x / 2 if tf.reduce_sum(x) > 0 else x

    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError, match=r"symbolic `tf\.Tensor` as a Python `bool`"):
        graph(halved)(tf.constant([1.0]))
