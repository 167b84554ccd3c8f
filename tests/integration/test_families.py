"""Families of models that one key of the config selects: one state on every topology, and killed and resumed."""

from __future__ import annotations

import pytest
from helpers import everywhere
from helpers.jobs import HOROVOD, TOPOLOGIES

FAMILIES = {
    "conditional": ("condition.labels=true",),
    "iwae": ("objective=iwae", "objective.samples=5"),
    "vamp": ("prior=vamp", "prior.components=3"),
}
RECIPE = ("mnist-mlp-20", "latent_size=3", "encoder.hidden=[8]", "decoder.hidden=[8]")
pytestmark = [pytest.mark.repetition, pytest.mark.distributed]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """The arguments of `train`, and the state of a run on one device."""
    arguments = (*RECIPE, *FAMILIES[request.param])
    return arguments, everywhere.trained("single", 1, tmp_path_factory.mktemp("alone") / "run", *arguments)


@pytest.mark.parametrize(("kind", "count"), TOPOLOGIES)
def test_the_same_bits_on_any_topology(family, kind, count, tmp_path):
    arguments, alone = family
    assert everywhere.trained(kind, count, tmp_path / "run", *arguments) == alone


@pytest.mark.horovod
@HOROVOD
def test_killed_and_resumed_on_another_strategy(family, tmp_path):
    arguments, alone = family
    assert everywhere.killed_and_resumed("horovod", 3, tmp_path, *arguments) == alone
