"""Rules for encoders and decoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from vaeflow.plugin_kit.checks.require import require, require_tensor
from vaeflow.plugin_kit.checks.rule import Rule
from vaeflow.plugin_kit.checks.subject import ROWS, beside, normal, require_same_rows, uniform

if TYPE_CHECKING:
    from vaeflow.plugin_kit.checks.subject import Subject

BATCHES = (1, 2, ROWS)


def shapes(subject: Subject) -> None:
    """Run batches of 1, 2 and 7 rows."""
    network, inputs = _network(subject)
    wanted = _output_shape(subject)
    for rows in BATCHES:
        for training in (False, True):
            given = network(inputs[:rows], training=training)
            got = require_tensor(given, f"the output for {rows} rows", shape=(rows, *wanted), dtype=None)
            wanted = tuple(got.shape[1:])


def rows(subject: Subject) -> None:
    """Change the padded rows of a batch; the others must stay the same."""
    network, inputs = _network(subject)
    ours, theirs = (network(batch, training=False) for batch in (inputs, beside(inputs, tf.zeros_like(inputs))))
    require_same_rows(theirs, ours, "outputs of valid rows beside other padded rows")


def parameters(subject: Subject) -> None:
    """Check the output's type in mixed bfloat16: a last layer in bfloat16 makes the ELBO worse."""
    network, inputs = _network(subject, "mixed_bfloat16")
    require_tensor(network(inputs), "the output in mixed_bfloat16", shape=(ROWS, *_output_shape(subject)))


def _network(subject: Subject, precision: str = "float32") -> tuple[keras.Model, tf.Tensor]:
    """Return the network, and 7 rows of input."""
    if subject.kind == "encoder":
        network = subject.build(subject.x_shape, precision=precision)
        inputs = tf.reshape(uniform(ROWS, int(np.prod(subject.x_shape))), (-1, *subject.x_shape))
    else:
        shape = tuple(subject.likelihood().parameters_shape)
        network = subject.build(subject.latent_size, shape, precision=precision)
        inputs = normal(ROWS, subject.latent_size)
    require(isinstance(network, keras.Model), f"build returned {type(network).__name__}, not a keras.Model")
    return network, inputs


def _output_shape(subject: Subject) -> tuple[int | None, ...]:
    return (None,) if subject.kind == "encoder" else tuple(subject.likelihood().parameters_shape)


ENCODER = (
    Rule("shapes", "x [B, *X] to features [B, F] for B = 1, 2, 7, in training too", shapes),
    Rule("rows", "an example's features do not depend on the padding beside it", rows),
)
DECODER = (
    Rule("shapes", "z [B, D] to the likelihood's parameters [B, *P] for B = 1, 2, 7, in training too", shapes),
    Rule("rows", "an example's parameters do not depend on the padding beside it", rows),
    Rule("parameters", "they are float32 in any precision, by a last layer in float32", parameters),
)
