"""Components that take components: one, a list of tables with some, defaults at every depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from vaeflow import Component, Selected, Takes, hookimpl, select

Encoder = Annotated[Selected, Takes("encoder")]
Rate = Annotated[float, Field(gt=0)] | Literal["auto"] | Annotated[Selected, Takes("learning_rate")]


@dataclass(frozen=True)
class Level:
    """A level of `stacked`.

    Attributes:
        latent_size: units of its layer.
        encoder: what is before it.
        slope: of its activation.
    """

    latent_size: Annotated[int, Field(ge=1)]
    encoder: Encoder = select("mlp", hidden=(8,))
    slope: float | None = None

    def __post_init__(self) -> None:
        if self.slope == 1.0:
            raise ValueError("a slope of 1 is linear")


class Head(BaseModel):
    """The last layer of `stacked`."""

    units: int = Field(4, ge=1)
    encoder: Encoder | None = None


def stacked(
    x_shape: tuple[int, ...],
    *,
    inner: Encoder = select("mlp", hidden=(8,), activation="relu"),
    levels: Annotated[tuple[Level, ...], Field(max_length=3)] = (Level(3), Level(2, select("mlp", hidden=(4,)))),
    head: Head | None = None,
    many: tuple[Encoder, ...] = (),
    pair: tuple[Encoder, Annotated[Selected, Takes("decoder")]] | None = None,
    rate: Rate = 0.5,
    width: int = 3,
) -> Any:
    """Encoders side by side, each with a dense layer."""
    from keras import Input, Model, layers

    del head, many, pair, rate
    x = Input(x_shape)
    features = [layers.Dense(width)(inner.build(x_shape)(x))]
    for number, level in enumerate(levels):
        network = level.encoder.build(x_shape)
        network.name = f"level_{number}"
        features.append(layers.LeakyReLU(level.slope or 0.0)(layers.Dense(level.latent_size)(network(x))))
    return Model(x, layers.Concatenate()(features))


@dataclass(frozen=True)
class Doubled:
    """An objective that doubles another one's loss."""

    inner: Any

    @property
    def samples(self) -> int:
        """L of the other one."""
        return self.inner.samples

    def loss(self, terms: Any, schedule: Any, step: Any) -> Any:
        """Return twice the loss of each example."""
        return 2.0 * self.inner.loss(terms, schedule, step)


def doubled(*, inner: Annotated[Selected, Takes("objective")] = select("beta-vae", beta=2.0)) -> Doubled:
    """Twice the loss of another objective."""
    return Doubled(inner.build())


def around(x_shape: tuple[int, ...], *, inner: Encoder) -> Any:
    """Another encoder, as it is; which one must be given."""
    return inner.build(x_shape)


@hookimpl
def vaeflow_components():
    yield Component("encoder", "stacked", stacked)
    yield Component("encoder", "around", around)
    yield Component("objective", "doubled", doubled)
