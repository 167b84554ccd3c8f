"""The metrics of a training step as one row of numbers: packed for TensorFlow, unpacked by name elsewhere."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf


class StepRow(NamedTuple):
    """The report of a step, or of many: then each field has the steps as its first axis.

    Attributes:
        examples: in the batch.
        loss: what is minimised, nats per example.
        elbo: the unweighted ELBO, nats per example.
        log_likelihood: its first term, nats per example.
        kl: its second term, nats per example.
        gradient_norm: the global norm of the mean loss's gradient, before clipping.
        learning_rate: of the step.
        kl_weight: of the step.
        loss_scale: after the step.
        skipped: 1 if the update was not finite and was not made, otherwise 0.
        kl_terms: terms of the KL divergence of all groups of latents, and the model's penalty, [..., K] nats: see
            `vaeflow.engine.columns`.
    """

    examples: Any
    loss: Any
    elbo: Any
    log_likelihood: Any
    kl: Any
    gradient_norm: Any
    learning_rate: Any
    kl_weight: Any
    loss_scale: Any
    skipped: Any
    kl_terms: Any

    def pack(self) -> tf.Tensor:
        """Return one step's row as a vector, [10 + K] float32."""
        return tf.concat([tf.stack(self[:-1]), self.kl_terms], axis=0)

    @classmethod
    def unpack(cls, rows: Any) -> StepRow:
        """Return the fields of packed rows, [..., 10 + K], a tensor or an array.

        >>> import numpy as np
        >>> StepRow.unpack(np.arange(12.0)).kl_terms
        array([10., 11.])
        """
        scalars = len(cls._fields) - 1
        return cls._make([*(rows[..., column] for column in range(scalars)), rows[..., scalars:]])
