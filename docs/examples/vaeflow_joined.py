"""An encoder that is made of other encoders: the whole plugin."""

from dataclasses import dataclass
from typing import Annotated

from vaeflow import Component, Selected, Takes, hookimpl, select

Encoder = Annotated[Selected, Takes("encoder")]


@dataclass(frozen=True)
class Branch:
    """One of the encoders.

    Attributes:
        scale: factor of its features.
        encoder: the encoder.
    """

    scale: float = 1.0
    encoder: Encoder = select("mlp", hidden=(32,))


def joined(x_shape: tuple[int, ...], *, first: Encoder = select("mlp"), others: tuple[Branch, ...] = ()):
    """The features of several encoders, side by side: x [B, *X] to features [B, F].

    Args:
        x_shape: X.
        first: the first encoder.
        others: more encoders.
    """
    from keras import Input, Model, layers

    x = Input(x_shape)
    features = [first.build(x_shape)(x)]
    for number, branch in enumerate(others):
        network = branch.encoder.build(x_shape)
        network.name = f"branch_{number}"  # Keras wants different names in one model
        features.append(layers.Rescaling(branch.scale)(network(x)))
    return Model(x, layers.Concatenate()(features) if others else features[0])


@hookimpl
def vaeflow_components():
    yield Component("encoder", "joined", joined)
