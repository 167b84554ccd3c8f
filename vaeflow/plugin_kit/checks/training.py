"""Rules for the parts of a training step: gradients, bits, saving, tracing, XLA, precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from vaeflow.engine.forward import forward, loss_of
from vaeflow.engine.step_row import StepRow
from vaeflow.engine.whole_split import by_kind
from vaeflow.plugin_kit.checks.import_effects import require_clean_import
from vaeflow.plugin_kit.checks.in_subprocess import elsewhere
from vaeflow.plugin_kit.checks.require import SkippedRuleError, require, require_tensor
from vaeflow.plugin_kit.checks.rule import Rule
from vaeflow.plugin_kit.checks.side_effects import require_no_pickles, traced

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaeflow.engine.microbatch import Microbatches
    from vaeflow.plugin_kit.checks.subject import Subject
    from vaeflow.training.experiment import Experiment

STEPS = 3  # an epoch; its last step has 3 examples, the others 10
INITIAL, STEPPED, EVALUATED = "initial weights", f"after {STEPS - 1} steps", "an evaluation"
RESTORED = f"after {STEPS} steps, the last from a saved state,"


def gradients(subject: Subject) -> None:
    """Check the gradient of the small model's loss for each variable."""
    experiment = subject.small.experiment
    experiment.state.assign(subject.small.initial)
    microbatches = experiment.trainer.step.microbatches
    variables = experiment.model.trainable_variables
    sizes = np.zeros(len(variables))
    for number in range(3):  # a ReLU may be inactive for one batch
        for index, gradient in enumerate(_gradients(microbatches, number)):
            name = variables[index].path
            require(gradient is not None, f"no gradient reaches {name}: an operation on it can't be differentiated")
            bad = int(np.sum(~np.isfinite(gradient)))
            require(bad == 0, f"the gradient of {name} has {bad} of {np.size(gradient)} values that are not finite")
            sizes[index] += float(np.sum(np.abs(gradient)))
    dead = [variable.path for variable, size in zip(variables, sizes, strict=True) if size == 0.0]
    require(not dead, f"the gradient of {', '.join(dead)} is zero for 3 batches of examples")


def _gradients(microbatches: Microbatches, step: int) -> list[Any]:
    model = microbatches.model
    batch, noise = microbatches.inputs(tf.constant(step, tf.int64), tf.constant(0, tf.int64))
    weights = [variable.value for variable in model.trainable_variables]
    with keras.StatelessScope(), tf.GradientTape() as tape:
        terms = forward(model, batch, noise, training=True)
        loss = loss_of(microbatches.objective, terms, microbatches.schedule, tf.constant(step, tf.int64))
        total = tf.reduce_sum(loss * batch.valid)
    # The gradient of looked-up rows, such as a codebook's, is sparse.
    return [None if g is None else np.asarray(tf.convert_to_tensor(g)) for g in tape.gradient(total, weights)]


def bits(subject: Subject) -> None:
    """Compare all weights and slots after 3 steps on one replica and on two in another process, and after a restore."""
    one, before = subject.small.experiment, subject.small.initial
    one.state.assign(before)
    rows = one.trainer.execute(0, STEPS - 1).numpy()
    saved = one.state.arrays()
    _require_movement(rows, before, saved)
    one.trainer.execute(STEPS - 1, 1)
    ended = one.state.arrays()
    theirs = elsewhere(subject, on_two_replicas, saved)
    ours = {INITIAL: before, STEPPED: saved, RESTORED: ended, EVALUATED: _figures(one)}
    for when, wanted in ours.items():
        got = {name.removeprefix(when): array for name, array in theirs.items() if name.startswith(when)}
        _require_same(got, wanted, f"{when} on 2 replicas of another process and on 1")
    _require_restored(one, saved, ended)


def on_two_replicas(subject: Subject, saved: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the state before and after 2 steps and after a third from a saved state, and metrics.

    Names start with `INITIAL` and so on.
    """
    two = subject.experiment(replicas=2)
    found = {INITIAL: two.state.arrays()}
    two.trainer.execute(0, STEPS - 1)
    found[STEPPED] = two.state.arrays()
    two.state.assign(saved)
    two.trainer.execute(STEPS - 1, 1)
    found[RESTORED] = two.state.arrays()
    found[EVALUATED] = _figures(two)
    return {f"{when}{name}": array for when, arrays in found.items() for name, array in arrays.items()}


def _require_movement(rows: np.ndarray, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> None:
    """Require finite metrics of steps, and weights that change unless the learning rate is 0."""
    log = StepRow.unpack(rows)._asdict()
    bad = [name for name, column in log.items() if not np.isfinite(column).all()]
    require(not bad, f"the log of the first {len(rows)} steps has {', '.join(bad)} that are not finite")
    moved = [name for name in after if name.startswith("model/") and not np.array_equal(after[name], before[name])]
    require(moved or not log["learning_rate"].any(), f"no weight has changed after {len(rows)} steps")


def _figures(experiment: Experiment) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in experiment.evaluator("test")().scalars("test").items()}


def _require_restored(experiment: Experiment, saved: Mapping[str, np.ndarray], ended: Mapping[str, np.ndarray]) -> None:
    experiment.state.assign(saved)
    experiment.trainer.execute(STEPS - 1, 1)
    _require_same(experiment.state.arrays(), ended, "a step that was taken again from a saved state")


def _require_same(got: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], when: str) -> None:
    require(list(got) == list(wanted), f"{when}: other variables: {sorted(set(got) ^ set(wanted))}")
    different = [name for name in wanted if not np.array_equal(got[name], wanted[name])]
    if different:
        name = different[0]
        a, b = (np.asarray(side[name], np.float64).ravel() for side in (got, wanted))
        worst = int(np.argmax(np.abs(a - b)))
        others = f" and {len(different) - 1} more" if len(different) > 1 else ""
        require(holds=False, message=f"{when}: {name}{others} differ: {a[worst]:.9g} and {b[worst]:.9g}")


def traces(subject: Subject) -> None:
    """Execute different numbers of steps, and evaluate twice: only first calls may trace."""
    experiment = subject.small.experiment
    evaluator = experiment.evaluator("test")
    evaluator()
    with traced() as names:
        experiment.trainer.execute(1, 3)
        evaluator()
        experiment.trainer.execute(4, 2)
    require(not names, f"{len(names)} graphs are traced again after the first steps, such as {names[:1]}")


def xla(subject: Subject) -> None:
    """Compile forward and backward by XLA and take a step."""
    if not subject.bound.component.xla:
        raise SkippedRuleError("it declares that it does not support XLA")
    experiment = subject.experiment(xla=True)
    row = experiment.trainer.execute(0, 1).numpy()
    require(np.isfinite(row).all(), "the log of a step under XLA is not finite")


def precision(subject: Subject) -> None:
    """Build the model in mixed bfloat16; all terms must be float32 and nothing float64."""
    experiment = subject.experiment(precision="mixed_bfloat16")
    wide = [v.path for v in experiment.model.variables if v.dtype == "float64"]
    require(not wide, f"variables {', '.join(wide)} are float64")
    microbatches = experiment.trainer.step.microbatches
    batch, noise = microbatches.inputs(tf.constant(0, tf.int64), tf.constant(0, tf.int64))
    terms = forward(experiment.model, batch, noise, training=False)
    rows, samples = batch.x.shape[0], noise.shape[0]
    require_tensor(batch.x, "x", shape=(rows, *experiment.model.x_shape))
    require_tensor(terms.log_likelihood, "log p(x given z)", shape=(samples, rows))
    require_tensor(terms.kl, "KL(q, p)", shape=(rows,))
    for group in experiment.model.latents:
        require_tensor(terms.z[group.name], group.name, shape=(samples, rows, *group.shape))
    require_tensor(terms.log_q, "log q(z given x)", shape=(samples, rows))
    step = tf.constant(0, tf.int64)
    require_tensor(microbatches.objective.loss(terms, microbatches.schedule, step), "the loss", shape=(rows,))
    for name, metric in by_kind(experiment.metrics)[0].items():
        require_tensor(metric(batch.x, terms), f"figures of {name}", shape=(rows,))
    require(np.isfinite(experiment.trainer.execute(0, 1).numpy()[0, 0]), "a step in mixed_bfloat16 is not finite")


def side_effects(subject: Subject) -> None:
    """Check the side effects of the component's own code: while imported, built, traced and evaluated."""
    effects = subject.small.effects
    require_no_pickles(effects)
    require_clean_import(subject)
    require(
        not effects.written,
        f"it writes {', '.join(dict.fromkeys(effects.written))}, which every rank of a job would do: only callbacks "
        "and plots may write, below the run's directory",
    )


GRADIENTS = Rule("gradients", "a finite gradient that is not zero reaches every variable", gradients)
TRAINING = (
    Rule("bits", "the same bits on 1 replica, on 2 of another process, and after saving and restoring", bits),
    Rule("traces", "steps and evaluations are traced once", traces),
    Rule("xla", "XLA compiles it, or it declares xla=False", xla),
    Rule("precision", "in mixed_bfloat16 all terms of the ELBO are float32, and no variable is float64", precision),
    Rule("side-effects", "it writes no file and pickles nothing", side_effects),
)
