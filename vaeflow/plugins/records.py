"""The records of the plugin system: components, kinds, and origins of components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


MODEL_KEYS = ("latent_size", "encoder", "posterior", "prior", "decoder", "likelihood")
"""Keys of the config that a model may use: `latent_size`, and components that it is built from."""


@dataclass(frozen=True)
class Component:
    """A component that a plugin registers: a build function with a kind and a name.

    Attributes:
        kind: one of `KINDS`.
        name: the name in a config, in kebab-case.
        build: takes the kind's positional parameters. Its keyword-only parameters are the component's options:
            annotations validate the config, defaults fill it in, and `vaeflow plugins show KIND NAME` prints the
            docstring. Import TensorFlow inside the function, not at the top of its module.
        xla: whether XLA can compile it. If False, a config with `xla = true` that selects it is an error before any
            device is started.
        uses: of a model, those of `MODEL_KEYS` that it uses. To set another one beside the model is an error.

    >>> def wide(x_shape: tuple[int, ...], *, width: int = 64) -> "keras.Model":
    ...     '''One wide dense layer: [B, *X] to [B, width].'''
    >>> Component("encoder", "wide", wide).name
    'wide'
    """

    kind: str
    name: str
    build: Callable[..., Any]
    xla: bool = True
    uses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """A kind of components.

    Attributes:
        name: the kind.
        parameters: positional parameters of the build function, as (name, type).
        returns: the type that a build function returns.
        doc: one line.
        members: names of the required members of that type.
    """

    name: str
    parameters: tuple[tuple[str, str], ...]
    returns: str
    doc: str
    members: tuple[str, ...] = ()

    @property
    def signature(self) -> str:
        """The build function's signature without options.

        >>> KINDS["posterior"].signature
        'build(latent_size: int, *, ...) -> vaeflow.contracts.Posterior'
        """
        given = ", ".join([*(f"{name}: {type_}" for name, type_ in self.parameters), "*, ..."])
        return f"build({given}) -> {self.returns}"


@dataclass(frozen=True)
class Origin:
    """The origin of a plugin.

    Attributes:
        module: the module (or the file) with the hook.
        distribution: the installed distribution, or None for a module that was given by --plugin.
        version: the distribution's version.
    """

    module: str
    distribution: str | None = None
    version: str | None = None

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}" if self.distribution else f"{self.module} (--plugin)"

    @property
    def full(self) -> str:
        """Distribution, version and module.

        >>> Origin("vaeflow_resnet", "vaeflow-resnet", "1.2").full
        'vaeflow-resnet 1.2 (module vaeflow_resnet)'
        """
        return f"{self} (module {self.module})" if self.distribution else str(self)


_X_SHAPE = (("x_shape", "tuple[int, ...]"),)
_LATENT_SIZE = (("latent_size", "int"),)
_TIMELINE = (("timeline", "vaeflow.contracts.Timeline"),)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "model",
            (("context", "vaeflow.contracts.ModelContext"),),
            "vaeflow.contracts.LatentVariableModel",
            "latents in groups: x and noise to the terms of the ELBO, and z to p(x given z)",
            (
                *("x_shape", "latents", "parts", "terms", "generate", "encode", "decode"),
                *("variables", "trainable_variables", "non_trainable_variables"),  # of a keras.Model
            ),
        ),
        Kind("encoder", _X_SHAPE, "keras.Model", "x [B, *X] to features [B, F]"),
        Kind(
            "decoder",
            (*_LATENT_SIZE, ("output_shape", "tuple[int, ...]")),
            "keras.Model",
            "z [B, D] to the likelihood's parameters [B, *P]",
        ),
        Kind(
            "posterior",
            _LATENT_SIZE,
            "vaeflow.contracts.Posterior",
            "features [B, F] to q(z given x)",
            ("noise_size", "distribution"),
        ),
        Kind(
            "prior",
            _LATENT_SIZE,
            "vaeflow.contracts.Prior",
            "p(z), and KL(q, p) if it has a closed form",
            ("sample", "log_prob", "mean", "kl_terms"),
        ),
        Kind(
            "likelihood",
            _X_SHAPE,
            "vaeflow.contracts.Likelihood",
            "parameters [B, *P] to p(x given z)",
            ("parameters_shape", "distribution"),
        ),
        Kind(
            "objective",
            (),
            "vaeflow.contracts.Objective",
            "log-likelihood and KL to the loss of each example",
            ("samples", "loss"),
        ),
        Kind(
            "schedule",
            _TIMELINE,
            "vaeflow.contracts.Schedule",
            "weight of the KL divergence over training",
            ("weight", "penalty"),
        ),
        Kind(
            "optimizer",
            (("learning_rate", "float | keras.optimizers.schedules.LearningRateSchedule"),),
            "keras.optimizers.Optimizer",
            "gradients to new weights",
            ("build", "apply", "variables", "learning_rate"),
        ),
        Kind(
            "learning_rate",
            _TIMELINE,
            "float | keras.optimizers.schedules.LearningRateSchedule",
            "the learning rate over training",
        ),
        Kind(
            "dataset",
            (("folders", "vaeflow.data.sets.Folders"),),
            "vaeflow.contracts.Dataset",
            "examples on disk",
            ("name", "train", "validation", "test", "source", "x_shape", "splits"),
        ),
        Kind(
            "transform",
            _X_SHAPE,
            "vaeflow.contracts.Transform",
            "stored pixels to other pixels, before binarization",
            ("x_shape", "noise", "noise_size", "training_only", "__call__"),
        ),
        Kind("binarization", (), "vaeflow.contracts.Binarization", "pixels in [0, 1] to x", ("noise", "__call__")),
        Kind(
            "strategy",
            (),
            "vaeflow.distributed.strategies.base.Topology",
            "runs the replicas and sums their gradients",
            ("name", "replicas", "local_processes", "start"),
        ),
        Kind(
            "metric",
            (),
            "vaeflow.contracts.Metric",
            "a value per example, whose mean is logged by name, or values of a whole split",
            ("__call__",),
        ),
        Kind("plot", (), "vaeflow.plots.Plot", "a picture of a trained model", ("__call__",)),
        Kind("callback", (), "vaeflow.callbacks.Callback", "called between executions of steps"),
    )
}
"""Every kind by name."""
