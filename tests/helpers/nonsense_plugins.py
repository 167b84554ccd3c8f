"""Components that are right by their contract, and make no sense in a model."""

from __future__ import annotations

from vaeflow import Component, hookimpl


def activated(latent_size, output_shape, *, activation: str = "sigmoid"):
    """A decoder with an activation at its end."""
    import keras
    from keras import layers

    size = 1
    for side in output_shape:
        size *= side
    z = keras.Input((latent_size,))
    h = layers.Dense(size, activation=activation, dtype="float32")(layers.Dense(16, activation="tanh")(z))
    return keras.Model(z, layers.Reshape(output_shape, dtype="float32")(h))


def dead(x_shape):
    """An encoder whose last activation is dark for every example."""
    import keras
    from keras import layers

    x = keras.Input(x_shape)
    low = keras.initializers.Constant(-100.0)
    return keras.Model(x, layers.Dense(8, activation="relu", bias_initializer=low)(layers.Flatten()(x)))


def still(timeline):
    """A learning rate of 0."""
    return 0.0


@hookimpl
def vaeflow_components():
    """Return them."""
    yield Component("decoder", "activated", activated)
    yield Component("encoder", "dead", dead)
    yield Component("learning_rate", "still", still)
