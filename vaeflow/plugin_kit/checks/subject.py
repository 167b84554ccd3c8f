"""A component under test, in a small model on small data."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from vaeflow.config.resolve import Resolved, resolve
from vaeflow.config.schema import KINDS_OF_LISTS, KINDS_OF_SELECTIONS, Config
from vaeflow.contracts import Dataset, PriorContext, Split, Timeline
from vaeflow.data.noise import Noise
from vaeflow.distributed.strategies.mirrored import MirroredTopology
from vaeflow.distributed.strategies.single import SingleStrategy
from vaeflow.engine.precision import built_in
from vaeflow.errors import UsageError
from vaeflow.plugin_kit.checks.forks import Forks
from vaeflow.plugin_kit.checks.require import require_close
from vaeflow.plugin_kit.checks.side_effects import SideEffects, place_of, watched
from vaeflow.plugins.records import MODEL_KEYS
from vaeflow.training.experiment import Experiment, build

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaeflow.contracts import Likelihood, Posterior, Prior
    from vaeflow.plugins.registered import Bound
    from vaeflow.plugins.registry import Registry

EXAMPLES, BATCH, MICROBATCHES = 23, 10, 4
"""The last batch has 3 examples, so that microbatches have padded rows, and one has only padded rows."""

SHAKEN, SHAKEN_MATRIX = 0.5, 0.2
"""Scales of the changes of weights, see `shake`."""

CLASSES = 3
"""Labels of the small data."""

ROWS, VALID = 7, 4
"""Examples of a rule's batch, and how many of them stay when the others are changed."""

KEY_OF_KIND = {kind: key for key, kind in KINDS_OF_SELECTIONS.items()}
LIST_OF_KIND = {kind: key for key, kind in KINDS_OF_LISTS.items()}

USUAL = {"likelihood": "bernoulli", "prior": "standard-normal", "posterior": "diagonal-gaussian"}
"""The default partners of a component under test."""


@dataclass(frozen=True)
class Small:
    """A small run.

    Attributes:
        experiment: what trains.
        initial: the state before the first step.
        effects: side effects of the component's own code while it was built, traced and evaluated.
    """

    experiment: Experiment
    initial: dict[str, np.ndarray]
    effects: SideEffects


@dataclass(frozen=True)
class Subject:
    """A component and the model that it is tested in.

    Attributes:
        registry: all components.
        kind: the component's.
        name: the component's.
        options: as a TOML file spells them.
        x_shape: X of the examples.
        latent_size: D.
        partners: names of components of other kinds to test it with, by kind; default `USUAL`.
        forks: separate processes for rules.
    """

    registry: Registry
    kind: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    x_shape: tuple[int, ...] = (8, 8, 1)
    latent_size: int = 2
    partners: Mapping[str, str] = field(default_factory=dict)
    forks: Forks = field(default_factory=Forks)

    @cached_property
    def bound(self) -> Bound:
        """The component with its options."""
        return self.registry.get(self.kind, self.name).bind(self.options, self.kind)

    @property
    def place(self) -> str:
        """The file or the package's folder with its own code."""
        return place_of(self.bound.component.build)

    @property
    def label(self) -> str:
        """The component as errors name it, with its origin."""
        return self.bound.registered.label

    @cached_property
    def timeline(self) -> Timeline:
        """The timeline of the small run."""
        return Timeline(steps_per_epoch=-(-EXAMPLES // BATCH), total_steps=30)

    @cached_property
    def dataset(self) -> Dataset:
        """Random bytes of shape X, half of them dark."""
        pixels = np.random.default_rng(0).integers(0, 256, (3, EXAMPLES, *self.x_shape), dtype=np.uint8)
        train, validation, test = (Split(part, np.arange(EXAMPLES) % CLASSES) for part in pixels)
        return Dataset("made", train, validation, test, "made for a check")

    def resolved(self, **settings: Any) -> Resolved:
        """Return the small run's components, including this one.

        Args:
            settings: additional keys of the config.
        """
        tree: dict[str, Any] = {
            "name": "check",
            "epochs": None,
            "steps": self.timeline.total_steps,
            "batch_size": BATCH,
            "microbatches": MICROBATCHES,
            "latent_size": self.latent_size,
            "encoder": {"name": "mlp", "hidden": (8,)},
            "decoder": {"name": "mlp", "hidden": (8,)},
            "log": {"tensorboard": False, "every_steps": 5},
            "evaluate": {"batch_size": BATCH},  # so that two replicas have examples to evaluate
            "plots": {"draw": ()},
            **({"condition": {"labels": True}} if self.needs_labels else {}),
            **self._beside(),
            **settings,
        }
        selection = {"name": self.name, **self.options}
        if self.kind in KEY_OF_KIND:
            tree[KEY_OF_KIND[self.kind]] = selection
        elif self.kind == "plot":
            tree["plots"] = {"draw": (selection,)}
        else:
            tree[LIST_OF_KIND[self.kind]] = (selection,)
        if (model := self.name if self.kind == "model" else self.partners.get("model")) is not None:
            uses = self.registry.get("model", model).component.uses
            tree = {key: value for key, value in tree.items() if key not in MODEL_KEYS or key in uses}
        return resolve(Config.model_validate(tree), self.registry)

    def _beside(self) -> dict[str, Any]:
        """Return the partners as a config selects them."""
        selected = {kind: {"name": name} for kind, name in self.partners.items()}
        ones = {KEY_OF_KIND[kind]: one for kind, one in selected.items() if kind in KEY_OF_KIND}
        return ones | {LIST_OF_KIND[kind]: (one,) for kind, one in selected.items() if kind in LIST_OF_KIND}

    def experiment(self, replicas: int = 1, **settings: Any) -> Experiment:
        """Return the small run on some replicas of this process, ready to take steps.

        Args:
            replicas: devices.
            settings: additional keys of the config.
        """
        strategy = SingleStrategy() if replicas == 1 else MirroredTopology(replicas).start()
        resolved = self.resolved(**settings)
        dataset = self.dataset
        if self.kind == "dataset":
            from vaeflow.data.sets import Folders

            dataset = resolved.dataset.build(Folders.default())
        return build(resolved, dataset, strategy)

    @cached_property
    def small(self) -> Small:
        """The small run on one replica, after its first step; shared by rules, since tracing takes seconds."""
        with watched(self.place) as effects:
            experiment = self.experiment()
            initial = experiment.state.arrays()
            experiment.trainer.execute(0, 1)
            experiment.evaluator("test")()
        return Small(experiment, initial, effects)

    def build(self, *positional: Any, precision: str = "float32") -> Any:
        """Return what the component builds, in a precision."""
        with built_in(precision):
            return self.bound.build(*positional)

    # The parts of distributions

    def likelihood(self) -> Likelihood:
        """Return the likelihood under test, or its partner."""
        return self._of_kind("likelihood").build(self.x_shape)

    def prior(self) -> Prior:
        """Return the prior under test, or its partner, connected to a small encoder and the posterior."""
        return self._connected_prior(CLASSES if self.needs_labels else 0)

    @cached_property
    def needs_labels(self) -> bool:
        """Whether the component under test is a prior that refuses a model without labels."""
        if self.kind != "prior":
            return False
        try:
            self._connected_prior(0)
        except UsageError:
            return True
        return False

    def _connected_prior(self, classes: int) -> Prior:
        prior = self._of_kind("prior").build(self.latent_size)
        if hasattr(prior, "connect"):
            encoder = self.registry.get("encoder", "mlp").bind({"hidden": (8,)}, "encoder").build(self.x_shape)
            posterior = self.posterior()
            context = PriorContext(self.x_shape, classes, lambda x: posterior.distribution(encoder(x, training=False)))
            prior.connect(context)
        return prior

    def posterior(self) -> Posterior:
        """Return the posterior under test, or its partner."""
        return self._of_kind("posterior").build(self.latent_size)

    def _of_kind(self, kind: str) -> Bound:
        if self.kind == kind:
            return self.bound
        return self.registry.get(kind, self.partners.get(kind, USUAL[kind])).bind({}, kind)


def normal(*shape: int, name: str = "normal") -> tf.Tensor:
    """Return standard normal numbers of a shape, float32, the same at each call."""
    rows = int(np.prod(shape[:-1]))
    return tf.reshape(Noise(0, f"check/{name}").normal(0, 0, rows, shape[-1]), shape)


def uniform(*shape: int, name: str = "uniform") -> tf.Tensor:
    """Return numbers in (0, 1) of a shape, float32, the same at each call."""
    rows = int(np.prod(shape[:-1]))
    return tf.reshape(Noise(0, f"check/{name}").uniform(0, 0, rows, shape[-1]), shape)


def beside(values: tf.Tensor, others: tf.Tensor, axis: int = 0) -> tf.Tensor:
    """Return values of 7 examples, the last 3 replaced by others.

    Args:
        values: of examples along an axis.
        others: of the same shape.
        axis: of the examples, 0 or 1.
    """
    first, last = (slice(None),) * axis + (slice(VALID),), (slice(None),) * axis + (slice(VALID, None),)
    return tf.concat([values[first], others[last]], axis=axis)


def require_same_rows(got: tf.Tensor, wanted: tf.Tensor, what: str, axis: int = 0) -> None:
    """Require the first 4 examples to be equal up to rounding if the others in the batch change.

    Args:
        got: values of a batch with other last examples.
        wanted: values of the original batch.
        what: names them, for the message.
        axis: of the examples.
    """
    theirs, ours = (np.take(np.asarray(values, np.float32), range(VALID), axis=axis) for values in (got, wanted))
    require_close(theirs, ours, what, within=1e-5 * (1 + np.abs(ours)))


def shake(component: object) -> None:
    """Change the weights of a component by random numbers: at the initial weights a wrong formula may be right."""
    for index, variable in enumerate(getattr(component, "trainable_variables", ())):
        shape = tuple(variable.shape)
        noise = tf.reshape(normal(*(shape or (1,)), name=f"shake/{index}"), shape)
        away = tf.sign(noise) * (0.5 + 0.5 * tf.abs(noise))  # a scalar must change, too
        moved = variable + (SHAKEN if len(shape) < 2 else SHAKEN_MATRIX) * away
        constraint = getattr(variable, "constraint", None)
        variable.assign(moved if constraint is None else constraint(moved))
