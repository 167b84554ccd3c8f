"""The built-in components, registered like those of any plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.components import (
    binarizations,
    datasets,
    file_datasets,
    learning_rates,
    likelihoods,
    metrics,
    models,
    networks,
    objectives,
    optimizers,
    posteriors,
    priors,
    schedules,
    strategies,
    transforms,
)
from vaeflow.plugins.hookspecs import hookimpl
from vaeflow.plugins.records import MODEL_KEYS, Component

if TYPE_CHECKING:
    from collections.abc import Iterator


@hookimpl
def vaeflow_components() -> Iterator[Component]:
    """Return every built-in component."""
    yield from _model()
    yield from _training()
    yield from _optimizers()
    yield from _data()
    yield from _metrics()


def _model() -> Iterator[Component]:
    yield Component("model", "single-layer", models.single_layer, uses=MODEL_KEYS)
    yield Component("encoder", "conv-mnist", networks.conv_mnist_encoder)
    yield Component("encoder", "mlp", networks.mlp_encoder)
    yield Component("decoder", "conv-mnist", networks.conv_mnist_decoder)
    yield Component("decoder", "mlp", networks.mlp_decoder)
    yield Component("posterior", "diagonal-gaussian", posteriors.diagonal_gaussian)
    yield Component("prior", "standard-normal", priors.standard_normal)
    yield Component("prior", "diagonal-gaussian", priors.diagonal_gaussian)
    yield Component("prior", "mixture-of-gaussians", priors.mixture_of_gaussians)
    yield Component("prior", "vamp", priors.vamp)
    yield Component("likelihood", "bernoulli", likelihoods.bernoulli)
    yield Component("likelihood", "gaussian", likelihoods.gaussian)
    yield Component("likelihood", "continuous-bernoulli", likelihoods.continuous_bernoulli)
    yield Component("likelihood", "laplace", likelihoods.laplace)
    yield Component("likelihood", "poisson", likelihoods.poisson)
    yield Component("likelihood", "categorical", likelihoods.categorical)
    yield Component("likelihood", "discretized-logistic-mixture", likelihoods.discretized_logistic_mixture)


def _training() -> Iterator[Component]:
    yield Component("objective", "elbo", objectives.elbo)
    yield Component("objective", "beta-vae", objectives.beta_vae)
    yield Component("objective", "iwae", objectives.iwae)
    yield Component("objective", "free-bits", objectives.free_bits)
    yield Component("objective", "info-vae", objectives.info_vae)
    yield Component("schedule", "constant", schedules.constant)
    yield Component("schedule", "linear", schedules.linear)
    yield Component("schedule", "cyclical", schedules.cyclical)
    yield Component("schedule", "capacity", schedules.capacity)
    yield Component("strategy", "auto", strategies.auto)
    yield Component("strategy", "single", strategies.single)
    yield Component("strategy", "mirrored", strategies.mirrored)
    yield Component("strategy", "multiworker", strategies.multiworker)
    yield Component("strategy", "horovod", strategies.horovod)
    yield Component("learning_rate", "constant", learning_rates.constant)
    yield Component("learning_rate", "exponential-decay", learning_rates.exponential_decay)
    yield Component("learning_rate", "piecewise-constant-decay", learning_rates.piecewise_constant_decay)
    yield Component("learning_rate", "polynomial-decay", learning_rates.polynomial_decay)
    yield Component("learning_rate", "inverse-time-decay", learning_rates.inverse_time_decay)
    yield Component("learning_rate", "cosine-decay", learning_rates.cosine_decay)
    yield Component("learning_rate", "cosine-decay-restarts", learning_rates.cosine_decay_restarts)


def _metrics() -> Iterator[Component]:
    yield Component("metric", "iw-bound", metrics.iw_bound)
    yield Component("metric", "squared-error", metrics.squared_error)
    yield Component("metric", "rate-distortion", metrics.rate_distortion)
    yield Component("metric", "reconstruction-error", metrics.reconstruction_error)
    yield Component("metric", "mutual-information", metrics.mutual_information)
    yield Component("metric", "aggregated-posterior", metrics.aggregated_posterior)
    yield Component("metric", "calibration", metrics.calibration)
    yield Component("metric", "precision-recall", metrics.precision_recall)


def _optimizers() -> Iterator[Component]:
    yield Component("optimizer", "adadelta", optimizers.adadelta)
    yield Component("optimizer", "adafactor", optimizers.adafactor)
    yield Component("optimizer", "adagrad", optimizers.adagrad)
    yield Component("optimizer", "adam", optimizers.adam)
    yield Component("optimizer", "adamax", optimizers.adamax)
    yield Component("optimizer", "adamw", optimizers.adamw)
    yield Component("optimizer", "ftrl", optimizers.ftrl)
    yield Component("optimizer", "lamb", optimizers.lamb)
    yield Component("optimizer", "lion", optimizers.lion)
    yield Component("optimizer", "muon", optimizers.muon)
    yield Component("optimizer", "nadam", optimizers.nadam)
    yield Component("optimizer", "rmsprop", optimizers.rmsprop)
    yield Component("optimizer", "schedule-free-adamw", optimizers.schedule_free_adamw)
    yield Component("optimizer", "sgd", optimizers.sgd)


def _data() -> Iterator[Component]:
    yield Component("dataset", "mnist", datasets.mnist)
    yield Component("dataset", "fashion-mnist", datasets.fashion_mnist)
    yield Component("dataset", "digits", datasets.digits)
    yield Component("dataset", "shapes", datasets.shapes)
    yield Component("dataset", "arrays", file_datasets.arrays)
    yield Component("dataset", "idx", file_datasets.idx)
    yield Component("dataset", "image-folder", file_datasets.image_folder)
    yield Component("dataset", "array-record", file_datasets.array_record)
    yield Component("transform", "pad", transforms.pad)
    yield Component("transform", "downsample", transforms.downsample)
    yield Component("transform", "shift", transforms.shift)
    yield Component("transform", "dequantize", transforms.dequantize)
    yield Component("binarization", "threshold", binarizations.threshold)
    yield Component("binarization", "dynamic", binarizations.dynamic)
    yield Component("binarization", "fixed", binarizations.fixed)
    yield Component("binarization", "none", binarizations.none)
