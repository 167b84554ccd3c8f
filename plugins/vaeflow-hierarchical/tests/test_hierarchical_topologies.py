"""Each model on each topology, and killed with SIGKILL and resumed on another one: the same bits. Repetitions alone."""

from __future__ import annotations

import sys

import pytest

everywhere = pytest.importorskip("helpers.everywhere", reason="needs tests/helpers of the repository of vaeflow")
jobs = pytest.importorskip("helpers.jobs")

LEVELS = "model.levels=[{latent_size=3,hidden=[8]},{latent_size=2,hidden=[5]}]"
MODELS = {
    "stochastic-layers": ("burda-2", LEVELS, "model.normalization=none"),
    "ladder": ("ladder-mnist", LEVELS),
    "residual-hierarchy": ("residual-mnist", "model.groups=[1,2]", "model.channels=2", "model.width=6"),
}
LABELS = "condition.labels=true"
MODELS |= {f"{name}, conditional": (*given, LABELS) for name, given in MODELS.items()}
ELSEWHERE = {"stochastic-layers": ("horovod", 3), "ladder": ("horovod", 2), "residual-hierarchy": ("mirrored", 3)}
ELSEWHERE |= {f"{name}, conditional": where for name, where in ELSEWHERE.items()}

pytestmark = [pytest.mark.repetition, pytest.mark.distributed]


def arguments(model):
    """Return the recipe of a model and what makes it small."""
    return (*MODELS[model], "--plugin=vaeflow_hierarchical")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The state of each model's run on one device, by its name."""
    folder, found = tmp_path_factory.mktemp("alone"), {}
    for model in MODELS:
        found[model] = everywhere.trained("single", 1, folder / model, *arguments(model))
    return found


@pytest.mark.parametrize(("kind", "count"), jobs.TOPOLOGIES)
@pytest.mark.parametrize("model", MODELS)
def test_the_same_bits_on_any_topology(model, kind, count, alone, tmp_path):
    assert everywhere.trained(kind, count, tmp_path / "run", *arguments(model)) == alone[model]
    sys.stdout.write(f"| `{model}` | {kind} x{count} | `{alone[model]}` |\n")  # of the README, by pytest -s


@pytest.mark.parametrize("model", MODELS)
def test_killed_and_resumed_on_another_strategy(model, alone, tmp_path):
    kind, count = ELSEWHERE[model]
    assert everywhere.killed_and_resumed(kind, count, tmp_path, *arguments(model)) == alone[model]
    sys.stdout.write(f"| `{model}` | single, killed, then {kind} x{count} | `{alone[model]}` |\n")
