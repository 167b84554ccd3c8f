"""Adam whose update is one pass over memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    import keras


def fused(optimizer: type[keras.optimizers.Adam]) -> type[keras.optimizers.Adam]:
    """Return Adam, or a class derived from it, with TensorFlow's operation for the whole update of a variable.

    Keras composes the update of a dozen operations, each of which reads and writes as many numbers as there are
    weights. For small models that takes longer than the forward and the backward pass. The formula is Keras's, with
    its epsilon outside the root; results differ from Keras's by the rounding of 1 - beta.
    """

    class Fused(optimizer):
        def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
            if self.amsgrad:
                super().update_step(gradient, variable, learning_rate)
                return
            index = self._get_variable_index(variable)
            step = tf.cast(self.iterations + 1, variable.dtype)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=self._momentums[index].value.handle,
                v=self._velocities[index].value.handle,
                beta1_power=tf.pow(tf.constant(self.beta_1, variable.dtype), step),
                beta2_power=tf.pow(tf.constant(self.beta_2, variable.dtype), step),
                lr=tf.cast(learning_rate, variable.dtype),
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=tf.cast(gradient, variable.dtype),
            )

    Fused.__name__ = optimizer.__name__
    return Fused
