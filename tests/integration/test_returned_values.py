"""A component that returns something else than the next one takes: one line in its name, before the disk is touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.paths import HELPERS
from helpers.small_runs import on

from vaeflow.cli import main

PLUGIN = HELPERS / "wrong_shapes.py"
X = "x float32 [3, 4, 4, 1]"
CASES = {
    ("encoder", "maps"): f"returned for {X}: float32 [3, 4, 4, 8]; expected features [B, F], floats: end with",
    ("encoder", "two"): f"returned for {X}: 2 outputs (a tuple); expected features [B, F], floats: return one",
    ("encoder", "list"): "1 output (a list); expected features [B, F], floats: return one tensor; several can",
    ("encoder", "dict"): "1 output (a dict); expected features [B, F]",
    ("encoder", "rows"): "float32 [2, 128]; expected features [B, F], floats: return one tensor, with one row",
    ("encoder", "integers"): "int32 [3, 128]; expected features [B, F], floats",
    ("encoder", "scalar"): "float32 []; expected features [B, F], floats: end with keras.layers.Flatten()",
    ("encoder", "varying"): "returned for x of 2 examples of ones: float32 [2, 4]; expected features [B, 3], as for",
    ("encoder", "fails"): f"failed on {X}: InvalidArgumentError:",
    ("decoder", "flat"): "decoder 'wrong' returns shape (16,), but likelihood 'bernoulli' needs (4, 4, 1) for examp",
    ("decoder", "two"): "2 outputs (a tuple); expected parameters [B, 4, 4, 1], floats: return one tensor",
    ("decoder", "integers"): "int32 [1, 4, 4, 1]; expected parameters [B, 4, 4, 1], floats",
    ("posterior", "pair"): "returned for features float32 [3, 8]: 2 outputs (a tuple); expected q(z given x) wi",
    ("posterior", "none"): "returned for features float32 [3, 8]: None; expected q(z given x)",
    ("posterior", "narrow"): "sample(noise) returned for noise float32 [2, 3, 2]: float32 [2, 3, 1]; expected z [",
    ("posterior", "alone"): "sample(noise) returned for noise float32 [2, 3, 2]: float32 [3, 2]; expected z [L,",
    ("posterior", "elements"): "float32 [2, 3, 2]; expected log q(z given x) [L, B], float32 in nats: here [2, 3];",
    ("posterior", "half"): "float16 [2, 3]; expected log q(z given x) [L, B], float32 in nats",
    ("posterior", "mean"): "mean() returned: float32 [2]; expected [B, D], floats: here [3, 2]",
    ("posterior", "fails"): "failed on noise float32 [2, 3, 2]: InvalidArgumentError:",
    ("prior", "elements"): "log_prob(z) returned for z float32 [2, 3, 2]: float32 [2, 3, 2]; expected log p(z)",
    ("prior", "total"): "log_prob(z) returned for z float32 [2, 3, 2]: float32 []; expected log p(z) [L, B]",
    ("prior", "closed"): "kl_terms returned for 3 examples: float32 [3]; expected [B, K], float32, or None if",
    ("likelihood", "elements"): f"log_prob(x) returned for {X}: float32 [2, 3, 4, 4, 1]; expected log p(x given z) [L",
    ("likelihood", "tensor"): "returned for parameters float32 [2, 3, 4, 4, 1]: float32 [2, 3, 4, 4, 1]; expected",
    ("likelihood", "bare"): "an object of type Bare, which has no sample, mean; expected p(x given z) with sampl",
    ("likelihood", "means"): "mean() returned: float32 []; expected [L, B, *X], floats: here [2, 3, 4, 4, 1]",
}


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_what_is_returned_is_named(case, tmp_path, monkeypatch, capfd):
    kind, returns = case
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", x_train=np.arange(20 * 16, dtype=np.uint8).reshape(20, 4, 4))
    settings = on(Path("data.npz"), "batch_size=4", f"{kind}=wrong", f"{kind}.returns={returns}", "steps=1")
    drop = ("encoder.hidden", "decoder.hidden", "encoder=mlp", "decoder=mlp")
    kept = [one for one in settings if not one.startswith(drop) or not one.startswith(kind)]
    assert main(["train", "mnist-2d", *kept, "--plugin", str(PLUGIN), "--run-dir", "made"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert CASES[case] in line
    assert f"{kind} 'wrong'" in line
    for words in ("function_node", "[Op:", "Arguments received", "\x1b"):
        assert words not in line
    assert not Path("made").exists()
