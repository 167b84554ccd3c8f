"""The config of a run: a validated, typed tree of options.

`Config` validates everything that does not depend on plugins. `vaeflow.config.resolve.resolve` checks that the
components exist and accept their options. The documentation shows the descriptions of the keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vaeflow.plugins.type_names import admits_none

NAME = re.compile(r"[^\W_][\w .+-]*")
AtLeastOne = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A table of the config: read-only and strictly typed; unknown keys are errors. The text 'none' means None."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    in_words: ClassVar[str] = "a table"

    @model_validator(mode="before")
    @classmethod
    def _none_in_words(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        optional = {name for name, field in cls.model_fields.items() if admits_none(field.annotation)}
        return {key: None if key in optional and value == "none" else value for key, value in data.items()}


class Selection(BaseModel):
    """A component and its options: `{name = "conv-mnist", width = 64}`, or only its name.

    >>> Selection.model_validate("mlp").name
    'mlp'
    >>> dict(Selection(name="mlp", depth=3).options)
    {'depth': 3}
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    in_words: ClassVar[str] = "a component's name or a table {name = ...}"

    name: str = Field(description="Name of the component; `vaeflow plugins` lists them by kind.")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data

    @property
    def options(self) -> Mapping[str, Any]:
        """The options that were given."""
        return MappingProxyType(self.model_extra or {})


class CheckpointConfig(Section):
    """When checkpoints are written and how many are kept."""

    every_steps: AtLeastOne | None = Field(
        None, description="Steps between two checkpoints; 'none' writes one at the end of each epoch."
    )
    keep: AtLeastOne = Field(3, description="Number of newest checkpoints that are kept on disk.")


class NonFiniteConfig(Section):
    """How steps with an infinite or NaN loss or gradient are handled. Such a step never changes a weight."""

    action: Literal["skip", "stop", "rollback"] = Field(
        "skip",
        description="What happens after a step with an infinite or NaN loss or gradient: skip continues with the next "
        "step; stop saves and ends the run; rollback restores the newest checkpoint and continues. A gradient that "
        "overflows mixed_float16's loss scale is always skipped.",
    )
    stop_after: AtLeastOne = Field(
        50,
        description="Consecutive skipped steps after which the run saves and ends, for every action; with rollback, "
        "consecutive rollbacks without a finite step in between.",
    )


class LogConfig(Section):
    """What is logged to metrics.jsonl and TensorBoard, and how often."""

    every_steps: AtLeastOne = Field(100, description="Steps between two log entries of the training metrics.")
    tensorboard: bool = Field(True, description="Write TensorBoard logs.")
    histograms: bool = Field(True, description="TensorBoard: histograms of weights and latents, each epoch.")
    images: bool = Field(True, description="TensorBoard: reconstructions, samples, manifold or traversals.")
    projector: bool = Field(True, description="TensorBoard: latent means with labels and sprites, at the end.")
    graph: bool = Field(True, description="TensorBoard: the graph of the model.")


class EvaluateConfig(Section):
    """Evaluation on held-out examples during training."""

    every_epochs: AtLeastOne = Field(1, description="Epochs between two evaluations; the last epoch always has one.")
    batch_size: AtLeastOne = Field(200, description="Examples per evaluation batch; changes metrics only by rounding.")
    samples: AtLeastOne = Field(1, description="L, the samples of z per example.")


class ConditionConfig(Section):
    """What the model is conditioned on."""

    labels: bool = Field(
        False,
        description="Give the labels of the examples to the model, as one-hot vectors; the data must have labels.",
    )


def _selection(name: str, description: str, **options: Any) -> Any:
    return Field(Selection(name=name, **options), description=description)


def _selections(names: tuple[str, ...], description: str) -> Any:
    return Field(tuple(Selection(name=name) for name in names), strict=False, description=description)


PLOTS = ("latents", "reconstructions", "samples", "manifold", "traversals", "curves")


class PlotsConfig(Section):
    """The plots that a run writes."""

    every_epochs: Annotated[int, Field(ge=0)] = Field(
        0, description="Epochs between two sets of plots; 0 draws one set, at the end."
    )
    draw: tuple[Selection, ...] = _selections(
        PLOTS, "Plots to draw (kind plot); a plot that does not fit the model is skipped."
    )
    formats: Annotated[tuple[Literal["png", "pdf"], ...], Field(min_length=1)] = Field(
        ("png",), strict=False, description="Formats of the files of each plot. TensorBoard shows the PNG files."
    )


class Config(Section):
    """Everything that determines a run, apart from code and data.

    The defaults are the article's: the same model and training as the recipe `mnist-2d`.

    Raises:
        pydantic.ValidationError: if a key is unknown or a value isn't allowed. `vaeflow.config.compose.compose` turns
            this error into one line.

    >>> Config(steps=500).epochs is None
    True
    """

    name: str = Field("custom", min_length=1, description="Name of the recipe; names of run directories start with it.")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        0, description="Seed of the initial weights, the order of examples and all noise."
    )
    epochs: AtLeastOne | None = Field(
        20, description="Passes over the training examples. Exactly one of epochs and steps is set."
    )
    steps: AtLeastOne | None = Field(
        None, description="Optimizer steps, instead of epochs. Setting steps clears epochs, and vice versa."
    )
    batch_size: AtLeastOne = Field(100, description="Global batch size: examples per step, over all replicas.")
    microbatches: Literal["auto"] | AtLeastOne = Field(
        "auto",
        description="Number of parts of the batch whose gradients are computed one by one. A number gives the same "
        "weights, bit for bit, on any number of replicas. auto is one part per replica (times accumulate): it is "
        "fastest, and equal up to rounding.",
    )
    compression: Literal["none", "float16", "bfloat16"] = Field(
        "none",
        description='Type that gradients are rounded to for the all-reduce; only with microbatches = "auto". It has no '
        "effect on one replica.",
    )
    accumulate: AtLeastOne = Field(
        1, description='Microbatches per replica, to save memory; only with microbatches = "auto".'
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "float32", description="Precision of the networks; log-densities are always computed in float32."
    )
    xla: bool = Field(False, description="Compile the forward and backward pass with XLA.")
    threads: Literal["auto"] | AtLeastOne = Field(
        "auto",
        description="CPU threads per operation, for each replica; another number changes results by rounding. "
        "auto is 1 if microbatches is a number, else all cores.",
    )
    latent_size: AtLeastOne = Field(2, description="D, the number of latent dimensions.")
    dataset: Selection = _selection("mnist", "Data set of the examples.")
    transforms: tuple[Selection, ...] = _selections(
        (), "Transforms that are applied to the stored pixels, in this order (kind transform)."
    )
    binarization: Selection = _selection("threshold", "How pixels are turned into the model's input x.")
    model: Selection = _selection("single-layer", "Model: its groups of latents, and how they depend on each other.")
    condition: ConditionConfig = Field(ConditionConfig(), description="What the model is conditioned on.")
    encoder: Selection = _selection("conv-mnist", "Network from x to features.")
    decoder: Selection = _selection("conv-mnist", "Network from z to the likelihood's parameters.")
    posterior: Selection = _selection("diagonal-gaussian", "q(z given x), computed from the encoder's features.")
    prior: Selection = _selection("standard-normal", "p(z), the prior of the latents.")
    likelihood: Selection = _selection("bernoulli", "p(x given z), computed from the decoder's output.")
    objective: Selection = _selection("elbo", "Objective that is maximized.")
    kl_schedule: Selection = _selection("constant", "Weight of the KL divergence over training (kind schedule).")
    optimizer: Selection = _selection("rmsprop", "Optimizer that updates the weights.")
    learning_rate: Positive | Selection = Field(
        1e-3, description="Learning rate of the optimizer: a number, or a component of kind learning_rate."
    )
    clip_norm: Positive | None = Field(
        None,
        description="Gradients of the mean loss (nats per example) are clipped to this global norm; 'none' disables "
        "clipping.",
    )
    skip_norm: Positive | None = Field(
        None,
        description="A step whose gradient has a larger global norm than this is skipped on all replicas (Child 2021), "
        "and counted in train/skipped_steps; 'none' skips none.",
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="If set, an exponential moving average of the weights with this decay per step is used for "
        "evaluation; 'none' disables it.",
    )
    init_from: str | None = Field(
        None,
        min_length=1,
        description="Directory of another run; training starts from its newest weights. 'none' disables it.",
    )
    strategy: Selection = _selection("auto", "Strategy that runs the replicas and sums their gradients.")
    verify_every_steps: AtLeastOne | None = Field(
        1000,
        description="Steps between two checks that all replicas have the same state; 'none' checks only at the start.",
    )
    metrics: tuple[Selection, ...] = _selections((), "Additional metrics of evaluations (kind metric).")
    callbacks: tuple[Selection, ...] = _selections((), "Callbacks that are called during training (kind callback).")
    checkpoint: CheckpointConfig = Field(CheckpointConfig(), description="When checkpoints are written and kept.")
    nonfinite: NonFiniteConfig = Field(NonFiniteConfig(), description="Steps whose loss or gradient is not finite.")
    log: LogConfig = Field(LogConfig(), description="What is logged and how often.")
    evaluate: EvaluateConfig = Field(EvaluateConfig(), description="Evaluation during training.")
    plots: PlotsConfig = Field(PlotsConfig(), description="Plots as PNG or PDF files.")

    @model_validator(mode="before")
    @classmethod
    def _steps_without_epochs(cls, data: Any) -> Any:
        given = isinstance(data, Mapping) and data.get("steps") not in (None, "none") and "epochs" not in data
        return {**data, "epochs": None} if given else data

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if (self.epochs is None) == (self.steps is None):
            given = "none" if self.epochs is None else "both"
            raise ValueError(f"exactly one of epochs and steps must be set, but {given} is")
        if self.microbatches != "auto" and self.accumulate != 1:
            raise ValueError(
                f"accumulate = {self.accumulate} needs microbatches = 'auto', but it is {self.microbatches}: "
                "a number of microbatches replaces accumulate"
            )
        if self.microbatches != "auto" and self.compression != "none":
            raise ValueError(
                f"compression = {self.compression!r} needs microbatches = 'auto', but it is {self.microbatches}: "
                "with a number, sums are exact and gradients can't be rounded"
            )
        if self.microbatches != "auto" and self.microbatches > self.batch_size:
            raise ValueError(f"microbatches = {self.microbatches} is larger than batch_size = {self.batch_size}")
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"name = {self.name!r} is not allowed in the name of a run directory: use letters, digits, spaces and "
                ".+-_, with a letter or digit first"
            )
        return self


KINDS_OF_SELECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "dataset": "dataset",
        "binarization": "binarization",
        "model": "model",
        "encoder": "encoder",
        "decoder": "decoder",
        "posterior": "posterior",
        "prior": "prior",
        "likelihood": "likelihood",
        "objective": "objective",
        "kl_schedule": "schedule",
        "optimizer": "optimizer",
        "learning_rate": "learning_rate",
        "strategy": "strategy",
    }
)
"""The kind of component that each selection of the config names."""

KINDS_OF_LISTS: Mapping[str, str] = MappingProxyType(
    {"transforms": "transform", "metrics": "metric", "plots.draw": "plot", "callbacks": "callback"}
)
"""The kind of component that each list of selections names."""
