"""Rules for objectives, schedules, optimizers, learning rates, metrics, and what is done to data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from vaeflow.checks.rule import LeftOutError, Rule, require, require_close, require_tensor
from vaeflow.checks.subject import ROWS, VALID, beside, normal, uniform
from vaeflow.checks.watching import require_no_pickles, watched
from vaeflow.contracts import Dataset, Terms
from vaeflow.data.checks import blocks, is_bits
from vaeflow.errors import UsageError, VaeflowError
from vaeflow.trial import NOISES

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaeflow.checks.subject import Subject
    from vaeflow.contracts import Binarization, Metric, Objective, Schedule, Split, Transform
    from vaeflow.data.batches import Batch


def _terms(subject: Subject, samples: int) -> tuple[tf.Tensor, Callable[[tf.Tensor], Terms]]:
    """Return examples x, and a function from such examples to their terms under the small model."""
    experiment = subject.experiment()
    batch: Batch = experiment.batches["train"].in_order(tf.constant(0, tf.int64), ROWS)
    noise = normal(samples, ROWS, experiment.model.posterior.noise_size)
    return batch.x, lambda x: experiment.model.terms(x, noise)


def objective(subject: Subject) -> None:
    """Take the loss of 7 examples, and of the first 4 with others beside them."""
    built: Objective = subject.build()
    require(isinstance(built.samples, int) and built.samples >= 1, f"samples is {built.samples!r}, not 1 or more")
    schedule = subject.registry.get("schedule", "constant").bind({}, "kl_schedule").build(subject.timeline)
    x, terms_of = _terms(subject, built.samples)
    terms = terms_of(x)
    step = tf.constant(3, tf.int64)
    loss = require_tensor(built.loss(terms, schedule, step), "the loss", shape=(ROWS,))
    worse = terms._replace(log_likelihood=beside(terms.log_likelihood, terms.log_likelihood - 5.0, axis=1))
    other = built.loss(worse, schedule, step)
    require_close(other[:VALID], loss[:VALID], "losses of examples beside worse ones", within=1e-4)
    require(bool(tf.reduce_all(other[VALID:] > loss[VALID:])), "the loss does not rise where log p(x given z) falls")


def schedule(subject: Subject) -> None:
    """Ask for weight and penalty along the run, twice."""
    built: Schedule = subject.build(subject.timeline)
    kl = tf.constant([0.0, 1.0, 20.0])
    for step in (
        0,
        1,
        subject.timeline.steps_per_epoch,
        subject.timeline.total_steps,
        10 * subject.timeline.total_steps,
    ):
        at = tf.constant(step, tf.int64)
        weight = require_tensor(built.weight(at), f"the weight at step {step}", shape=())
        penalty = require_tensor(built.penalty(kl, at), f"the penalty at step {step}", shape=(3,))
        require_close(built.weight(at), weight, f"the weight at step {step}, asked twice,", within=0.0)
        require_close(built.penalty(kl, at), penalty, f"the penalty at step {step}, asked twice,", within=0.0)


def optimizer(subject: Subject) -> None:
    """Minimize a square for 100 steps."""
    built = subject.build(0.01)
    kind = type(built).__name__
    require(isinstance(built, keras.optimizers.Optimizer), f"build returned {kind}, not a keras.optimizers.Optimizer")
    variable = keras.Variable(np.ones((4, 3), np.float32))
    built.build([variable])
    before = float(tf.reduce_sum(tf.square(variable)))
    for _ in range(100):
        built.apply([2.0 * tf.convert_to_tensor(variable)], [variable])
    after = float(tf.reduce_sum(tf.square(variable)))
    require(math.isfinite(after) and after < before, f"100 steps took a square from {before:g} to {after:g}")


def learning_rate(subject: Subject) -> None:
    """Ask for the rate along the run."""
    built = subject.build(subject.timeline)
    for step in (0, 1, subject.timeline.total_steps // 2, subject.timeline.total_steps):
        rate = float(built(step)) if callable(built) else float(built)
        require(math.isfinite(rate) and rate >= 0, f"the learning rate at step {step} is {rate:g}")


def metric(subject: Subject) -> None:
    """Take the figure of 7 examples, and of the first 4 with others beside them."""
    built: Metric = subject.build()
    x, terms_of = _terms(subject, samples=2)
    figures = require_tensor(built(x, terms_of(x)), "the figures", shape=(ROWS,))
    others = beside(x, 1.0 - x)
    other = built(others, terms_of(others))
    within = 1e-4 * (1 + np.abs(figures[:VALID]))
    require_close(other[:VALID], figures[:VALID], "figures of examples beside other ones", within=within)


def binarization(subject: Subject) -> None:
    """Make x of pixels, of grey ones and of black and white ones."""
    built: Binarization = subject.build()
    require(built.noise in NOISES, f"noise is {built.noise!r}, not one of {', '.join(NOISES)}")
    size = int(np.prod(subject.x_shape))
    shape = (ROWS, *subject.x_shape)
    pixels, noise = (tf.reshape(uniform(ROWS, size, name=name), shape) for name in ("pixels", "noise"))
    _require_rows(lambda p, n: built(p, None if built.noise == "none" else n), pixels, noise, shape)


def transform(subject: Subject) -> None:
    """Transform 7 examples, and the first 4 with others beside them."""
    built: Transform = subject.build(subject.x_shape)
    require(built.noise in NOISES, f"noise is {built.noise!r}, not one of {', '.join(NOISES)}")
    takes = built.noise != "none"
    require((built.noise_size > 0) == takes, f"noise is {built.noise!r}, but noise_size is {built.noise_size}")
    require(isinstance(built.training_only, bool), f"training_only is {built.training_only!r}, not a truth value")
    pixels = tf.reshape(uniform(ROWS, int(np.prod(subject.x_shape)), name="pixels"), (ROWS, *subject.x_shape))
    noise = uniform(ROWS, max(1, built.noise_size), name="noise")
    _require_rows(lambda p, n: built(p, n if takes else None), pixels, noise, (ROWS, *built.x_shape))
    if built.training_only:
        same = tuple(built.x_shape) == tuple(subject.x_shape)
        require(same, f"it is for training only, but makes {built.x_shape} of {subject.x_shape}")


def _require_rows(
    function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], pixels: tf.Tensor, noise: tf.Tensor, shape: tuple[int, ...]
) -> None:
    """Require a function of rows that looks at each row and its noise alone, and gives the same twice."""
    first = require_tensor(function(pixels, noise), "what it returns", shape=shape)
    require_close(function(pixels, noise), first, "what it returns for the same twice", within=0.0)
    other = function(beside(pixels, 1.0 - pixels), beside(noise, 1.0 - noise))
    require_close(other[:VALID], first[:VALID], "examples beside other ones", within=1e-6)


def dataset(subject: Subject) -> None:
    """Build the data set twice."""
    from vaeflow.data import Folders

    try:
        with watched(subject.bound.component.build) as deeds:
            first, again = (subject.build(Folders.default()) for _ in range(2))
    except UsageError:
        raise
    except VaeflowError as error:
        raise LeftOutError(f"its data can't be had here: {error}") from error
    require_no_pickles(deeds)
    require(isinstance(first, Dataset), f"build returned {type(first).__name__}, not a vaeflow.contracts.Dataset")
    require(first.source, "source is empty: say in one line where the examples are from")
    for name, split in first.splits().items():
        _require_split(split, name, first.x_shape)
        same = np.array_equal(split.x[:1000], again.splits()[name].x[:1000])
        require(same, f"{name}.x is other examples when built again")


def _require_split(split: Split, name: str, x_shape: tuple[int, ...]) -> None:
    require(len(split) > 0, f"{name} has no examples")
    require(split.x.dtype in (np.uint8, np.float32), f"{name}.x is {split.x.dtype}, not uint8 or float32")
    require(split.x.shape[1:] == x_shape, f"{name} has examples of shape {split.x.shape[1:]}, train others")
    _require_pixels(split.x, f"{name}.x")
    if split.y is not None:
        require(len(split.y) == len(split.x), f"{name} has {len(split.x)} examples and {len(split.y)} labels")
        whole = split.y.ndim == 1 and split.y.dtype.kind in "iu"
        require(whole, f"{name}.y is {split.y.dtype} of shape {split.y.shape}, not [N] integers")


def _require_pixels(x: np.ndarray, name: str) -> None:
    if x.dtype == np.uint8:
        require(
            not is_bits(x), f"{name} is 0 or 1 in every byte, and bytes are divided by 255: multiply such pixels by 255"
        )
        return
    for start, block in blocks(x):
        finite = np.isfinite(block.reshape((len(block), -1))).all(axis=1)
        require(finite.all(), f"{name}[{start + int(finite.argmin())}] has numbers that are not finite")


OBJECTIVE = (Rule("loss", "a float32 loss [B] of each example alone, up where log p(x given z) is down", objective),)
SCHEDULE = (Rule("weight", "a float32 weight and a penalty [B], functions of the step alone", schedule),)
OPTIMIZER = (Rule("descent", "a Keras optimizer that makes a square smaller", optimizer),)
LEARNING_RATE = (Rule("rate", "a finite rate, 0 or more, at every step", learning_rate),)
METRIC = (Rule("figures", "a finite float32 figure [B] of each example alone", metric),)
BINARIZATION = (Rule("pixels", "float32 x of the pixels' shape, a function of each row and its noise", binarization),)
TRANSFORM = (Rule("pixels", "float32 pixels of the shape it says, a function of each row and its noise", transform),)
DATASET = (
    Rule("examples", "bytes or float32 of one shape, labels or none, the same each time, from no pickle", dataset),
)
