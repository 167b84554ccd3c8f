"""Find out why a step's loss or gradient is not finite, by computing it again eagerly on one process."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vaeflow.model import elbo
from vaeflow.model.variable_names import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vaeflow.contracts import LatentVariableModel, Terms
    from vaeflow.data.batches import Batch
    from vaeflow.engine.microbatch import Differentiated, Microbatches
    from vaeflow.engine.step import TrainStep

FEW = 3
PIXELS, LOSS = "pixels", "loss"
LOG_LIKELIHOOD, KL, PENALTY = "log-likelihood", "KL divergence", "model's penalty"


@dataclass(frozen=True)
class Recomputed:
    """The values of a step.

    Attributes:
        examples: b, the number of examples in the batch.
        bad: positions in the batch, from 0, of examples with values that are not finite, by the name of the value.
        culprits: positions of a few examples whose gradients are not finite, if all losses are finite.
        indices: of the batch's examples in the training split, by position.
        gradients: of the summed loss times the loss scale, one per trainable variable.
    """

    examples: int
    bad: dict[str, list[int]]
    culprits: list[int]
    indices: dict[int, int]
    gradients: list[np.ndarray]


def diagnose(step: TrainStep, number: int) -> list[str]:
    """Return lines about which terms, examples, gradients and weights of a step are not finite.

    No variable changes and no other process takes part, so that it may be called on rank 0 only.

    Args:
        step: the training step; its weights are those before the step in question, since that step was skipped.
        number: of the step in question, from 0. The text counts steps from 1, examples and rows of a batch from 0.
    """
    done = _recompute(step, number)
    model = step.microbatches.model
    about = _about_terms(done) or [_about_gradient(done, step)]
    names = _names(step)
    infinite = [name for name, g in zip(names, done.gradients, strict=True) if not np.isfinite(g).all()]
    if infinite:
        about.append(f"{_count(infinite, len(names), 'gradient')} {_are(infinite)} not finite: {_few(infinite)}")
    return [f"step {number + 1}: {about[0]}", *(f"  {line}" for line in [*about[1:], _about_weights(model)])]


def _recompute(step: TrainStep, number: int) -> Recomputed:
    microbatches, at = step.microbatches, tf.constant(number, tf.int64)
    bad: dict[str, list[int]] = {}
    indices: dict[int, int] = {}
    suspects: list[int] = []
    gradients: list[np.ndarray] = []
    for microbatch in range(microbatches.count):
        first = microbatch * microbatches.rows
        batch, noise = microbatches.inputs(at, tf.constant(microbatch, tf.int64))
        rows = np.flatnonzero(batch.valid.numpy())
        index = microbatches.batches.order.rows(at, first, microbatches.rows)[0].numpy()
        indices |= {first + int(row): int(index[row]) for row in rows}
        done = microbatches.differentiate(batch, noise, at, tf.constant(microbatch, tf.int64))
        for name, finite in _finite_examples(batch, done).items():
            bad.setdefault(name, []).extend(first + int(row) for row in rows if not finite[row])
        own = [g.numpy() for g in done.gradients]
        if not all(np.isfinite(g).all() for g in own):
            suspects.append(microbatch)
        with np.errstate(all="ignore"):
            gradients = [a + b for a, b in zip(gradients, own, strict=True)] if gradients else own
    culprits = [] if any(bad.values()) else list(itertools.islice(_culprits(microbatches, at, suspects), FEW + 1))
    return Recomputed(len(indices), {k: v for k, v in bad.items() if v}, culprits, indices, gradients)


def _finite_examples(batch: Batch, done: Differentiated) -> dict[str, np.ndarray]:
    """Return which rows are finite, [rows] bool, by the name of the value."""
    values = {PIXELS: batch.x, **_terms(done.terms), LOSS: done.loss}
    return {
        name: np.isfinite(value.numpy()).reshape(len(batch.valid), -1).all(axis=1) for name, value in values.items()
    }


def _terms(terms: Terms) -> dict[str, tf.Tensor]:
    """Return the terms of the loss by name, [rows] or [rows, K]: the divergence by group if there are several."""
    groups = {f"{KL} of {name}": kl for name, kl in terms.kl_terms.items()}
    kl = groups if len(groups) > 1 else {KL: terms.kl}
    penalty = {} if terms.penalty is None else {PENALTY: terms.penalty}
    return {LOG_LIKELIHOOD: elbo.expected_log_likelihood(terms.log_likelihood), **kl, **penalty}


def _culprits(microbatches: Microbatches, step: tf.Tensor, suspects: Sequence[int]) -> Iterator[int]:
    """Yield the positions of examples whose own gradient is not finite, by bisection."""
    for microbatch in suspects:
        number = tf.constant(microbatch, tf.int64)
        batch, noise = microbatches.inputs(step, number)
        waiting = [np.flatnonzero(batch.valid.numpy())]
        while waiting:
            rows = waiting.pop()
            some = type(batch)(*(None if values is None else tf.gather(values, rows) for values in batch))
            done = microbatches.differentiate(some, tf.gather(noise, rows, axis=1), step, number)
            if all(np.isfinite(g.numpy()).all() for g in done.gradients):
                continue
            if len(rows) == 1:
                yield microbatch * microbatches.rows + int(rows[0])
            else:
                waiting += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]


def _about_terms(done: Recomputed) -> list[str]:
    """Return a line for each term that is not finite; terms that only follow from another are skipped."""
    names = [PIXELS] if PIXELS in done.bad else [name for name in done.bad if name != LOSS] or [LOSS]
    lines: dict[str, list[str]] = {}
    for name in names:
        if name in done.bad:
            verb = "are" if name == PIXELS else "is"
            rest = f"{verb} not finite for {len(done.bad[name])} of {done.examples} examples: {_examples(done, name)}"
            lines.setdefault(rest, []).append(f"the {name}")
    found = []
    for rest, subjects in lines.items():
        together = rest if len(subjects) == 1 else rest.replace("is not", "are not", 1)
        found.append(f"{' and '.join(subjects)} {together}")
    return found if names != [LOSS] else [f"{line}; the terms of the ELBO are finite" for line in found]


def _about_gradient(done: Recomputed, step: TrainStep) -> str:
    """Return what is not finite if the loss of every example is finite."""
    scale = step.microbatches.loss_scale
    times = f" times the loss scale {float(scale.scale):g}" if scale.dynamic else ""
    if done.culprits:
        more = " and more" if len(done.culprits) > FEW else ""
        return f"the loss is finite, but its gradient{times} is not, for {_places(done, done.culprits)}{more}"
    divisor = done.examples * scale.scale
    if not np.isfinite(tf.linalg.global_norm([tf.constant(g) / divisor for g in done.gradients])):
        peaks = [float(np.abs(g).max(initial=0.0)) for g in done.gradients]
        largest = int(np.argmax(peaks))
        where = f"{peaks[largest]:.3g} in {_names(step)[largest]}"
        return f"each example's gradient is finite, but their sum or its norm overflows: its largest element is {where}"
    if scale.dynamic:
        return f"float16 overflowed; at the current loss scale of {float(scale.scale):g} the gradient is finite"
    return "computed again, all values are finite: the device may be faulty, or a component may not be deterministic"


def _names(step: TrainStep) -> list[str]:
    """Return the names of the weights that a step changes, the model's and each player's."""
    model, players = step.microbatches.model, step.microbatches.players
    own = [path_of(model, v) for v in model.trainable_variables]
    return own + [f"{player.name}/{v.path}" for player in players for v in player.variables]


def _about_weights(model: LatentVariableModel) -> str:
    values = {path_of(model, v): np.asarray(v.value) for v in model.variables}
    floats = {name: value for name, value in values.items() if value.size and np.issubdtype(value.dtype, np.floating)}
    bad = [name for name, value in floats.items() if not np.isfinite(value).all()]
    if bad:
        return f"before the step, {_count(bad, len(floats), 'weight')} {_are(bad)} already not finite: {_few(bad)}"
    name, peak = max(((name, np.abs(value).max()) for name, value in floats.items()), key=lambda found: found[1])
    return f"all weights are finite; the largest in magnitude is {peak:.3g}, in {name}"


def _examples(done: Recomputed, name: str) -> str:
    rest = len(done.bad[name]) - FEW
    return _places(done, done.bad[name]) + (f" and {rest} more" if rest > 0 else "")


def _places(done: Recomputed, places: list[int]) -> str:
    """Return the first few examples as text: their indices in the training split and their rows in the batch."""
    shown, plural = places[:FEW], "s" if len(places) > 1 else ""
    indices, rows = (", ".join(map(str, numbers)) for numbers in ([done.indices[p] for p in shown], shown))
    return f"example{plural} {indices} of the training split (row{plural} {rows} of the batch)"


def _few(names: list[str]) -> str:
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


def _count(bad: list[str], total: int, what: str) -> str:
    return f"{len(bad)} of {total} variables' {what}{'s' if len(bad) != 1 else ''}"


def _are(bad: list[str]) -> str:
    return "is" if len(bad) == 1 else "are"
