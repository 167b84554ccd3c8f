"""Second players: weights that a loss of their own trains in the same step, such as a discriminator's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.contracts import Player
from vaeflow.errors import PluginError
from vaeflow.model.latents import NAME
from vaeflow.model.modes import in_mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tensorflow as tf

    from vaeflow.contracts import LatentVariableModel, Objective, Terms

NO_PLAYERS: tuple[Player, ...] = ()


def players_of(model: LatentVariableModel, objective: Objective) -> tuple[Player, ...]:
    """Return the players of a model and of an objective, those of the model first."""
    return (*getattr(model, "players", NO_PLAYERS), *getattr(objective, "players", NO_PLAYERS))


def losses_of(players: Sequence[Player], terms: Terms, x: tf.Tensor, step: tf.Tensor) -> list[tf.Tensor]:
    """Return each player's loss of each example, [B], in training mode."""
    return [in_mode(lambda one=one: one.loss(terms, x, step), training=True) for one in players]  # type: ignore[misc]


def require_players(labels: Sequence[str], players: Sequence[Player], model: LatentVariableModel) -> None:
    """Check players whose networks are built.

    Args:
        labels: the component that has each of them.
        players: in their order.
        model: whose weights are not theirs.

    Raises:
        PluginError: if a name is not allowed or given twice, or a player has no weights, other state than weights, or
            weights of the model or of another player.
    """
    owners = {id(v): "the model" for v in model.variables}
    names: set[str] = set()
    for label, player in zip(labels, players, strict=True):
        if not isinstance(player, Player):
            raise PluginError(f"{label} has players {players!r}, not a tuple of vaeflow.contracts.Player")
        whose = f"{label}: player {player.name!r}"
        if not NAME.fullmatch(player.name):
            raise PluginError(f"{whose}: a name has letters, digits, hyphens and underscores")
        if player.name in names:
            raise PluginError(f"{whose} is there twice")
        if not player.variables:
            raise PluginError(f"{whose} has no weights: its network has no trainable variables")
        if player.network.non_trainable_variables:
            state = player.network.non_trainable_variables[0].path
            raise PluginError(f"{whose} has {state!r}, which is no weight: use layers without other state")
        for variable in player.variables:
            if id(variable) in owners:
                raise PluginError(
                    f"{whose} would train {variable.path!r}, which is a weight of {owners[id(variable)]}: give it "
                    "layers of its own"
                )
        names.add(player.name)
        owners |= {id(v): f"player {player.name!r}" for v in player.variables}
