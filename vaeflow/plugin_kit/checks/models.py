"""Rules for models: terms by group, noise, padding, labels, and the divergence that samples estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vaeflow.data.batches import Batch
from vaeflow.engine.forward import forward
from vaeflow.errors import UsageError
from vaeflow.model.latents import generation_noise_size, noise_size
from vaeflow.plugin_kit.checks.densities import ERRORS
from vaeflow.plugin_kit.checks.require import SkippedRuleError, require, require_close, require_tensor
from vaeflow.plugin_kit.checks.rule import Rule
from vaeflow.plugin_kit.checks.subject import ROWS, VALID, beside, normal, require_same_rows, shake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaeflow.contracts import LatentVariableModel, Terms
    from vaeflow.engine.microbatch import Microbatches
    from vaeflow.plugin_kit.checks.subject import Subject
    from vaeflow.training.experiment import Experiment

DRAWS, FEW = 2_000, 2  # samples of z, and examples, to estimate the divergence


def _shaken(subject: Subject, *, labels: bool = False) -> Experiment:
    """Return a small run with changed weights: at the initial weights a wrong formula may be right."""
    experiment = subject.experiment(condition={"labels": labels})
    shake(experiment.model)
    return experiment


def _batch(experiment: Experiment, rows: int) -> tuple[Batch, int]:
    """Return the first examples, and the size of their noise."""
    return experiment.batches["train"].in_order(tf.constant(0, tf.int64), rows), noise_size(experiment.model.latents)


def shapes(subject: Subject) -> None:
    """Compute terms with 1 and 3 samples for 1, 2 and 7 examples; then means, decoded means and generated examples."""
    experiment = _shaken(subject)
    model, x_shape = experiment.model, experiment.model.x_shape
    for rows in (1, 2, ROWS):
        batch, width = _batch(experiment, rows)
        for samples in (1, 3):
            for training in (False, True):
                terms = forward(model, batch, normal(samples, rows, width), training=training)
                _require_terms(terms, model, samples, rows)
        means = model.encode(batch.x)
        for group in model.latents:
            require_tensor(means[group.name], f"encode's {group.name}", shape=(rows, *group.shape))
        noise = normal(rows, generation_noise_size(model.latents))
        for what, p_x in (("decode", model.decode(means)), ("generate", model.generate(noise, temperature=0.5))):
            require_tensor(p_x.mean(), f"the mean of what {what} returns", shape=(rows, *x_shape), dtype=None)


def _require_terms(terms: Terms, model: LatentVariableModel, samples: int, rows: int) -> None:
    require_tensor(terms.log_likelihood, "log p(x given z)", shape=(samples, rows))
    require_tensor(terms.log_q, "log q(z given x)", shape=(samples, rows))
    require_tensor(terms.log_p, "log p(z)", shape=(samples, rows))
    require_tensor(terms.p_x.mean(), "the mean of p(x given z)", shape=(samples, rows, *model.x_shape), dtype=None)
    if terms.penalty is not None:
        require_tensor(terms.penalty, "the penalty", shape=(rows,))
    names = [group.name for group in model.latents]
    for what, found in (("kl_terms", terms.kl_terms), ("z", terms.z)):
        require(list(found) == names, f"{what} has the groups {list(found)}, not {names}")
    for group in model.latents:
        require_tensor(terms.kl_terms[group.name], f"kl_terms of {group.name}", shape=(rows, None))
        require_tensor(terms.z[group.name], f"z of {group.name}", shape=(samples, rows, *group.shape))


def noise(subject: Subject) -> None:
    """Compute terms twice from the same noise, and with the noise of one group, or of other examples, changed."""
    experiment = _shaken(subject)
    model = experiment.model
    batch, width = _batch(experiment, ROWS)
    first = normal(3, ROWS, width)
    ours, again = (forward(model, batch, first, training=False) for _ in range(2))
    for name, z in ours.z.items():
        require_close(again.z[name], z, f"z of {name} from the same noise twice", within=0.0)
    theirs = forward(model, batch, beside(first, first + 1.0, axis=1), training=False)
    for name, z in ours.z.items():
        require_same_rows(theirs.z[name], z, f"z of {name} of examples whose own noise is the same", axis=1)
    for name, own in _slices(model, generating=False):
        changed = forward(model, batch, _moved(first, own), training=False)
        same = np.array_equal(changed.z[name], ours.z[name])
        require(not same, f"z of {name} does not change with the noise of {name}")
    _require_generation_noise(model)


def _require_generation_noise(model: LatentVariableModel) -> None:
    first = normal(ROWS, generation_noise_size(model.latents), name="generation")
    ours = np.asarray(model.generate(first).mean())
    require_close(model.generate(first).mean(), ours, "examples generated from the same noise twice", within=0.0)
    for name, own in _slices(model, generating=True):
        changed = np.asarray(model.generate(_moved(first, own)).mean())
        require(not np.array_equal(changed, ours), f"generated examples do not change with the noise of {name}")
    still = np.asarray(model.generate(first, temperature=0.0).mean())
    require_close(still, np.broadcast_to(still[:1], still.shape), "examples generated at temperature 0", within=1e-5)


def _slices(model: LatentVariableModel, *, generating: bool) -> Iterator[tuple[str, slice]]:
    """Yield the name of each group that takes noise, and the slice of its noise."""
    first = 0
    for group in model.latents:
        size = group.generation_noise_size if generating else group.noise_size
        if size:
            yield group.name, slice(first, first + size)
        first += size


def _moved(values: tf.Tensor, own: slice) -> tf.Tensor:
    """Return noise with one slice of its last axis changed."""
    step = np.zeros(values.shape[-1], np.float32)
    step[own] = 1.0
    return values + step


def rows(subject: Subject) -> None:
    """Change the last 3 of 7 examples in an evaluation, and 3 padded rows in training."""
    experiment = _shaken(subject)
    batch, width = _batch(experiment, ROWS)
    first = normal(3, ROWS, width)
    others = batch._replace(x=beside(batch.x, 1.0 - batch.x))
    noise_of_others = beside(first, first + 3.0, axis=1)
    ours = forward(experiment.model, batch, first, training=False)
    theirs = forward(experiment.model, others, noise_of_others, training=False)
    _require_same_terms(theirs, ours, "beside other ones")
    microbatches = experiment.trainer.step.microbatches
    valid, at = tf.cast(tf.range(ROWS) < VALID, tf.float32), tf.constant(0, tf.int64)
    one, other = (
        microbatches.differentiate(given._replace(valid=valid), of_given, at, at)
        for given, of_given in ((batch, first), (others, noise_of_others))
    )
    _require_same_terms(other.terms, one.terms, "beside other padding in training (use valid)")
    require_same_rows(other.loss, one.loss, "the loss of examples beside other padding")
    for variable, got, wanted in zip(microbatches.state, other.state, one.state, strict=True):
        require_close(got, wanted, f"{variable.path} after a step with other padding (use valid)", within=1e-4)
    _require_averages(microbatches, batch, first)


def _require_averages(microbatches: Microbatches, batch: Batch, noise_of: tf.Tensor) -> None:
    """Take each example twice: the state of layers is averaged over microbatches, so it must be an average itself."""
    if microbatches.seeds:  # random numbers of a layer differ between the two copies of an example
        return
    at, rows = tf.constant(0, tf.int64), np.arange(VALID)
    once, twice = (
        microbatches.differentiate(
            Batch(*(None if part is None else tf.gather(part, index) for part in batch)),
            tf.gather(noise_of, index, axis=1),
            at,
            at,
        )
        for index in (rows, np.concatenate([rows, rows]))
    )
    for variable, got, wanted in zip(microbatches.state, twice.state, once.state, strict=True):
        what = f"{variable.path} after a step with each example twice (it must be an average over examples)"
        require_close(got, wanted, what, within=1e-4)


def _require_same_terms(got: Terms, wanted: Terms, what: str) -> None:
    require_same_rows(got.log_likelihood, wanted.log_likelihood, f"log p(x given z) of examples {what}", axis=1)
    require_same_rows(got.log_q, wanted.log_q, f"log q(z given x) of examples {what}", axis=1)
    for name, terms in wanted.kl_terms.items():
        require_same_rows(got.kl_terms[name], terms, f"kl_terms of {name} of examples {what}")
        require_same_rows(got.z[name], wanted.z[name], f"z of {name} of examples {what}", axis=1)
    if wanted.penalty is not None:
        require_same_rows(got.penalty, wanted.penalty, f"the penalty of examples {what}")


def importance(subject: Subject) -> None:
    """Compare KL(q, p) of 2 examples with the mean of log q - log p over 2,000 samples."""
    experiment = _shaken(subject)
    batch, width = _batch(experiment, FEW)
    terms = forward(experiment.model, batch, normal(DRAWS, FEW, width, name="draws"), training=False)
    ratios = np.asarray(terms.log_q - terms.log_p, np.float64)
    error = ratios.std(axis=0) / np.sqrt(DRAWS)
    what = "KL(q, p), the sum of kl_terms, and the mean of log q(z given x) - log p(z) over samples"
    within = ERRORS * error + 1e-3 * (1.0 + np.abs(ratios.mean(axis=0)))
    require_close(terms.kl, ratios.mean(axis=0), what, within=within)


def decode(subject: Subject) -> None:
    """Compare log p(x given z) with the terms' own p(x given z), and decode other latents."""
    experiment = _shaken(subject)
    model = experiment.model
    batch, width = _batch(experiment, ROWS)
    terms = forward(model, batch, normal(2, ROWS, width), training=False)
    got, wanted = np.asarray(terms.log_likelihood, np.float64), np.asarray(terms.p_x.log_prob(batch.x), np.float64)
    what = "log_likelihood and the log-density of x by p_x"
    require_close(got, wanted, what, within=1e-4 * (1.0 + np.abs(wanted)))
    z = {name: value[0] for name, value in terms.z.items()}
    ours = np.asarray(model.decode(z).mean())
    others = np.asarray(model.decode({name: one + 1.0 for name, one in z.items()}).mean())
    require(not np.array_equal(ours, others), "what decode returns does not change with z")


def labels(subject: Subject) -> None:
    """Build a conditional model, and change the labels of 7 examples."""
    try:
        experiment = _shaken(subject, labels=True)
    except UsageError as error:
        raise SkippedRuleError(f"it is not for labels: {error}") from error
    model = experiment.model
    batch, width = _batch(experiment, ROWS)
    other = batch._replace(labels=tf.roll(batch.labels, 1, axis=1))
    first = normal(3, ROWS, width)
    ours, theirs = (forward(model, given, first, training=False) for given in (batch, other))
    changed = not np.array_equal(ours.log_likelihood, theirs.log_likelihood) or not np.array_equal(ours.kl, theirs.kl)
    require(changed, "the terms do not change with the labels: use them, or raise a UsageError if context.classes > 0")
    noise_of_prior = normal(ROWS, generation_noise_size(model.latents))
    means = (model.generate(noise_of_prior, labels=given.labels).mean() for given in (batch, other))
    require(not np.array_equal(*means), "generated examples do not change with the labels")


MODEL = (
    Rule("shapes", "terms by group, float32 and finite; encode, decode and generate for B = 1, 2, 7", shapes),
    Rule("noise", "each group's z, and generated examples, are functions of their own noise", noise),
    Rule(
        "rows", "terms of an example depend on no others in evaluations; layers' state is an average of examples", rows
    ),
    Rule("importance", "KL(q, p) is the mean over samples of log q(z given x) - log p(z)", importance),
    Rule("decode", "log_likelihood is the log-density of x by p_x; decode depends on z", decode),
    Rule("labels", "a conditional model depends on the labels", labels),
)
