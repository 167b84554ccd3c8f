"""A rule for second players: each is trained by its own loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vaeflow.plugin_kit.checks.require import require
from vaeflow.plugin_kit.checks.rule import Rule

if TYPE_CHECKING:
    from vaeflow.contracts import Player
    from vaeflow.engine.microbatch import Microbatches
    from vaeflow.plugin_kit.checks.subject import Subject

UPDATES = 30  # of a player alone


def players(subject: Subject) -> None:
    """Let each player's optimizer alone take steps on one microbatch; its loss must fall and all its weights move."""
    experiment = subject.small.experiment
    microbatches = experiment.trainer.step.microbatches
    for number, player in enumerate(microbatches.players):
        experiment.state.assign(subject.small.initial)
        before = [np.asarray(v.value) for v in player.variables]
        losses = [_update(microbatches, number, player) for _ in range(UPDATES)]
        still = [v.path for v, old in zip(player.variables, before, strict=True) if np.array_equal(v.value, old)]
        require(not still, f"player {player.name!r}: its loss never changes {', '.join(still)}")
        change = f"its loss is {losses[0]:.6g}, and {losses[-1]:.6g} after {UPDATES} steps"
        require(losses[-1] < losses[0], f"player {player.name!r}: {change}")
    experiment.state.assign(subject.small.initial)


def _update(microbatches: Microbatches, number: int, player: Player) -> float:
    """Take a step of one player on the first microbatch; return its loss before."""
    zero = tf.constant(0, tf.int64)
    batch, noise = microbatches.inputs(zero, zero)
    done = microbatches.differentiate(batch, noise, zero, zero)
    first = sum(map(len, microbatches.trained[: number + 1]))
    examples = tf.reduce_sum(batch.valid)
    gradients = [g / examples for g in done.gradients[first : first + len(player.variables)]]
    player.optimizer.apply(gradients, player.variables)
    return float(tf.reduce_sum(done.of_players[number] * batch.valid) / examples)


PLAYERS = Rule("players", "if it has second players, the loss of each falls when it alone trains", players)
