"""The config of a run: one validated, typed tree of options.

`Config` checks what can be known without plugins. That the components exist and take the options given to them is
checked by `vaeflow.config.resolve.resolve`. Every key's description here is the reference's text.
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
    """A table of the config: read-only, of exact types, without unknown keys. The word 'none' stands for None."""

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
    """A component and its options: `{name = "conv-mnist", width = 64}`, or just its name.

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
    """When checkpoints are written and how many stay."""

    every_steps: AtLeastOne | None = Field(
        None, description="Steps between two checkpoints; none for one at the end of each epoch."
    )
    keep: AtLeastOne = Field(3, description="How many of the newest checkpoints stay on disk.")


class NonFiniteConfig(Section):
    """What is done about steps whose loss or gradient is infinite or NaN. Such a step never changes a weight."""

    action: Literal["skip", "stop", "rollback"] = Field(
        "skip",
        description="skip goes on with the next step; stop saves and ends the run; rollback puts back the state of the "
        "newest checkpoint and goes on. A gradient that overflows mixed_float16's loss scale is skipped in any case.",
    )
    stop_after: AtLeastOne = Field(
        50,
        description="Skipped steps in a row after which a run saves and ends, whatever the action; with rollback, "
        "states put back in a row without a finite step after them.",
    )


class LogConfig(Section):
    """What goes to metrics.jsonl and TensorBoard, and how often."""

    every_steps: AtLeastOne = Field(100, description="Steps between two log points of the training metrics.")
    tensorboard: bool = Field(True, description="Write TensorBoard logs.")
    histograms: bool = Field(True, description="TensorBoard: histograms of weights and latents, each epoch.")
    images: bool = Field(True, description="TensorBoard: reconstructions, samples, manifold or traversals.")
    projector: bool = Field(True, description="TensorBoard: latent means with labels and sprites, at the end.")
    graph: bool = Field(True, description="TensorBoard: the graph of the model.")


class EvaluateConfig(Section):
    """Evaluation on the held-out examples while training."""

    every_epochs: AtLeastOne = Field(1, description="Epochs between two evaluations; the last epoch always has one.")
    batch_size: AtLeastOne = Field(200, description="Examples in a batch of evaluation; figures change by rounding.")
    samples: AtLeastOne = Field(1, description="L, samples of z an example.")


def _selection(name: str, description: str, **options: Any) -> Any:
    return Field(Selection(name=name, **options), description=description)


def _selections(names: tuple[str, ...], description: str) -> Any:
    return Field(tuple(Selection(name=name) for name in names), strict=False, description=description)


PLOTS = ("latents", "reconstructions", "samples", "manifold", "traversals", "curves")


class PlotsConfig(Section):
    """The plots that a run leaves as PNG files."""

    every_epochs: Annotated[int, Field(ge=0)] = Field(
        0, description="Epochs between two sets of plots; 0 for one set, at the end."
    )
    draw: tuple[Selection, ...] = _selections(
        PLOTS, "Which ones (kind plot); one that does not fit a model is left out."
    )


class Config(Section):
    """Everything that a run depends on, beside the code: a run is a function of it.

    The defaults are the article's: the same model and training as the recipe `mnist-2d`.

    Raises:
        pydantic.ValidationError: if a key is unknown or a value isn't allowed. `vaeflow.config.compose.compose` turns
            it into one line.

    >>> Config(steps=500).epochs is None
    True
    """

    name: str = Field("custom", min_length=1, description="Name of the recipe; run directories start with it.")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        0, description="What initial weights, the order of examples and all noise are computed from."
    )
    epochs: AtLeastOne | None = Field(
        20, description="Passes over the training examples. Exactly one of epochs and steps is set."
    )
    steps: AtLeastOne | None = Field(
        None, description="Optimizer steps, instead of epochs. Setting one of the two clears the other."
    )
    batch_size: AtLeastOne = Field(100, description="Examples in a step, over all replicas.")
    microbatches: Literal["auto"] | AtLeastOne = Field(
        "auto",
        description="Parts of the batch that are differentiated one by one. A number gives the same weights, bit for "
        "bit, on any number of replicas; auto is one part a replica (times accumulate): fastest, equal to rounding.",
    )
    compression: Literal["none", "float16", "bfloat16"] = Field(
        "none",
        description='What gradients are rounded to on their way between replicas; only with microbatches = "auto", and '
        "without effect on one replica.",
    )
    accumulate: AtLeastOne = Field(
        1, description='Microbatches a replica, to save memory; only with microbatches = "auto".'
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "float32", description="What the networks compute in; log-densities are always float32."
    )
    xla: bool = Field(False, description="Compile forward and backward pass by XLA.")
    threads: Literal["auto"] | AtLeastOne = Field(
        "auto",
        description="CPU threads inside an operation, for each replica; another number gives other bits. "
        "auto is 1 when microbatches is a number, else all cores.",
    )
    latent_size: AtLeastOne = Field(2, description="D, the number of latent dimensions.")
    dataset: Selection = _selection("mnist", "Where examples come from.")
    transforms: tuple[Selection, ...] = _selections(
        (), "What is done to stored pixels, in this order (kind transform)."
    )
    binarization: Selection = _selection("threshold", "How pixels become x.")
    encoder: Selection = _selection("conv-mnist", "Network from x to features.")
    decoder: Selection = _selection("conv-mnist", "Network from z to the likelihood's parameters.")
    posterior: Selection = _selection("diagonal-gaussian", "q(z given x), from the encoder's features.")
    prior: Selection = _selection("standard-normal", "p(z).")
    likelihood: Selection = _selection("bernoulli", "p(x given z), from the decoder's output.")
    objective: Selection = _selection("elbo", "What is maximized.")
    kl_schedule: Selection = _selection("constant", "Weight of the KL divergence as training goes on (kind schedule).")
    optimizer: Selection = _selection("rmsprop", "What turns gradients into new weights.")
    learning_rate: Positive | Selection = Field(
        1e-3, description="The optimizer's step size: a number, or a selection of kind learning_rate."
    )
    clip_norm: Positive | None = Field(
        None,
        description="Largest global norm of the gradient (of the mean loss, nats an example); none for no limit.",
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Decay of a moving average of the weights, for each step; evaluation uses it. none for none.",
    )
    init_from: str | None = Field(
        None, min_length=1, description="Directory of another run whose newest weights this one starts from; or none."
    )
    strategy: Selection = _selection("auto", "How replicas are run and their sums are added.")
    verify_every_steps: AtLeastOne | None = Field(
        1000, description="Steps between two checks that all replicas hold the same state; none for one, at the start."
    )
    metrics: tuple[Selection, ...] = _selections((), "Figures that evaluations add (kind metric).")
    callbacks: tuple[Selection, ...] = _selections((), "What is done between chunks of steps (kind callback).")
    checkpoint: CheckpointConfig = Field(CheckpointConfig(), description="When checkpoints are written.")
    nonfinite: NonFiniteConfig = Field(NonFiniteConfig(), description="Steps whose loss or gradient is not finite.")
    log: LogConfig = Field(LogConfig(), description="What is logged and how often.")
    evaluate: EvaluateConfig = Field(EvaluateConfig(), description="Evaluation while training.")
    plots: PlotsConfig = Field(PlotsConfig(), description="Plots as PNG files.")

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
                "a number of microbatches says it all"
            )
        if self.microbatches != "auto" and self.compression != "none":
            raise ValueError(
                f"compression = {self.compression!r} needs microbatches = 'auto', but it is {self.microbatches}: "
                "exact sums can't be rounded"
            )
        if self.microbatches != "auto" and self.microbatches > self.batch_size:
            raise ValueError(f"microbatches = {self.microbatches} is more than batch_size = {self.batch_size}")
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"name = {self.name!r} can't name a run directory: letters, digits, spaces and .+-_ are allowed, "
                "a letter or digit first"
            )
        return self


KINDS_OF_SELECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "dataset": "dataset",
        "binarization": "binarization",
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

HARMLESS = ("name", "strategy", "verify_every_steps", "log", "plots", "checkpoint")
"""Keys and tables of the config that no weight depends on, as a rule; see `changes_bits`."""


def changes_bits(key: str, config: Config) -> bool:
    """Say whether another value of a key may change the weights or figures of a run.

    Callbacks may ask for a stop or another learning rate where rows are logged, and `rollback` returns to a checkpoint:
    then it matters when that is.

    >>> changes_bits("seed", Config()), changes_bits("log.every_steps", Config())
    (True, False)
    """
    if key == "log.every_steps":
        return bool(config.callbacks)
    if key == "checkpoint.every_steps":
        return config.nonfinite.action == "rollback"
    return key.partition(".")[0] not in HARMLESS
