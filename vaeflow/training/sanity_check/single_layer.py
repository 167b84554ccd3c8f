"""Run a forward pass of the single-layer model by component; each returned value is checked before it is used."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.errors import UsageError
from vaeflow.model import elbo
from vaeflow.model.latents import beside_labels, maps_of, zero_inputs
from vaeflow.model.modes import in_mode
from vaeflow.training.sanity_check.hidden_variables import hidden_variables, require_none
from vaeflow.training.sanity_check.returned import computed, described, has, tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaeflow.config.resolve import Resolved
    from vaeflow.contracts import Distribution
    from vaeflow.model.vae import VAE

B, L = 3, 2  # examples, and samples of z per example
BOTH = "sample_and_log_prob"


def try_single_layer(resolved: Resolved, model: VAE, *, classes: int = 0) -> None:
    """Compute the terms of a few examples. This also creates the weights of layers that are built on their first call.

    Args:
        resolved: the config and its components.
        model: the model.
        classes: C of a conditional model, else 0.

    Raises:
        UsageError: if the decoder's output does not fit the likelihood.
        PluginError: with the component's name, if it fails, returns a wrong value, or uses variables that the model
            does not contain.
    """
    tried = _Tried(resolved, model, classes)
    with tf.GradientTape() as tape:
        tried.decoder(
            tf.zeros((1, model.latent_size + classes))
        )  # before the others: initial weights depend on the order
        features = tried.encoder()
        q, z = tried.posterior(features)
        p_x = tried.likelihood(tried.decoder(tf.reshape(tried.code(z), (L * B, model.latent_size + classes))))
        tried.prior(q, z)
        tried.densities(p_x)
    hidden = hidden_variables(model, tape.watched_variables())
    holders = [getattr(resolved, name) for name, part in model.parts.items() if _holds(part, hidden)]
    require_none(hidden, holders[0].registered.label if holders else "a component")


class _Tried:
    """Calls each component of a model on the value that the previous one returned."""

    def __init__(self, resolved: Resolved, model: VAE, classes: int) -> None:
        self._resolved, self._model = resolved, model
        self._x, _, self._labels = zero_inputs(model, rows=B, classes=classes)

    def encoder(self) -> tf.Tensor:
        """Return features [B, F]."""
        model, x = self._model, self._seen(self._x)
        label, what = self._resolved.encoder.registered.label, f"x {described(x)}"
        features = computed(label, what, lambda: model.encoder(x, training=False))
        mend = "return one tensor, with one row of features per example"
        if isinstance(features, (list, tuple, dict)):
            mend = "return one tensor; several can be joined by keras.layers.Concatenate()"
        elif tf.is_tensor(features) and features.shape.rank != 2:
            mend = "end with keras.layers.Flatten() or keras.layers.GlobalAveragePooling2D()"
        tensor(features, f"{label} returned for {what}", wanted="features [B, F], floats", shape=(B, None), mend=mend)
        other = computed(label, what, lambda: model.encoder(tf.ones_like(x[1:]), training=False))
        tensor(
            other,
            f"{label} returned for x of {B - 1} examples of ones",
            wanted=f"features [B, {features.shape[1]}], as for {B} examples of zeros",
            shape=(B - 1, features.shape[1]),
            mend="F must not depend on the examples or their number",
        )
        return tf.cast(features, tf.float32)

    def _seen(self, x: tf.Tensor) -> tf.Tensor:
        """Return x with labels, as the encoder gets it."""
        return beside_labels(x, maps_of(self._labels, x.shape.rank))

    def code(self, z: tf.Tensor) -> tf.Tensor:
        """Return z with labels, as the decoder gets it."""
        return beside_labels(z, self._labels)

    def decoder(self, z: tf.Tensor) -> tf.Tensor:
        """Return parameters [rows, *P]."""
        resolved, model = self._resolved, self._model
        label, what = resolved.decoder.registered.label, f"z {described(z)}"
        parameters = computed(label, what, lambda: model.decoder(z, training=False))
        wanted = tuple(model.likelihood.parameters_shape)
        if tf.is_tensor(parameters) and tuple(parameters.shape) != (z.shape[0], *wanted):
            raise UsageError(
                f"decoder {resolved.decoder.name!r} returns shape {tuple(parameters.shape[1:])}, but likelihood "
                f"{resolved.likelihood.name!r} needs {wanted} for examples of shape {model.x_shape}: end with "
                f"keras.layers.Dense({math.prod(wanted)}) and keras.layers.Reshape({wanted}), or layers of that shape"
            )
        mend = "return one tensor, with the parameters of one example per row"
        tensor(
            parameters,
            f"{label} returned for {what}",
            wanted=f"parameters [B, {', '.join(map(str, wanted))}], floats",
            shape=(z.shape[0], *wanted),
            mend=mend,
        )
        return tf.cast(parameters, tf.float32)

    def posterior(self, features: tf.Tensor) -> tuple[Distribution, tf.Tensor]:
        """Return q(z given x) and samples of it; check its log-density too."""
        model, label = self._model, self._resolved.posterior.registered.label
        what = f"features {described(features)}"
        q = self._own(label, what, "posterior", lambda: model.posterior.distribution(features))
        has(
            q,
            f"{label}: distribution(features) returned for {what}",
            (("sample", BOTH), ("log_prob", BOTH), ("mean",)),
            wanted="q(z given x) with sample(noise), log_prob(z) and mean()",
            mend="for example vaeflow.model.distributions.DiagonalNormal(mu, log_var)",
        )
        noise = tf.zeros((L, B, model.posterior.noise_size))
        what = f"noise {described(noise)}"
        drawn = self._own(label, what, "posterior", lambda: elbo.draw(q, noise))
        how = f"{BOTH}(noise)" if hasattr(q, BOTH) else "sample(noise)"
        z, log_q = drawn if isinstance(drawn, tuple) and len(drawn) == 2 else (drawn, None)
        size = model.latent_size
        tensor(
            z,
            f"{label}: {how} returned for {what}",
            wanted="z [L, B, D] with D = latent_size, floats",
            shape=(L, B, size),
            mend=f"here [{L}, {B}, {size}]; noise has the axis of L samples first, and parameters [B, D] broadcast",
        )
        self._density(log_q, f"{label}: log_prob(z) returned for z {described(z)}", "log q(z given x)", "the D latents")
        mean = self._own(label, "q", "posterior", q.mean)
        tensor(mean, f"{label}: mean() returned", wanted="[B, D], floats", shape=(B, size), mend=f"here [{B}, {size}]")
        return q, z

    def prior(self, q: Distribution, z: tf.Tensor) -> None:
        """Compute KL(q, p)."""
        model = self._model
        label, its = self._resolved.prior.registered.label, self._resolved.posterior.registered.label
        prior = computed(label, "labels", lambda: model.prior_of(self._labels))
        closed = self._own(f"{label} or {its}", "KL(q, p)", "prior", lambda: elbo.closed_form_kl_terms(q, prior))
        if closed is None:
            log_p = self._own(label, f"z {described(z)}", "prior", lambda: prior.log_prob(z))
            self._density(log_p, f"{label}: log_prob(z) returned for z {described(z)}", "log p(z)", "the D latents")
        else:
            tensor(
                closed,
                f"{label} or {its}: kl_terms returned for {B} examples",
                wanted="[B, K], float32, or None if no closed form is known",
                shape=(B, None),
                mend="keep the axis of the terms; K is D if KL(q, p) is a sum over latents, else 1",
                exact=True,
            )

    def likelihood(self, flat: tf.Tensor) -> Distribution:
        """Return p(x given z) of parameters."""
        model, label = self._model, self._resolved.likelihood.registered.label
        parameters = tf.reshape(flat, (L, B, *model.likelihood.parameters_shape))
        what = f"parameters {described(parameters)}"
        p_x = self._own(label, what, "likelihood", lambda: model.likelihood.distribution(parameters))
        has(
            p_x,
            f"{label}: distribution(parameters) returned for {what}",
            (("sample",), ("log_prob",), ("mean",)),
            wanted="p(x given z) with sample(noise), log_prob(x) and mean()",
            mend="for example vaeflow.model.distributions.Bernoulli(logits, rank=len(x_shape))",
        )
        return p_x

    def densities(self, p_x: Distribution) -> None:
        """Compute log p(x given z), and the mean of x."""
        model, label, x = self._model, self._resolved.likelihood.registered.label, self._x
        what = f"x {described(x)}"
        log_p = self._own(label, what, "likelihood", lambda: p_x.log_prob(x))
        self._density(log_p, f"{label}: log_prob(x) returned for {what}", "log p(x given z)", "the axes of X")
        mean = self._own(label, "parameters", "likelihood", p_x.mean)
        shape = (L, B, *model.x_shape)
        where = f"here [{', '.join(map(str, shape))}]"
        tensor(mean, f"{label}: mean() returned", wanted="[L, B, *X], floats", shape=shape, mend=where)

    @staticmethod
    def _own(label: str, what: str, of: str, compute: Callable[[], Any]) -> Any:
        return computed(label, what, lambda: in_mode(compute, training=False, of=of))

    @staticmethod
    def _density(value: Any, who: str, name: str, axes: str) -> None:
        mend = f"here [{L}, {B}]; sum over {axes}, and keep the leading axes"
        tensor(value, who, wanted=f"{name} [L, B], float32 in nats", shape=(L, B), mend=mend, exact=True)


def _holds(part: object, variables: list[tf.Variable]) -> bool:
    """Return whether an attribute of an object is one of some variables, or a Keras variable that wraps one."""
    attributes = getattr(part, "__dict__", {}).values()
    held = {id(one.value if isinstance(one, keras.Variable) else one) for one in attributes}
    return any(id(variable) in held for variable in variables)
