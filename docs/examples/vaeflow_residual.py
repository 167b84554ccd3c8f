"""An encoder with skip connections: the whole plugin."""

from vaeflow import Component, hookimpl


def residual(x_shape: tuple[int, ...], *, depth: int = 2, width: int = 64):
    """Dense layers with skip connections: x [B, *X] to features [B, width]."""
    from keras import Input, Model, layers

    x = Input(x_shape)
    h = layers.Dense(width)(layers.Flatten()(x))
    for _ in range(depth):
        h = layers.Add()([h, layers.Dense(width, activation="relu")(h)])
    return Model(x, h)


@hookimpl
def vaeflow_components():
    yield Component("encoder", "residual", residual)
