"""Rules for objectives, schedules, optimizers, learning rates, metrics, binarizations and transforms."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import keras
import numpy as np
import tensorflow as tf

from vaeflow.engine.forward import forward, path_of
from vaeflow.engine.whole_split import by_kind
from vaeflow.model.latents import noise_size
from vaeflow.plugin_kit.checks.require import require, require_close, require_tensor
from vaeflow.plugin_kit.checks.rule import Rule
from vaeflow.plugin_kit.checks.subject import ROWS, VALID, beside, normal, require_same_rows, uniform
from vaeflow.training.sanity_check import NOISES

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaeflow.contracts import Binarization, Findings, Metric, Objective, Schedule, SplitMetric, Terms, Transform
    from vaeflow.data.batches import Batch
    from vaeflow.plugin_kit.checks.subject import Subject

FAR = 1000.0  # nats by which terms are made worse: more than any free bits or capacity
SQUARE = 12.0  # the squared norm of twelve ones


def _terms(
    subject: Subject, samples: int, objective: Objective | None = None
) -> tuple[tf.Tensor, Terms, tf.Tensor, Terms]:
    """Return 7 examples and their terms under the small model; then those of the first 4 with others in the batch."""
    experiment = subject.experiment()
    batch: Batch = experiment.batches["train"].in_order(tf.constant(0, tf.int64), ROWS)
    noise = normal(samples, ROWS, noise_size(experiment.model.latents))
    others = batch._replace(x=beside(batch.x, 1.0 - batch.x))
    other_noise = beside(noise, noise + 3.0, axis=1)
    terms, other_terms = (
        forward(experiment.model, *given, training=False, path=None if objective is None else path_of(objective))
        for given in ((batch, noise), (others, other_noise))
    )
    return batch.x, terms, others.x, other_terms


def objective(subject: Subject) -> None:
    """Compute the loss of 7 examples, of the first 4 with others in the batch, and of worse terms."""
    built: Objective = subject.build()
    require(isinstance(built.samples, int) and built.samples >= 1, f"samples is {built.samples!r}, not 1 or more")
    schedule = subject.registry.get("schedule", "constant").bind({}, "kl_schedule").build(subject.timeline)
    _, terms, _, others = _terms(subject, built.samples, built)

    def loss(of: Terms) -> tf.Tensor:
        return built.loss(of, schedule, tf.constant(3, tf.int64))

    first = require_tensor(loss(terms), "the loss", shape=(ROWS,))
    fewer = loss(_worse(terms, log_likelihood=FAR)) - first
    further = loss(_worse(terms, kl=FAR)) - first
    if getattr(built, "per_example", True):
        require(bool(tf.reduce_all(fewer > 0.0)), "the loss does not rise if log p(x given z) falls")
        require(bool(tf.reduce_all(further >= 0.0)), "the loss falls if KL(q, p) rises")
        require_same_rows(loss(_beside(terms, others)), first, "losses of examples beside other ones")
    else:
        require(float(tf.reduce_sum(fewer)) > 0.0, "the total loss does not rise if log p(x given z) falls")
        require(float(tf.reduce_sum(further)) >= 0.0, "the total loss falls if KL(q, p) rises")


def padding(subject: Subject) -> None:
    """Compute the loss of 4 examples beside 3 padded rows, with two contents of these."""
    built: Objective = subject.build()
    if getattr(built, "per_example", True):
        return  # the rule `loss` has shown more
    schedule = subject.registry.get("schedule", "constant").bind({}, "kl_schedule").build(subject.timeline)
    _, terms, _, others = _terms(subject, built.samples, built)
    valid = tf.cast(tf.range(ROWS) < VALID, tf.float32)
    one, other = (
        built.loss(replace(of, valid=valid), schedule, tf.constant(3, tf.int64))
        for of in (terms, _beside(terms, others))
    )
    require_same_rows(other, one, "losses of examples beside other padding (use terms.valid)")


def _worse(terms: Terms, *, log_likelihood: float = 0.0, kl: float = 0.0) -> Terms:
    """Return terms whose log-likelihood is less, and whose divergence is more, by some nats in every example."""
    count = sum(int(of_group.shape[1]) for of_group in terms.kl_terms.values())
    more = {name: of_group + kl / count for name, of_group in terms.kl_terms.items()}
    return replace(terms, log_likelihood=terms.log_likelihood - log_likelihood, kl_terms=more)


def _beside(terms: Terms, others: Terms) -> Terms:
    """Return terms of 7 examples; those of the last 3 are others, and much worse."""
    worse = _worse(others, log_likelihood=FAR, kl=FAR)
    return replace(
        worse,
        log_likelihood=beside(terms.log_likelihood, worse.log_likelihood, axis=1),
        kl_terms={name: beside(of_group, worse.kl_terms[name]) for name, of_group in terms.kl_terms.items()},
        z={name: beside(z, worse.z[name], axis=1) for name, z in terms.z.items()},
        log_q=beside(terms.log_q, worse.log_q, axis=1),
    )


def schedule(subject: Subject) -> None:
    """Compute weight and penalty twice at several steps, and penalties with other examples in the batch."""
    built: Schedule = subject.build(subject.timeline)
    kl = tf.constant([0.0, 0.5, 1.0, 20.0, 0.1, 3.0, 50.0])
    every, all_steps = subject.timeline.steps_per_epoch, subject.timeline.total_steps
    for step in (0, 1, every, all_steps, 10 * all_steps):
        at = tf.constant(step, tf.int64)
        weight = require_tensor(built.weight(at), f"the weight at step {step}", shape=())
        penalty = require_tensor(built.penalty(kl, at), f"the penalty at step {step}", shape=(ROWS,))
        require_close(built.weight(at), weight, f"the weight at step {step}, computed twice,", within=0.0)
        require_close(built.penalty(kl, at), penalty, f"the penalty at step {step}, computed twice,", within=0.0)
        for what, others in (("more", kl + 30.0), ("none", 0.0 * kl)):
            beside_others = built.penalty(beside(kl, others), at)
            require_same_rows(beside_others, penalty, f"penalties at step {step} of examples beside others with {what}")


def optimizer(subject: Subject) -> None:
    """Minimize a square for 100 steps, at two learning rates."""
    ends = {rate: _descended(subject, rate) for rate in (0.01, 0.001)}
    for rate, end in ends.items():
        require(math.isfinite(end) and end < SQUARE, f"100 steps at {rate:g} took a square from {SQUARE:g} to {end:g}")
    require(len(set(ends.values())) > 1, f"100 steps at the learning rates 0.01 and 0.001 both end at {ends[0.01]:g}")


def _descended(subject: Subject, rate: float) -> float:
    built = subject.build(rate)
    kind = type(built).__name__
    require(isinstance(built, keras.optimizers.Optimizer), f"build returned {kind}, not a keras.optimizers.Optimizer")
    variable = keras.Variable(np.ones((4, 3), np.float32))
    built.build([variable])
    for _ in range(100):
        built.apply([2.0 * tf.convert_to_tensor(variable)], [variable])
    return float(tf.reduce_sum(tf.square(variable)))


def learning_rate(subject: Subject) -> None:
    """Compute the rate twice at several steps."""
    built = subject.build(subject.timeline)
    steps = (0, 1, subject.timeline.total_steps // 2, subject.timeline.total_steps)
    rates = [float(built(step)) if callable(built) else float(built) for step in steps]
    for step, rate in zip(steps, rates, strict=True):
        require(math.isfinite(rate) and rate >= 0, f"the learning rate at step {step} is {rate:g}")
        again = float(built(step)) if callable(built) else float(built)
        require(again == rate, f"the learning rate at step {step} is {rate:g}, but {again:g} when computed again")


def metric(subject: Subject) -> None:
    """Compute the metric of 7 examples, and of the first 4 with others in the batch; or that of a whole split."""
    built: Metric | SplitMetric = subject.build()
    _, whole = by_kind({subject.name: built})
    if whole:
        _require_findings(subject.experiment().evaluator("test")().found[subject.name])
        return
    built = cast("Metric", built)
    x, terms, others, other_terms = _terms(subject, samples=2)
    figures = require_tensor(built(x, terms), "the figures", shape=(ROWS,))
    other = built(others, other_terms)
    within = 1e-4 * (1 + np.abs(figures[:VALID]))
    require_close(other[:VALID], figures[:VALID], "values of examples in another batch", within=within)


def _require_findings(found: Findings) -> None:
    for key, value in found.values.items():
        require(isinstance(key, str), f"the key {key!r} of a value is no text")
        number = isinstance(value, (int, float)) and math.isfinite(value)
        require(number, f"the value of the key {key!r} is {value!r}, not a finite number")
    for name, array in found.arrays.items():
        require(np.asarray(array).dtype.kind in "iuf", f"the array {name!r} is not of numbers")


def binarization(subject: Subject) -> None:
    """Binarize grey pixels, and black and white ones."""
    built: Binarization = subject.build()
    require(built.noise in NOISES, f"noise is {built.noise!r}, not one of {', '.join(NOISES)}")
    size = int(np.prod(subject.x_shape))
    shape = (ROWS, *subject.x_shape)
    pixels, noise = (tf.reshape(uniform(ROWS, size, name=name), shape) for name in ("pixels", "noise"))
    _require_rows(lambda p, n: built(p, None if built.noise == "none" else n), pixels, noise, shape)


def transform(subject: Subject) -> None:
    """Transform 7 examples, and the first 4 with others in the batch."""
    built: Transform = subject.build(subject.x_shape)
    require(built.noise in NOISES, f"noise is {built.noise!r}, not one of {', '.join(NOISES)}")
    takes = built.noise != "none"
    require((built.noise_size > 0) == takes, f"noise is {built.noise!r}, but noise_size is {built.noise_size}")
    require(isinstance(built.training_only, bool), f"training_only is {built.training_only!r}, not a bool")
    pixels = tf.reshape(uniform(ROWS, int(np.prod(subject.x_shape)), name="pixels"), (ROWS, *subject.x_shape))
    noise = uniform(ROWS, max(1, built.noise_size), name="noise")
    _require_rows(lambda p, n: built(p, n if takes else None), pixels, noise, (ROWS, *built.x_shape))
    if built.training_only:
        same = tuple(built.x_shape) == tuple(subject.x_shape)
        require(same, f"it is for training only, but changes the shape {subject.x_shape} to {built.x_shape}")


def _require_rows(
    function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], pixels: tf.Tensor, noise: tf.Tensor, shape: tuple[int, ...]
) -> None:
    """Require a function whose row depends only on the same row of its input and noise, and is the same twice."""
    first = require_tensor(function(pixels, noise), "what it returns", shape=shape)
    require_close(function(pixels, noise), first, "the output for the same input twice", within=0.0)
    other = function(beside(pixels, 1.0 - pixels), beside(noise, 1.0 - noise))
    require_close(other[:VALID], first[:VALID], "examples beside other ones", within=1e-6)


OBJECTIVE = (
    Rule("loss", "a float32 loss [B] of each example alone, up with KL(q, p), down with log p", objective),
    Rule("padding", "a loss over the batch (per_example = False) does not depend on what padded rows contain", padding),
)
SCHEDULE = (Rule("weight", "a float32 weight of the step, and a penalty [B] of it and each example alone", schedule),)
OPTIMIZER = (Rule("descent", "a Keras optimizer that makes a square smaller, at the rate it is given", optimizer),)
LEARNING_RATE = (Rule("rate", "a finite rate, 0 or more, a function of the step alone", learning_rate),)
METRIC = (Rule("figures", "a finite float32 figure [B] of each example alone, or finite values of a split", metric),)
BINARIZATION = (Rule("pixels", "float32 x of the pixels' shape, a function of each row and its noise", binarization),)
TRANSFORM = (Rule("pixels", "float32 pixels of the declared shape, a function of each row and its noise", transform),)
