"""The log-likelihood of a run: what is reported, interrupted and resumed."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from helpers.tiers import few, repeated

import vaeflow
from vaeflow.distributed.strategies.processes import Processes
from vaeflow.engine.importance import ImportanceSampler
from vaeflow.errors import UsageError
from vaeflow.runtime.memory import parse_bytes
from vaeflow.training import log_likelihood
from vaeflow.training.log_likelihood import Request, figures, log_likelihood_of

pytestmark = pytest.mark.slow  # it trains or samples for seconds

SETTINGS = {
    "dataset": {"name": "digits", "train_examples": 60, "test_examples": 47},
    "encoder.hidden": [4],
    "decoder.hidden": [4],
    "latent_size": 2,
}


@pytest.fixture(scope="module")
def experiment():
    return vaeflow.start("mnist-mlp-20", overrides=SETTINGS).experiment


def estimate(experiment, *, samples=250, path=None, memory=None):
    return log_likelihood_of(experiment, Request("test", samples, memory), Processes(experiment.strategy), path)


def test_figures_have_the_errors(experiment):
    found = estimate(experiment)
    values = figures("test", found)
    assert values["test/nll"] == -found.values.mean()
    assert values["test/nll_standard_error"] == pytest.approx(found.values.std(ddof=1) / math.sqrt(47))
    assert 0.0 < values["test/nll_monte_carlo_error"] < 0.05
    assert 1.0 < values["test/effective_samples"] < 250.0


@pytest.mark.parametrize("memory", few(["2MB", "20MiB", "1GiB"], "2MB", "1GiB"))
def test_no_budget_changes_a_bit(experiment, memory):
    found = estimate(experiment, memory=parse_bytes("--memory", memory))
    assert np.array_equal(found.values, estimate(experiment).values)


def test_interrupted_and_resumed(experiment, tmp_path, monkeypatch, capfd):
    """Ctrl-C in the third call; the next command computes the rest only, with the same bits."""
    results, calls = ImportanceSampler.results, []

    def interrupted(sampler, first, share):
        calls.append(first)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return results(sampler, first, share)

    path = tmp_path / "evaluation-test.unfinished.json"
    monkeypatch.setattr(ImportanceSampler, "results", interrupted)
    monkeypatch.setattr(log_likelihood, "SECONDS_PER_CALL", 0.0)  # a group per call
    with pytest.raises(KeyboardInterrupt):
        estimate(experiment, path=path)
    assert path.is_file()
    found = estimate(experiment, path=path)
    assert "resuming the estimate at example 20" in capfd.readouterr().err
    assert calls == [0, 1, 2, 2, 3, 4]
    assert not path.exists()
    assert np.array_equal(found.values, estimate(experiment).values)


@pytest.mark.parametrize("content", ["{", repeated('{"key": 1}'), '{"key": 1, "columns": "?"}', None])
def test_what_is_no_result_of_this_estimate_is_not_used(experiment, tmp_path, capfd, content):
    path = tmp_path / "evaluation-test.unfinished.json"
    path.write_text(json.dumps({"key": {"samples": 3}, "columns": ""}) if content is None else content)
    found = estimate(experiment, path=path)
    assert "the estimate starts from the first example" in capfd.readouterr().err
    assert np.array_equal(found.values, estimate(experiment).values)


def test_a_budget_below_one_tile_is_one_line(experiment):
    with pytest.raises(UsageError, match=r"100 importance samples at once need about \d+ MiB, but 0 MiB is the budget"):
        estimate(experiment, memory=10.0)


def test_a_split_that_is_not_there(experiment):
    with pytest.raises(UsageError, match="has no split 'validation'; available: train, test"):
        log_likelihood_of(experiment, Request("validation", 3), Processes(experiment.strategy))


@pytest.mark.parametrize("text", ["4", "GiB", "-1GiB", "0MiB", "1e3MB", "4GiBs", "4TiB"])
def test_what_is_not_a_size(text):
    with pytest.raises(UsageError, match=r"--memory: '.*' is not a size such as 500MiB"):
        parse_bytes("--memory", text)
