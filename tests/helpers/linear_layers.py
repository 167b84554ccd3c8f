"""A model of two layers of latents, all of it linear and Gaussian, whose log p(x) has a closed form.

p(top) = N(0, 1), p(low given top) = N(A top + a, T) with diagonal T, p(x given low) = N(W low + b, s^2 I). Inference is
from the top down: q(top given x), then q(low given top and x), with linear means and constant variances.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import keras
import numpy as np
import tensorflow as tf
from scipy import stats

from vaeflow.contracts import LatentGroup, ModelContext, Terms
from vaeflow.model.distributions import DiagonalNormal, StandardNormal
from vaeflow.model.latents import split_noise

TOP, LOW = 1, 2


class LinearNormal(keras.layers.Layer):
    """N(linear, exp(log_var)) with a constant log_var."""

    def __init__(self, given: int, size: int, name: str) -> None:
        super().__init__(name=name, dtype="float32")
        self.linear = keras.layers.Dense(size, dtype="float32")
        self.linear.build((None, given))
        self.log_var = self.add_weight(shape=(size,), initializer="zeros")

    def normal(self, *values: tf.Tensor) -> DiagonalNormal:
        """Return the distribution given some values, [..., size] each, whose leading axes are broadcast."""
        lead = tf.shape(values[-1])[:-1]
        wide = [tf.broadcast_to(v, tf.concat([lead, tf.shape(v)[-1:]], axis=0)) for v in values]
        mean = tf.linalg.matvec(self.linear.kernel, tf.concat(wide, axis=-1), transpose_a=True) + self.linear.bias
        return DiagonalNormal(mean, tf.broadcast_to(self.log_var, tf.shape(mean)))


class Layers(keras.Model):
    """The model: a `vaeflow.contracts.LatentVariableModel`."""

    def __init__(self, context: ModelContext) -> None:
        super().__init__(name="two_layers")
        (width,) = context.x_shape
        self.x_shape = context.x_shape
        self.latents = (LatentGroup("top", (TOP,), TOP), LatentGroup("low", (LOW,), LOW))
        self.encoder_top = LinearNormal(width, TOP, "encoder_top")
        self.encoder_low = LinearNormal(width + TOP, LOW, "encoder_low")
        self.prior = LinearNormal(TOP, LOW, "prior")
        self.decoder = LinearNormal(LOW, width, "decoder")
        self.likelihood = context.parts.likelihood(context.x_shape)

    @property
    def parts(self):
        """The layers."""
        names = ("encoder_top", "encoder_low", "prior", "decoder", "likelihood")
        return {name: getattr(self, name) for name in names}

    def terms(self, x, noise, *, labels=None, valid=None, training=False):
        """Return the terms of the ELBO."""
        own = split_noise(noise, self.latents)
        q_top = self.encoder_top.normal(x)
        top = q_top.sample(own["top"])
        q_low = self.encoder_low.normal(x, top)
        low = q_low.sample(own["low"])
        p_top, p_low, p_x = StandardNormal(TOP), self.prior.normal(top), self.decode({"low": low})
        log_q_low = q_low.log_prob(low)
        return Terms(
            log_likelihood=p_x.log_prob(x),
            kl_terms={
                "top": p_top.kl_terms(q_top),
                "low": tf.reduce_mean(log_q_low - p_low.log_prob(low), axis=0)[:, None],
            },
            z={"top": top, "low": low},
            log_q=q_top.log_prob(top) + log_q_low,
            q={"top": q_top, "low": q_low},
            p={"top": p_top, "low": p_low},
            p_x=p_x,
        )

    def generate(self, noise, *, labels=None, temperature=1.0):
        """Return p(x given low) for latents from the prior."""
        own = split_noise(noise * temperature, self.latents, generating=True)
        return self.decode({"low": self.prior.normal(own["top"]).sample(own["low"])})

    def encode(self, x, *, labels=None):
        """Return the means."""
        top = self.encoder_top.normal(x).mean()
        return {"top": top, "low": self.encoder_low.normal(x, top).mean()}

    def decode(self, z, *, labels=None):
        """Return p(x given low)."""
        return self.likelihood.distribution(self.decoder.normal(z["low"]).mean())


def two_layers(context: ModelContext) -> Layers:
    """Build the model: the function of a component of kind `model`."""
    keras.utils.set_random_seed(0)
    return Layers(context)


@dataclass(frozen=True)
class Posteriors:
    """The weights of q(top given x) and q(low given top and x).

    The means are x top_x + top_b and x low_x + top low_top + low_b for rows x and top; the variances are diagonal.
    """

    top_x: np.ndarray
    top_b: np.ndarray
    top_var: np.ndarray
    low_x: np.ndarray
    low_top: np.ndarray
    low_b: np.ndarray
    low_var: np.ndarray

    def moved(self, top: float, low: np.ndarray) -> Posteriors:
        """Return other ones, with shifted means and other variances."""
        variances = {"top_var": self.top_var * 1.5, "low_var": self.low_var * 0.7}
        return replace(self, top_b=self.top_b + top, low_b=self.low_b + low, **variances)

    def put_into(self, model: Layers) -> None:
        """Set the weights of a model."""
        model.encoder_top.linear.set_weights([self.top_x, self.top_b])
        model.encoder_top.log_var.assign(np.log(self.top_var))
        model.encoder_low.linear.set_weights([np.concatenate([self.low_x, self.low_top]), self.low_b])
        model.encoder_low.log_var.assign(np.log(self.low_var))


@dataclass(frozen=True)
class TwoLayers:
    """The weights of p; W has orthogonal columns, so that p(low given top, x) is diagonal."""

    a: np.ndarray
    a_b: np.ndarray
    t: np.ndarray
    w: np.ndarray
    b: np.ndarray
    s: float

    @classmethod
    def random(cls, seed: int, width: int) -> TwoLayers:
        """Return random weights."""
        rng = np.random.default_rng(seed)
        orthogonal, _ = np.linalg.qr(rng.normal(size=(width, LOW)))
        w = orthogonal * rng.uniform(0.5, 2.0, LOW)
        a, a_b, t = rng.normal(size=(LOW, TOP)), rng.normal(size=LOW), rng.uniform(0.5, 1.5, LOW)
        return cls(a, a_b, t, w, rng.normal(size=width), rng.uniform(0.5, 1.5))

    def put_into(self, model: Layers) -> None:
        """Set the weights of a model."""
        model.prior.linear.set_weights([self.a.T, self.a_b])
        model.prior.log_var.assign(np.log(self.t))
        model.decoder.linear.set_weights([self.w.T, self.b])
        model.likelihood.log_var.assign(2.0 * np.log(self.s))

    def evidence(self, x: np.ndarray) -> np.ndarray:
        """Return log p(x), [B] nats."""
        low = self.a @ self.a.T + np.diag(self.t)
        covariance = self.w @ low @ self.w.T + self.s**2 * np.eye(len(self.b))
        return stats.multivariate_normal(self.w @ self.a_b + self.b, covariance).logpdf(x)

    def elbo(self, x: np.ndarray, q: Posteriors) -> float:
        """Return log p(x) - KL(q, p(top, low given x)): the divergence of two Gaussians over (top, low)."""
        (mean, covariance), (other, others) = (joint(one, x) for one in (q, exact_posteriors(self)))
        inverse, apart = np.linalg.inv(others), other - mean
        logs = np.linalg.slogdet(others)[1] - np.linalg.slogdet(covariance)[1]
        kl = 0.5 * (np.trace(inverse @ covariance) + apart @ inverse @ apart - len(mean) + logs)
        return float(self.evidence(x) - kl)


def exact_posteriors(layers: TwoLayers) -> Posteriors:
    """Return p(top given x) and p(low given top, x), by Bayes' rule for Gaussians (Bishop 2006, equation 2.116)."""
    w, s2 = layers.w, layers.s**2
    low_var = 1.0 / (1.0 / layers.t + (w**2).sum(axis=0) / s2)
    low_x = w / s2 * low_var
    low_top = (layers.a / layers.t[:, None]).T * low_var
    low_b = (layers.a_b / layers.t - layers.b @ w / s2) * low_var
    given_top = w @ np.diag(layers.t) @ w.T + s2 * np.eye(len(layers.b))  # of x given top
    to_x = w @ layers.a
    gain = np.linalg.solve(given_top, to_x)
    top_var = 1.0 / (1.0 + (to_x * gain).sum(axis=0))
    top_x = gain * top_var
    return Posteriors(top_x, -(w @ layers.a_b + layers.b) @ top_x, top_var, low_x, low_top, low_b, low_var)


def joint(q: Posteriors, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the covariance of (top, low) given one x."""
    top = x @ q.top_x + q.top_b
    mean = np.concatenate([top, x @ q.low_x + top @ q.low_top + q.low_b])
    across = np.concatenate([np.eye(TOP), q.low_top.T])
    covariance = across @ np.diag(q.top_var) @ across.T
    covariance[TOP:, TOP:] += np.diag(q.low_var)
    return mean, covariance
