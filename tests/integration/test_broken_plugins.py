"""Plugins that are wrong: each is caught, at load or by `plugins check`, with one line that names the culprit."""

from __future__ import annotations

import re

import pytest
from helpers import broken_beside, broken_latents, broken_modes, broken_plugins
from helpers.paths import HELPERS
from helpers.plugin_packages import GOOD, site_in
from helpers.rules import found_by
from helpers.small_runs import vaeflow
from helpers.tiers import few

from vaeflow.cli import main

OTHER_STEPS = r"after 2 steps on 2 replicas of another process and on 1: .* differ: "
FILES = ("broken_plugins.py", "broken_latents.py", "broken_beside.py", "broken_modes.py")
IDLE = r"layer 'dropout\S*' \(Dropout\) is called with training=False in training: it has no effect; call it"

AT_LOAD = {
    "raises at import": ("raise RuntimeError('boo')", r"RuntimeError: boo"),
    "missing dependency": ("import no_such_package", r"ModuleNotFoundError: No module named 'no_such_package'"),
    "wrong signature": (
        GOOD.replace("x_shape: tuple[int, ...], ", ""),
        r"encoder 'resnet': its build function takes 0 positional parameters, not 1",
    ),
    "misspelt hook": (GOOD.replace("vaeflow_components", "vaeflow_component"), r"did you mean 'vaeflow_components'\?"),
    "wrong record type": (
        "@hookimpl\ndef vaeflow_components():\n    yield ('encoder', 'x', print)",
        r"must yield Component records, but yielded \('encoder', 'x'",
    ),
}

BY_CHECK = {
    ("encoder", "wrong-shape"): ("shapes", r"the output for 1 rows has shape \(1, 2, 4\), not \(1, 'any'\)"),
    ("encoder", "not-differentiable"): ("gradients", r"no gradient reaches .*kernel"),
    ("encoder", "mixes-rows"): ("rows", r"outputs of valid rows beside other padded rows: .* apart"),
    ("encoder", "depends-on-the-replica"): (
        "bits",
        r"after 2 steps on 2 replicas of another process and on 1: .* differ: ",
    ),
    ("encoder", "writes-from-every-rank"): (
        "side-effects",
        r"it writes built\.log, which every rank of a job would do",
    ),
    ("encoder", "pickles"): ("side-effects", r"it calls pickle\.dumps .*pickle\.loads .*: pickle is not allowed"),
    ("likelihood", "float64-leak"): ("shapes", r"log p\(x given z\) is float64, not float32"),
    ("encoder", "of-a-family"): ("side-effects", r"it writes built\.log, which every rank of a job would do"),
    ("likelihood", "averages-over-pixels"): (
        "density",
        r"p\(x given z\) of 4 pairs of elements adds up to 1\.[5-9]\d+, not to 1",
    ),
    ("likelihood", "likelihood-mixes-examples"): (
        "rows",
        r"log p\(x given z\) of examples beside other ones: .* apart",
    ),
    ("likelihood", "forgets-the-constant-of-its-scale"): ("density", r"p\(x given z\) from x = .* integrates to "),
    ("posterior", "posterior-mixes-examples"): ("rows", r"z of examples beside other ones: .* apart"),
    ("prior", "prior-mixes-examples"): ("rows", r"terms of KL\(q, p\) of examples beside other ones: .* apart"),
    ("metric", "other-on-each-replica"): (
        "bits",
        r"an evaluation on 2 replicas of another process and on 1: test/other-on-each-replica differ: ",
    ),
    ("dataset", "reads-a-pickle"): ("examples", r"it calls pickle\.dumps .*pickle\.loads .*: pickle is not allowed"),
    ("plot", "pickles-its-figure"): ("picture", r"it calls pickle\.Pickler\.dump \(.*\): pickle is not allowed"),
    ("prior", "variable-in-no-layer"): (
        "gradients",
        r"prior 'variable-in-no-layer' of .* uses variable 'mu:0' of shape \(2,\), which is in no Keras layer",
    ),
    ("objective", "objective-with-a-weight"): (
        "gradients",
        r"objective 'objective-with-a-weight' of .* uses variable 'weight:0' of shape \(\), which is in no Keras layer",
    ),
    ("dataset", "labels-in-columns"): ("examples", r"train\.y is int64 of shape \(4, 4\), not \[N\] integers"),
    ("dataset", "bytes-of-bits"): ("examples", r"train\.x is 0 or 1 in every byte, but bytes are divided by 255"),
    ("dataset", "late-nan"): ("examples", r"train\.x\[3000\] has values that are not finite"),
    ("callback", "forgets-what-it-waited-for"): (
        "resumed",
        r"stopped after epoch 5 and resumed, it requests Asked\(stop='', .* after epoch 8, but Asked\(stop='it gets no",
    ),
    ("callback", "raises-on-exception"): ("life", r"on_exception: TypeError: no such error: made up"),
    ("posterior", "stateful-noise"): ("noise", r"z from the same noise twice: .* apart"),
    ("posterior", "does-not-normalise"): ("density", r"q\(z given x\) integrates to 0\.1[5-8]\d+ .*, not to 1"),
    ("posterior", "own-kl-without-its-variance"): (
        "divergence",
        r"KL\(q, p\) in closed form, by the posterior, is \d.* nats, but \d.* by samples",
    ),
    ("prior", "kl-of-the-wrong-sign"): (
        "divergence",
        r"KL\(q, p\) in closed form, by the prior, is -.* nats, but .* by samples",
    ),
    ("encoder", "drawn-at-import"): ("bits", OTHER_STEPS),
    ("decoder", "logits-in-half-precision"): ("parameters", r"the output in mixed_bfloat16 is bfloat16, not float32"),
    ("posterior", "stops-the-gradient"): ("reparameterized", r"there is no gradient of z\[\.\.\., 0\] with respect to"),
    ("prior", "normal-in-two-dimensions"): ("density", r"with D = 1: p\(z\) integrates to 2\.[45]\d* .*, not to 1"),
    ("objective", "penalty-of-the-batch"): ("loss", r"losses of examples beside other ones: .* apart"),
    ("objective", "kernel-of-the-batch"): ("loss", r"losses of examples beside other ones: .* apart"),
    ("objective", "penalty-of-the-wrong-sign"): ("loss", r"the loss falls if KL\(q, p\) rises"),
    ("schedule", "free-bits-of-the-batch"): ("weight", r"penalties at step 0 of examples beside others .* apart"),
    ("optimizer", "ignores-the-rate"): ("descent", r"100 steps at the learning rates 0\.01 and 0\.001 both end at "),
    ("learning_rate", "falls-with-each-call"): (
        "rate",
        r"the learning rate at step 0 is 0\.001, but 0.* when computed again",
    ),
    ("dataset", "other-in-each-process"): ("examples", r"train\.x differs in another process"),
    ("dataset", "ordered-by-a-set"): ("examples", r"train\.y differs in another process, with PYTHONHASHSEED"),
    ("dataset", "late-examples-drawn-again"): ("examples", r"train\.x differs when built again"),
    ("callback", "reads-evaluations-in-logs"): ("life", r"on_log: KeyError: 'validation/elbo'"),
    ("callback", "needs-validation"): (
        "life",
        r"without a validation split: on_evaluation: KeyError: 'valid",
    ),
    ("callback", "overwrites-its-log"): (
        "resumed",
        r"stopped after epoch 1 and resumed, bounds\.csv has lost its earlier content",
    ),
    ("callback", "retraces-every-step"): ("life", r"on_steps traces .* at every call"),
    ("callback", "writes-elsewhere"): ("files", r"it writes elsewhere\.log, which is not below the run's directory"),
    ("posterior", "inert-normalization"): (
        "modes",
        r"\(BatchNormalization\) is called with training=False in training: its state \(.*moving_mean, .*\) never",
    ),
    ("posterior", "still-average"): (
        "modes",
        r"average of layer 'centred' \(Centred\) never changes in training, although evaluations use it",
    ),
    ("encoder", "idle-dropout"): ("modes", IDLE),
    ("decoder", "uncalled-dropout"): (
        "modes",
        r"layer 'dropout\S*' \(Dropout\) is never called, so it has no effect in",
    ),
    ("likelihood", "idle-likelihood"): ("modes", IDLE),
    ("prior", "idle-prior"): ("modes", IDLE),
    ("callback", "misspelt-moment"): ("life", r"has an unknown method on_evaluate; did you mean 'on_evaluation'\?"),
}


@pytest.mark.parametrize("case", AT_LOAD)
def test_caught_at_load(case, tmp_path, monkeypatch, capsys):
    source, reason = AT_LOAD[case]
    with site_in(tmp_path, monkeypatch) as site:
        name = site.module(source)
        assert main(["plugins", "--plugin", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(rf"vaeflow: plugin {name} \(--plugin\) was not loaded: .*{reason}", line), line


def test_duplicate_names_are_caught_at_load(tmp_path, monkeypatch, capsys):
    with site_in(tmp_path, monkeypatch) as site:
        site.install(GOOD, "vaeflow-one", "1.0")
        site.install(GOOD, "vaeflow-two", "2.0")
        assert main(["plugins"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "encoder 'resnet' is registered twice: by " in line
    assert re.search(r"vaeflow-one 1\.0 \(module", line)
    assert re.search(r"vaeflow-two 2\.0 \(module", line)


FIRST = {(kind, rule): (kind, name) for (kind, name), (rule, _) in reversed(BY_CHECK.items())}.values()
"""A component of each kind that breaks each rule; the others are repetitions."""


@pytest.fixture(scope="module")
def found(request, tmp_path_factory):
    """What the rules find, by component."""
    chosen = BY_CHECK if request.config.getoption("--all") else FIRST
    asked = [(component, [BY_CHECK[component][0]], {}) for component in chosen]
    folder = tmp_path_factory.mktemp("broken")
    rows = found_by(asked, *(HELPERS / name for name in FILES), cwd=folder)
    return {component: (outcome, message) for component, ((_, outcome, message),) in rows.items()}


@pytest.mark.slow
@pytest.mark.parametrize("component", few(BY_CHECK, *FIRST), ids=lambda component: component[1])
def test_caught_by_check(component, found):
    outcome, message = found[component]
    assert outcome == "broken"
    assert "\n" not in message
    assert re.search(BY_CHECK[component][1], message), message


def test_every_broken_component_has_its_case():
    modules = (broken_plugins, broken_latents, broken_beside, broken_modes)
    components = {(one.kind, one.name) for module in modules for one in module.vaeflow_components()}
    assert components == set(BY_CHECK)
    assert len(AT_LOAD) + 1 + len(BY_CHECK) >= 15


@pytest.mark.slow
def test_the_command_names_the_culprit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["plugins", "check", "encoder", "wrong-shape", "--plugin", str(HELPERS / "broken_plugins.py")]
    done = vaeflow(*arguments, "--rule=shapes", "--rule=rows")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    label = r"encoder 'wrong-shape' of .*broken_plugins\.py \(--plugin\)"
    assert re.match(rf"vaeflow: {label} breaks the rule 'shapes': the output for 1 rows has shape \(1, 2, 4\)", line)
    assert re.search(r"^  BROKEN    shapes ", done.stdout, re.MULTILINE)
    assert re.search(r"^  skipped   rows +not run, because the rule 'shapes' is broken", done.stdout, re.MULTILINE)
