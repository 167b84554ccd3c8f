"""A model with two groups of latents, labels, a penalty and a loss over the batch: a run like any other."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from helpers import everywhere, two_groups
from helpers.cut_runs import cut_back
from helpers.jobs import job, summary_of
from helpers.paths import HELPERS
from helpers.rules import found_by
from helpers.small_runs import SHORT, SMALL, on, rows, write_digits
from helpers.small_runs import vaeflow as run_vaeflow
from helpers.tiers import few

import vaeflow
from vaeflow.cli import main
from vaeflow.errors import UsageError
from vaeflow.plots import samples, traversals
from vaeflow.plots.examples import Examples
from vaeflow.plugin_kit.scaffold import write_plugin

PLUGIN = ("--plugin", str(HELPERS / "two_groups.py"))
GROUPS = ("top", "low-maps")
MODEL = ("model=two-groups", "objective=centred", "condition.labels=true")
FEW = ("batch_size=10", "microbatches=4", "steps=9", "log.every_steps=3", "checkpoint.every_steps=4")
BROKEN = {
    ("model", "group-of-the-wrong-sign"): ("importance", r"KL\(q, p\), the sum of kl_terms, and the mean of log q"),
    ("model", "group-of-the-batch"): ("rows", r"kl_terms of top of examples beside other ones: .* apart"),
    ("model", "forgotten-group"): (
        "shapes",
        r"terms returned kl_terms top; expected a dict of its groups in order: top",
    ),
    ("model", "half-of-log-q"): ("importance", r"KL\(q, p\), the sum of kl_terms, and the mean of log q"),
    ("model", "still-group"): ("noise", r"z of top does not change with the noise of top"),
    ("model", "ignored-labels"): ("labels", r"the terms do not change with the labels"),
    ("model", "labels-of-q-alone"): ("labels", r"generated examples do not change with the labels"),
    ("model", "penalty-of-others"): ("rows", r"the penalty of examples beside other ones: .* apart"),
    ("model", "player-of-the-decoder"): (
        "shapes",
        r"model 'player-of-the-decoder' of .* player 'critic' would train 'decoder/.*', which is a weight of the model",
    ),
    ("model", "silent-group"): ("shapes", r"group 'low-maps' has noise_size = 0, so its latents can't be random"),
    ("model", "undeclared-part"): ("shapes", r"builds the config's prior, but does not declare it"),
    ("model", "state-that-sums"): ("rows", r"average after a step with each example twice \(it must be an average"),
    ("model", "state-of-padding"): ("rows", r"average after a step with other padding \(use valid\): "),
    ("model", "mean-over-pixels"): ("decode", r"log_likelihood and the log-density of x by p_x: .* apart"),
    ("model", "unused-latents"): ("decode", r"what decode returns does not change with z"),
    ("model", "random-numbers"): ("noise", r"z of top from the same noise twice: .* apart"),
    ("model", "same-noise"): ("noise", r"z of low-maps does not change with the noise of low-maps"),
    ("model", "deaf-temperature"): ("noise", r"examples generated at temperature 0: .* apart"),
    ("objective", "padding-leaks"): ("padding", r"losses of examples beside other padding \(use terms\.valid\)"),
    ("objective", "hidden-batch"): ("loss", r"losses of examples beside other ones: .* apart"),
}

USUAL = [
    *(
        ("model", name)
        for name in ("group-of-the-wrong-sign", "group-of-the-batch", "ignored-labels", "state-that-sums")
    ),
    *(("model", name) for name in ("mean-over-pixels", "same-noise")),
    *(("objective", name) for name in ("padding-leaks", "hidden-batch")),
]
"""The others are repetitions: more mistakes that these rules find."""

OF_VALUES = ("shapes", "noise", "rows", "importance", "decode", "labels", "loss", "padding")
"""Rules that compile no step; with --all the others run too, and find nothing more."""


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist_content):
    """41 training digits and 33 test digits: last batches of one example and of three."""
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content, train=41, test=33)


def of(data, *settings):
    return ["mnist-2d", "dataset=arrays", f"dataset.path={data}", *SHORT, *MODEL, *FEW, *settings, *PLUGIN]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, digits):
    """A run on one device, with pictures and TensorBoard."""
    run = tmp_path_factory.mktemp("alone") / "run"
    pictures = ("log.tensorboard=true", 'plots.draw=["latents","samples","traversals","reconstructions","curves"]')
    assert job("single", 1, "train", *of(digits, *pictures), "--run-dir", run).codes == [0]
    return run


@pytest.mark.slow
@pytest.mark.distributed
def test_two_replicas_have_the_bits_of_one(tmp_path, digits, alone):
    done = job("mirrored", 2, "train", *of(digits), "--run-dir", tmp_path / "run")
    assert done.codes == [0], done.outputs
    assert summary_of(tmp_path / "run")["state_sha256"] == summary_of(alone)["state_sha256"]
    assert summary_of(tmp_path / "run")["metrics"] == summary_of(alone)["metrics"]


@pytest.mark.slow
def test_a_run_that_lost_its_end_is_resumed(tmp_path, alone):
    run = cut_back(shutil.copytree(alone, tmp_path / "run"), 4)
    done = job("mirrored", 2, "resume", run, "--strategy", "mirrored", "strategy.replicas=2", *PLUGIN)
    assert done.codes == [0], done.outputs
    assert "resuming from step 4 of 9" in done.outputs[0]
    assert summary_of(run)["state_sha256"] == summary_of(alone)["state_sha256"]
    assert rows(run) == rows(alone)


@pytest.mark.slow
def test_logs_have_the_divergence_of_each_group(alone):
    *_, log, evaluation = rows(alone)
    assert log["train/kl"] == pytest.approx(sum(log[f"train/kl/{name}"] for name in GROUPS), rel=1e-5)
    assert evaluation["test/kl"] == pytest.approx(sum(evaluation[f"test/kl/{name}"] for name in GROUPS), rel=1e-5)
    active = [evaluation[f"test/active_units/{name}"] for name in GROUPS]
    assert evaluation["test/active_units"] == sum(active)
    assert log["train/penalty"] > 0.0
    assert {path.stem for path in (alone / "plots").glob("*.png")} == {
        "latents",
        "samples",
        "traversals",
        "reconstructions",
        "curves",
    }
    assert {path.name for path in (alone / "tensorboard").glob("latents*")} == {
        f"latents_{name}.tsv" for name in GROUPS
    }


@pytest.mark.slow
def test_the_config_has_only_keys_that_the_model_uses(alone):
    text = (alone / "config.toml").read_text()
    assert 'name = "two-groups"' in text
    assert "[likelihood]" in text
    assert not re.search(r"^\[(encoder|decoder|posterior|prior)\]|^latent_size", text, re.MULTILINE)


@pytest.mark.slow
def test_latents_come_and_go_by_group(alone):
    run = vaeflow.load(alone, plugins=PLUGIN[1:])
    x, y = run.examples("test", 5), run.labels("test", 5)
    z = run.encode(x, labels=y)
    assert {name: one.shape for name, one in z.items()} == {"top": (5, 3), "low-maps": (5, 2, 2, 1)}
    np.testing.assert_array_equal(run.decode(z, labels=y), run.reconstruct(x, labels=y))
    assert run.elbo(x, labels=y).shape == (5,)
    threes = run.sample(4, labels=3)
    np.testing.assert_array_equal(threes, run.sample(4, labels=[3, 3, 3, 3]))
    assert not np.array_equal(threes, run.sample(4, labels=4))
    typical = run.sample(4, labels=3, temperature=0.0)
    np.testing.assert_allclose(typical, typical[:1].repeat(4, axis=0), atol=1e-6)
    with pytest.raises(UsageError, match="this model is conditional: give the label of each example, 0 to 9"):
        run.encode(x)
    with pytest.raises(UsageError, match="label 10 is not one of the 10 classes 0 to 9"):
        run.sample(2, labels=10)
    with pytest.raises(UsageError, match="several groups of latents: give z as a dict of top, low-maps"):
        run.decode(z["top"], labels=y)


@pytest.mark.slow
def test_a_row_of_samples_draws_one_group_again(alone):
    """The other groups keep their noise: a row of the top changes it alone, and so does one of the maps."""
    trained = vaeflow.load(alone, plugins=PLUGIN[1:]).trained
    seen = []
    generate = trained.generate

    def watched(noise, **given):
        seen.append(np.array(noise))
        return generate(noise, **given)

    object.__setattr__(trained, "generate", watched)
    picture = samples.picture_by_group(trained, side=5)
    rows = seen[-1].reshape(2, 5, 7)  # 3 numbers of the top, 4 of the maps
    assert (np.ptp(rows[0, :, :3], axis=0) > 0.1).all()
    assert (np.ptp(rows[1, :, 3:], axis=0) > 0.1).all()
    assert not np.ptp(rows[0, :, 3:], axis=0).any()
    assert not np.ptp(rows[1, :, :3], axis=0).any()
    assert picture.shape == (58, 148, 1)


@pytest.mark.slow
def test_a_traversal_changes_one_latent_of_one_group(alone):
    run = vaeflow.load(alone, plugins=PLUGIN[1:])
    x, y = run.examples("test", 5), run.labels("test", 5)
    traversal = traversals.Traversal.of(run.trained, Examples("test", x, y), rows=4, columns=3)
    assert traversal.groups == ("top", "top", "low-maps", "low-maps")
    for row, (name, dimension) in enumerate(zip(traversal.groups, traversal.dimensions, strict=True)):
        z = run.encode(x[:1], labels=y[:1])
        z[name].reshape(-1)[dimension] = traversal.values[2]
        image = traversal.images[3 * row + 2]
        np.testing.assert_allclose(image, run.decode(z, labels=y[:1])[0], atol=1e-5)


@pytest.mark.slow
def test_samples_of_one_label_on_the_command_line(alone, tmp_path):
    assert main(["sample", str(alone), "--label", "3", "--count", "4", "--out", f"{tmp_path}/a.npy", *PLUGIN]) == 0
    assert np.load(tmp_path / "a.npy").shape == (4, 28, 28, 1)
    assert main(["sample", str(alone), "--label", "10", "--out", f"{tmp_path}/b.npy", *PLUGIN]) == 2


def test_a_key_that_the_model_does_not_use_is_an_error(digits, tmp_path, capsys):
    assert main(["train", *of(digits, *SMALL), "--run-dir", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "vaeflow: command line: encoder has no effect: model 'two-groups' does not use it (of latent_size, encoder, "
        "posterior, prior, decoder, likelihood it uses likelihood)"
    )


def test_a_prior_without_gradient_in_warm_up_is_no_warning(digits):
    """At the first step the divergence has no weight, and the prior of a lower group is in it alone."""
    warm_up, never = "kl_schedule={name='linear', epochs=2}", "kl_schedule={name='constant', weight=0}"
    rising, none = (run_vaeflow("train", *of(digits, "objective=elbo", one), "--dry-run") for one in (warm_up, never))
    assert (rising.returncode, none.returncode) == (0, 0), rising.stderr + none.stderr
    assert "it will not learn" not in rising.stdout
    assert "the gradient of every weight of the prior is 0 for 16 training" in none.stdout


@pytest.mark.distributed
def test_the_model_of_the_docs_has_the_same_bits_on_two_replicas(tmp_path):
    """As docs/paper-to-plugin.md says of what `vaeflow plugins new model two-layers` writes."""
    write_plugin("model", "two-layers", tmp_path)
    module = tmp_path / "vaeflow-two-layers" / "vaeflow_two_layers.py"
    run = ("mnist-mlp-20", "model=two-layers", f"--plugin={module}")
    alone = everywhere.trained("single", 1, tmp_path / "one-replica", *run)
    assert everywhere.trained("mirrored", 2, tmp_path / "two-replicas", *run) == alone


@pytest.mark.parametrize("labels", [False, True])
def test_labels_that_are_not_there_are_an_error(tmp_path, mnist_content, capsys, labels):
    data = write_digits(tmp_path / "digits.npz", mnist_content, train=41, test=33, labels=labels)
    if labels:
        with np.load(data) as arrays:
            np.savez(data, **{**arrays, "y_test": arrays["y_test"] + 5})
    assert main(["train", "mnist-2d", *on(data, "condition.labels=true"), "--run-dir", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("vaeflow: condition.labels = true, but the ")
    assert ("has label 14" if labels else "has no labels") in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_conditional_single_layer_depends_on_the_label(tmp_path, digits):
    run = tmp_path / "run"
    settings = on(digits, "condition.labels=true", "steps=3", "encoder=conv-mnist", 'plots.draw=["samples"]')
    settings = [one for one in settings if one != "encoder.hidden=[8]"]
    assert main(["train", "mnist-2d", *settings, "--run-dir", str(run)]) == 0
    loaded = vaeflow.load(run)
    assert loaded.experiment.model.encoder.input_shape == (None, 28, 28, 11)
    z = np.zeros((2, 2), np.float32)
    assert not np.array_equal(*loaded.decode(z, labels=[0, 1]))


@pytest.fixture(scope="module")
def found(request):
    """What the rules find of the models and losses that are wrong, and of those that are right."""
    rules = () if request.config.getoption("--all") else OF_VALUES
    asked = [(component, rules, {}) for component in (BROKEN if request.config.getoption("--all") else USUAL)]
    right = [((one.kind, one.name), rules, {}) for one in two_groups.vaeflow_components()]
    return found_by([*asked, *right], HELPERS / "two_groups.py", HELPERS / "broken_models.py")


@pytest.mark.slow
@pytest.mark.parametrize("component", few(BROKEN, *USUAL), ids=lambda component: component[1])
def test_a_wrong_model_breaks_one_rule(component, found):
    rule, message = BROKEN[component]
    broken = {name: why for name, outcome, why in found[component] if outcome == "broken"}
    assert list(broken) == [rule], broken
    assert re.search(message, broken[rule]), broken


@pytest.mark.slow
@pytest.mark.parametrize("component", [("model", "two-groups"), ("objective", "centred")], ids=lambda one: one[1])
def test_nothing_is_found_of_those_that_are_right(component, found):
    assert [row for row in found[component] if row[1] != "ok"] == []
