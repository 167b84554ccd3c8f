"""Call each method of a model once, and check what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from vaeflow.contracts import Terms
from vaeflow.errors import PluginError
from vaeflow.model.latents import generation_noise_size, zero_inputs
from vaeflow.model.modes import in_mode
from vaeflow.training.sanity_check.hidden_variables import hidden_variables, require_none
from vaeflow.training.sanity_check.returned import computed, described, has, tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaeflow.contracts import LatentGroup, LatentVariableModel
    from vaeflow.plugins.registered import Bound

B, L = 3, 2  # examples, and samples of z per example
DISTRIBUTION = (("sample",), ("log_prob",), ("mean",))


def try_model(bound: Bound, model: LatentVariableModel, *, classes: int = 0) -> None:
    """Compute the terms of a few examples. This also creates the weights of layers that are built on their first call.

    Args:
        bound: the component.
        model: what it built.
        classes: C of a conditional model, else 0.

    Raises:
        PluginError: with the component's name, if it fails, returns a wrong value, or uses variables that the model
            does not contain.
    """
    tried = _Tried(bound.registered.label, model, classes)
    with tf.GradientTape() as tape:
        tried.terms()
        tried.encode_and_decode()
        tried.generate()
    require_none(hidden_variables(model, tape.watched_variables()), bound.registered.label)
    owned = {id(v) for part in model.parts.values() for v in getattr(part, "variables", ())}
    for variable in model.trainable_variables:
        if id(variable) not in owned:
            raise PluginError(
                f"{bound.registered.label}: variable {variable.path!r} is in none of its parts "
                f"({', '.join(model.parts)}), so logs would not name it"
            )


class _Tried:
    """Calls the methods of a model on zeros."""

    def __init__(self, label: str, model: LatentVariableModel, classes: int) -> None:
        self._label, self._model = label, model
        self._x, self._noise, self._labels = zero_inputs(model, rows=B, samples=L, classes=classes)

    def terms(self) -> None:
        """Compute the terms of the ELBO."""
        model, x, noise = self._model, self._x, self._noise
        terms = self._own("terms", x, lambda: model.terms(x, noise, labels=self._labels, valid=tf.ones((B,))))
        if not isinstance(terms, Terms):
            raise PluginError(f"{self._label}: terms returned {described(terms)}, not a vaeflow.contracts.Terms")
        self._tensor("log_likelihood", terms.log_likelihood, "[L, B]", (L, B))
        self._tensor("log_q", terms.log_q, "[L, B]", (L, B))
        if terms.penalty is not None:
            self._tensor("penalty", terms.penalty, "[B]", (B,))
        for name, found in (("kl_terms", terms.kl_terms), ("z", terms.z)):
            self._require_groups(f"terms returned {name}", found)
        for group in model.latents:
            self._group(terms, group)
        self._tensor("log_p", self._own("p", x, lambda: terms.log_p), "[L, B]", (L, B))
        self._distribution("terms returned p_x", terms.p_x)

    def _group(self, terms: Terms, group: LatentGroup) -> None:
        name = group.name
        self._tensor(f"kl_terms[{name!r}]", terms.kl_terms[name], "[B, K]", (B, None))
        shape = ", ".join(map(str, group.shape))
        self._tensor(f"z[{name!r}]", terms.z[name], f"[L, B, {shape}]", (L, B, *group.shape), exact=False)
        if name not in terms.p or not hasattr(terms.p[name], "log_prob"):
            raise PluginError(
                f"{self._label}: terms returned no prior p[{name!r}] with log_prob(z): importance weights need log p(z)"
            )

    def encode_and_decode(self) -> None:
        """Compute the means, and p(x given z) for them."""
        model, x = self._model, self._x
        means = self._own("encode", x, lambda: model.encode(x, labels=self._labels))
        self._require_groups("encode returned", means)
        for group in model.latents:
            shape = ", ".join(map(str, group.shape))
            what = f"{self._label}: encode returned for group {group.name!r}"
            tensor(means[group.name], what, wanted=f"[B, {shape}], floats", shape=(B, *group.shape), mend="keep B")
        p_x = self._own("decode", x, lambda: model.decode(means, labels=self._labels))
        self._distribution("decode returned", p_x)
        self._mean("decode", p_x)

    def generate(self) -> None:
        """Compute p(x given z) for z from the prior."""
        noise = tf.zeros((B, generation_noise_size(self._model.latents)))
        p_x = self._own("generate", noise, lambda: self._model.generate(noise, labels=self._labels))
        self._distribution("generate returned", p_x)
        self._mean("generate", p_x)

    def _own(self, method: str, given: tf.Tensor, compute: Callable[[], Any]) -> Any:
        return computed(f"{self._label}, {method}", described(given), lambda: in_mode(compute, training=False))

    def _tensor(
        self, name: str, value: Any, letters: str, shape: tuple[int | None, ...], *, exact: bool = True
    ) -> None:
        where = ", ".join("K" if size is None else str(size) for size in shape)
        wanted = f"{name} {letters}, {'float32 in nats' if exact else 'floats'}"
        tensor(
            value,
            f"{self._label}: terms returned {name}",
            wanted=wanted,
            shape=shape,
            mend=f"here [{where}]",
            exact=exact,
        )

    def _mean(self, method: str, p_x: Any) -> None:
        shape = (B, *self._model.x_shape)
        mean = self._own(method, self._x, p_x.mean)
        where = f"here [{', '.join(map(str, shape))}]"
        tensor(
            mean,
            f"{self._label}: the mean of what {method} returned",
            wanted="[B, *X], floats",
            shape=shape,
            mend=where,
        )

    def _distribution(self, what: str, value: Any) -> None:
        has(
            value,
            f"{self._label}: {what}",
            DISTRIBUTION,
            wanted="p(x given z) with sample(noise), log_prob(x) and mean()",
            mend="for example vaeflow.model.distributions.Bernoulli(logits, rank=len(x_shape))",
        )

    def _require_groups(self, what: str, found: Any) -> None:
        names = [group.name for group in self._model.latents]
        if not isinstance(found, Mapping) or list(found) != names:
            got = ", ".join(map(str, found)) if isinstance(found, Mapping) else described(found)
            raise PluginError(
                f"{self._label}: {what} {got}; expected a dict of its groups in order: {', '.join(names)}"
            )
