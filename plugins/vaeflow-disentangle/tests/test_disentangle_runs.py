"""Runs of the real command with FactorVAE: the same bits on any topology, the discriminator's loss, the scores."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
from vaeflow_disentangle.factors import factors_of
from vaeflow_disentangle.scores import scores

from vaeflow import evaluate
from vaeflow.plugins.registry import Registry

everywhere = pytest.importorskip("helpers.everywhere", reason="needs tests/helpers of the repository of vaeflow")
jobs = pytest.importorskip("helpers.jobs")

PLUGIN = "--plugin=vaeflow_disentangle"
SMALL = (
    *("dataset={name='shapes', train_examples=41, test_examples=33, label='none'}", "latent_size=3"),
    *("encoder={name='mlp', hidden=[8]}", "decoder={name='mlp', hidden=[8]}"),
    "objective={name='factor-vae', hidden=[16], discriminator_rate=0.01}",
    "evaluate.every_epochs=15",
)
RUN = ("factor-shapes", *SMALL, PLUGIN)
SHORT = ("steps=8", "optimizer=sgd", "learning_rate=1e-4")
ELSEWHERE = ("horovod", 3) if importlib.util.find_spec("horovod") else ("mirrored", 3)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run on one device."""
    run = tmp_path_factory.mktemp("alone") / "run"
    everywhere.trained("single", 1, run, *RUN, *SHORT, "log.every_steps=2")
    return run


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize(("kind", "count"), jobs.usual(jobs.TOPOLOGIES, "mirrored x2"))
def test_the_same_bits_on_any_topology(kind, count, alone, tmp_path):
    """The second batch of each epoch is padded in some microbatches."""
    run = tmp_path / "run"
    assert everywhere.trained(kind, count, run, *RUN, *SHORT, "callbacks=[]") == everywhere.state_of(alone)


@pytest.mark.repetition
@pytest.mark.distributed
def test_killed_and_resumed_on_another_strategy(tmp_path):
    alone = everywhere.trained("single", 1, tmp_path / "alone", *RUN)
    assert everywhere.killed_and_resumed(*ELSEWHERE, tmp_path, *RUN) == alone


@pytest.mark.slow
def test_the_discriminators_loss_is_logged(alone):
    rows = [json.loads(line) for line in (alone / "metrics.jsonl").read_text().splitlines()]
    losses = [row["train/loss/discriminator"] for row in rows if "train/loss/discriminator" in row]
    assert len(losses) == 4
    assert 0.0 < losses[-1] < losses[0]


@pytest.mark.slow
def test_the_callback_writes_the_scores_of_the_run(alone):
    """Those of the posteriors' means on the test split, computed here from the saved run."""
    import vaeflow

    run = vaeflow.load(alone, plugins=["vaeflow_disentangle"])
    found = json.loads((alone / "disentanglement.json").read_text())
    expected = scores(run.encode(run.prepare(run.dataset.test.x[:33])), factors_of(run.dataset))
    assert (found["split"], found["examples"]) == ("test", 33)
    assert [found["mig"], found["sap"]] == pytest.approx([expected.mig, expected.sap], abs=1e-6)
    np.testing.assert_allclose(list(found["information"].values()), expected.information.T, atol=1e-6)
    assert found["dci_lasso"]["completeness"] == pytest.approx(expected.dci_lasso.completeness, abs=1e-4)
    assert (alone / "disentanglement.png").read_bytes().startswith(b"\x89PNG")


def test_it_is_registered_with_its_recipes():
    registry = Registry.load(["vaeflow_disentangle"])
    assert registry.get("objective", "factor-vae").summary.startswith("FactorVAE (Kim and Mnih 2018)")
    assert {"factor-shapes", "factor-shapes-full", "tc-shapes", "tc-shapes-full"} <= {
        one.name for one in registry.recipes()
    }


@pytest.mark.slow
def test_an_evaluation_can_name_the_scores(alone):
    """They are those that the callback wrote."""
    found = evaluate(alone, metrics=["disentanglement"], plugins=["vaeflow_disentangle"])["metrics"]
    written = json.loads((alone / "disentanglement.json").read_text())
    assert found["test/disentanglement/mig"] == pytest.approx(written["mig"], abs=1e-5)
    assert found["test/disentanglement/sap"] == pytest.approx(written["sap"], abs=1e-5)
    completeness = written["dci_lasso"]["completeness"]
    assert found["test/disentanglement/dci_completeness"] == pytest.approx(completeness, abs=1e-4)
