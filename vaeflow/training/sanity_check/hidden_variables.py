"""Find variables that a component uses but the model does not contain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaeflow.contracts import LatentVariableModel, Player


def hidden_variables(
    model: LatentVariableModel, used: tuple[tf.Variable, ...], players: Sequence[Player] = ()
) -> list[tf.Variable]:
    """Return trainable variables that are used but contained neither in the model nor in a player."""
    strategy = tf.distribute.get_strategy()
    owned = [*model.variables, *(v for player in players for v in player.variables)]
    values = [variable.value for variable in owned]
    known = {id(one) for value in values for one in (value, *strategy.experimental_local_results(value))}
    return [variable for variable in used if id(variable) not in known]


def require_none(found: list[tf.Variable], whose: str) -> None:
    """Check that there are no hidden variables.

    Raises:
        PluginError: if there are.
    """
    if found:
        name, shape = found[0].name, tuple(found[0].shape)
        raise PluginError(
            f"{whose} uses variable {name!r} of shape {shape}, which is in no Keras layer of the model: it would be "
            "neither trained nor saved; make it a variable of a posterior, prior, likelihood or network that is a "
            "keras.layers.Layer"
        )
