"""Which keys of a config may change the weights of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaeflow.config.schema import Config

HARMLESS = ("name", "strategy", "verify_every_steps", "log", "plots", "checkpoint")
"""Keys and tables of the config that normally do not affect the weights; see `changes_bits`."""


def changes_bits(key: str, config: Config) -> bool:
    """Return whether another value of a key may change the weights or metrics of a run.

    Callbacks may stop the run or change the learning rate when metrics are logged, so the log interval matters with
    callbacks. `rollback` restores a checkpoint, so the checkpoint interval matters with it.

    >>> from vaeflow.config.schema import Config
    >>> changes_bits("seed", Config()), changes_bits("log.every_steps", Config())
    (True, False)
    """
    if key == "log.every_steps":
        return bool(config.callbacks)
    if key == "checkpoint.every_steps":
        return config.nonfinite.action == "rollback"
    return key.partition(".")[0] not in HARMLESS
