"""Build the objects of a run from a resolved config."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import keras

from vaeflow.data.batches import Batches
from vaeflow.data.classes import classes_of
from vaeflow.engine.columns import Columns
from vaeflow.engine.evaluation import Evaluator
from vaeflow.engine.loss_scale import LossScale
from vaeflow.engine.microbatch import Microbatches
from vaeflow.engine.players import players_of
from vaeflow.engine.reduce import ExactSum, PlainSum
from vaeflow.engine.state import TrainingState
from vaeflow.engine.step import Trainer, TrainStep
from vaeflow.engine.whole_split import ModelOfSplit, by_kind, rows_of
from vaeflow.errors import PluginError, UsageError
from vaeflow.model.memory_estimate import require_evaluation, require_training
from vaeflow.model.moving_average import MovingAverage
from vaeflow.model.trained_vae import TrainedVAE
from vaeflow.training.build_model import build_model
from vaeflow.training.sanity_check import Built, sanity_check
from vaeflow.training.start_from_examples import start_from_examples
from vaeflow.training.timeline import timeline_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaeflow.config.resolve import Resolved
    from vaeflow.config.schema import Config
    from vaeflow.contracts import (
        Binarization,
        Dataset,
        Features,
        LatentVariableModel,
        Metric,
        SplitMetric,
        Timeline,
        Transform,
    )
    from vaeflow.distributed.strategies.base import Strategy
    from vaeflow.engine.reduce import Reduction
    from vaeflow.plots import Plot


@dataclass(frozen=True)
class Experiment:
    """All objects that a run needs for training and evaluation.

    Attributes:
        resolved: the config and its components.
        config: the resolved config.
        dataset: the loaded data set.
        timeline: the length of the run.
        length_matters: whether a schedule depends on the length of the run, so that another length changes the weights.
        strategy: runs the replicas.
        model: the model.
        columns: its terms in the rows of the log.
        average: the EMA of its weights.
        trainer: runs training steps.
        state: all variables that steps change.
        trained: the model with a NumPy interface.
        batches: the examples of each split.
        metrics: additional metrics by name, some of them of a whole split.
        plots: plots by name.
    """

    resolved: Resolved
    config: Config
    dataset: Dataset
    timeline: Timeline
    length_matters: bool
    strategy: Strategy
    model: LatentVariableModel
    columns: Columns
    average: MovingAverage
    trainer: Trainer
    state: TrainingState
    trained: TrainedVAE
    batches: dict[str, Batches]
    metrics: Mapping[str, Metric | SplitMetric]
    plots: dict[str, Plot]

    def require_memory(self) -> None:
        """Check, before anything is written, that memory suffices for training and its evaluations.

        Raises:
            UsageError: if it does not.
        """
        parts = self.trainer.step.microbatches
        here = self.strategy.replicas // self.strategy.processes
        require_training(
            self.model,
            rows=parts.rows * here,
            batch_size=self.config.batch_size,
            samples=parts.objective.samples,
            share=-(-parts.count // self.strategy.processes),
            state=sum(int(v.dtype.size * math.prod(v.shape)) for v in self.state.variables.values()),
        )
        for split in self.batches.keys() - {"train"}:
            examples = self.batches[split].examples
            require_evaluation(self.model, self.config.evaluate.batch_size, self.config.evaluate.samples, examples)

    @property
    def learning_rate(self) -> float | None:
        """The optimizer's learning rate if it is a number; None if a schedule computes it."""
        rate = self.trainer.step.optimizer.learning_rate
        return float(rate.value.numpy()) if isinstance(rate, keras.Variable) else None

    def set_learning_rate(self, rate: float) -> None:
        """Set the optimizer's learning rate, which must be a number; all processes call this at the same step."""
        self.trainer.step.optimizer.learning_rate.value.assign(rate)

    def batches_of(self, split: str) -> Batches:
        """Return the examples of a split.

        Raises:
            UsageError: if the data set has no such split.
        """
        if split not in self.batches:
            there_are = ", ".join(self.batches)
            raise UsageError(f"data set {self.dataset.name!r} has no split {split!r}; available: {there_are}")
        return self.batches[split]

    def whole_split(self, split: str, *, rows: int, samples: int = 1, features: Features | None = None) -> ModelOfSplit:
        """Return a split and the model, for what looks at all examples; see `ModelOfSplit`.

        Raises:
            UsageError: if the data set has no such split.
        """
        return ModelOfSplit(
            self.strategy,
            self.model,
            self.batches_of(split),
            self.average,
            self.dataset,
            rows=rows,
            samples=samples,
            seed=self.config.seed,
            features=features,
        )

    def evaluator(self, split: str, *, samples: int | None = None, features: Features | None = None) -> Evaluator:
        """Return the evaluator of a split.

        Args:
            split: `train`, `validation` or `test`.
            samples: L, the samples of z per example; None uses the config's.
            features: a feature network for metrics that compare samples with examples.

        Raises:
            UsageError: if the data set has no such split, or memory does not suffice.
        """
        batches = self.batches_of(split)
        wanted = samples or self.config.evaluate.samples
        rows, examples = self.config.evaluate.batch_size, batches.examples
        require_evaluation(self.model, rows, wanted, examples)
        of_split = self.whole_split(split, rows=rows_of(self.model, rows), samples=wanted, features=features)
        per_example, whole = by_kind(self.metrics)
        return Evaluator(
            self.strategy,
            self.model,
            batches,
            self.average,
            batch_size=rows,
            samples=wanted,
            seed=self.config.seed,
            columns=replace(self.columns, players=()),
            metrics=per_example,
            whole={name: functools.partial(metric, of_split) for name, metric in whole.items()},
        )


def build(resolved: Resolved, dataset: Dataset, strategy: Strategy) -> Experiment:
    """Build the model, the optimizer and the step.

    Args:
        resolved: the config and its components.
        dataset: as loaded.
        strategy: how replicas are run.

    Raises:
        VaeflowError: if components can't be built, or don't fit the data or each other.
    """
    config = resolved.config
    binarization, transforms = resolved.binarization.build(), _transforms(resolved, dataset.x_shape)
    classes = classes_of(dataset) if config.condition.labels else 0
    batches = _batches(config, dataset, binarization, transforms, classes)
    timeline = timeline_of(config, batches["train"].order.steps_per_epoch)
    with strategy.scope():
        model = build_model(resolved, batches["train"].x_shape, classes=classes)
        built = Built(
            dataset.x_shape,
            transforms,
            model,
            resolved.objective.build(),
            resolved.kl_schedule.build(timeline),
            {bound.name: bound.build() for bound in resolved.metrics},
            classes,
        )
        sanity_check(resolved, built)
        start_from_examples(model, batches["train"])
        step = _train_step(resolved, built, batches["train"], timeline, strategy)
    return Experiment(
        resolved=resolved,
        config=config,
        dataset=dataset,
        timeline=timeline,
        length_matters=timeline.length_was_read,
        strategy=strategy,
        model=model,
        columns=Columns.of(model, classes=classes, players=step.microbatches.players),
        average=step.average,
        trainer=Trainer(step, until_bad=config.nonfinite.action != "skip"),
        state=TrainingState(step),
        trained=TrainedVAE(
            model,
            step.average,
            binarization,
            seed=config.seed,
            transforms=transforms,
            dataset=dataset,
            classes=classes,
        ),
        batches=batches,
        metrics=built.metrics,
        plots={plot.name: plot.build() for plot in resolved.plots},
    )


def _batches(
    config: Config, dataset: Dataset, binarization: Binarization, transforms: list[Transform], classes: int
) -> dict[str, Batches]:
    """Return the examples of each split."""
    return {
        name: Batches.of(
            name,
            split,
            binarization,
            seed=config.seed,
            batch_size=config.batch_size,
            transforms=transforms,
            classes=classes,
        )
        for name, split in dataset.splits().items()
    }


def _transforms(resolved: Resolved, x_shape: tuple[int, ...]) -> list[Transform]:
    built: list[Transform] = []
    for bound in resolved.transforms:
        transform = bound.build(tuple(built[-1].x_shape) if built else x_shape)
        if not hasattr(transform, "x_shape"):
            raise PluginError(f"{bound.registered.label} built {type(transform).__name__}, which has no x_shape")
        built.append(transform)
    return built


def _train_step(
    resolved: Resolved, built: Built, batches: Batches, timeline: Timeline, strategy: Strategy
) -> TrainStep:
    config, model = resolved.config, built.model
    count = strategy.replicas * config.accumulate if config.microbatches == "auto" else config.microbatches
    optimizer = resolved.optimizer.build(resolved.learning_rate.build(timeline))
    optimizer.build(model.trainable_variables)
    strategy.disable_optimizer_reduction(optimizer)
    for player in players_of(model, built.objective):
        player.optimizer.build(player.variables)
        strategy.disable_optimizer_reduction(player.optimizer)
    microbatches = Microbatches(
        model,
        batches,
        built.objective,
        built.schedule,
        LossScale.for_precision(config.precision, -(-config.batch_size // count)),
        count=count,
        xla=config.xla,
    )
    return TrainStep(
        microbatches=microbatches,
        optimizer=optimizer,
        average=MovingAverage(model.trainable_variables, config.ema),
        strategy=strategy,
        reduction=_reduction(config),
        clip_norm=config.clip_norm,
        skip_norm=config.skip_norm,
    )


def _reduction(config: Config) -> Reduction:
    if config.microbatches != "auto":
        return ExactSum(config.microbatches)
    return PlainSum("float32" if config.compression == "none" else config.compression, config.batch_size)
