"""A run's life without its training, for tests of callbacks and plots."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from helpers.builders import tf
from vaeflow.callbacks import Record, RunView
from vaeflow.components import binarizations, likelihoods, networks, posteriors, priors
from vaeflow.config.schema import Config
from vaeflow.contracts import Dataset, Split
from vaeflow.model.moving_average import MovingAverage
from vaeflow.model.trained_vae import TrainedVAE
from vaeflow.model.vae import VAE
from vaeflow.plots import builtin as plots

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vaeflow.callbacks import Callback
    from vaeflow.plots import Plot

STEPS_PER_EPOCH = 4


def trained_on(dataset: Dataset, latent: int = 2) -> TrainedVAE:
    """Return an untrained little autoencoder for a data set."""
    likelihood = likelihoods.bernoulli(dataset.x_shape)
    vae = VAE(
        x_shape=dataset.x_shape,
        latent_size=latent,
        encoder=networks.mlp_encoder(dataset.x_shape, hidden=(8,)),
        posterior=posteriors.diagonal_gaussian(latent),
        prior=priors.standard_normal(latent),
        decoder=networks.mlp_decoder(latent, likelihood.parameters_shape, hidden=(8,)),
        likelihood=likelihood,
    )
    vae.terms(tf.zeros((1, *dataset.x_shape)), tf.zeros((1, 1, latent)))
    return TrainedVAE(vae, MovingAverage([], None), binarizations.threshold())


def digits(content: Sequence[np.ndarray], count: int = 70) -> Dataset:
    """Return the first digits of MNIST as a data set; 70 have all ten labels."""
    x_train, y_train, x_test, y_test = (np.asarray(array[:count]) for array in content)
    x_train, x_test = x_train.reshape((-1, 28, 28, 1)), x_test.reshape((-1, 28, 28, 1))
    return Dataset("mnist", Split(x_train, y_train), None, Split(x_test, y_test), "test")


def rows(count: int = 30, width: int = 6) -> Dataset:
    """Return binary vectors without labels and without a test split."""
    x = np.random.default_rng(0).integers(0, 2, (count, width)).astype(np.float32)
    return Dataset("arrays", Split(x), None, None, "test")


def all_plots() -> dict[str, Plot]:
    """Return the built-in plots by name."""
    return {record.name: record.build() for record in plots.vaeflow_components()}


def view_of(directory: Path, dataset: Dataset, *, latent: int = 2, epochs: int = 2, said: list[str]) -> RunView:
    """Return a run's view at its start; what it says goes to a list."""
    return RunView(
        directory=directory,
        config=Config(name="tiny", epochs=epochs, latent_size=latent, callbacks=("one",)),
        dataset=dataset,
        trained=trained_on(dataset, latent),
        first_step=0,
        total_steps=epochs * STEPS_PER_EPOCH,
        steps_per_epoch=STEPS_PER_EPOCH,
        say=said.append,
        plots=all_plots(),
    )


def log_record(step: int, latent: int = 2) -> Record:
    """Return what a run might log at a step."""
    scalars = {
        "train/elbo": -200.0 + step,
        "train/kl": 5.0,
        "train/learning_rate": 1e-3,
        "train/examples_per_second": 1380.4,
    }
    return Record(step, step / STEPS_PER_EPOCH, scalars, {"train": np.full(latent, 2.5)})


def evaluation_record(step: int, total: int, latent: int = 2) -> Record:
    """Return what an evaluation might give at a step."""
    scalars = {
        "test/elbo": -190.0 + step,
        "test/log_likelihood": -184.0 + step,
        "test/kl": 6.0,
        "test/active_units": 2.0,
    }
    per_dimension = {"test": np.arange(latent, dtype=np.float64)}
    return Record(step, step / STEPS_PER_EPOCH, scalars, per_dimension, final=step == total)


def live(callbacks: Sequence[Callback], view: RunView, *, first: int = 0, until: int | None = None) -> None:
    """Drive callbacks through a run in the loop's order: a log point every 2 steps, an evaluation every epoch.

    Args:
        callbacks: what is driven.
        view: the run.
        first: the step that is resumed.
        until: where an error ends the run.
    """
    view, latent = replace(view, first_step=first), view.trained.latent_size
    for callback in callbacks:
        callback.on_start(view)
    for step in range(first + 2, (until or view.total_steps) + 1, 2):
        for callback in callbacks:
            callback.on_steps(view, step)
            callback.on_log(view, log_record(step, latent))
            if step % view.steps_per_epoch == 0:
                callback.on_evaluation(view, evaluation_record(step, view.total_steps, latent))
                callback.on_checkpoint(view, step)
    for callback in callbacks:
        callback.on_end(view) if until is None else callback.on_exception(view, KeyboardInterrupt())
