"""What has changed since a checkpoint was saved: what the user must accept, and what is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeflow.config.schema import changes_bits
from vaeflow.training.provenance.code import VAEFLOW
from vaeflow.training.provenance.record import differences, listed, shown

if TYPE_CHECKING:
    from collections.abc import Collection

    from vaeflow.config.schema import Config
    from vaeflow.training.provenance.record import Difference, Provenance


@dataclass(frozen=True)
class Changes:
    """What has changed, each in words.

    Attributes:
        serious: config, plugin code or data: the weights would belong to no config. An error unless it is accepted.
        environment: versions, threads, devices: the bits may differ from an uninterrupted run's.
        harmless: config keys that no weight depends on.
    """

    serious: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()

    @property
    def listed(self) -> str:
        """The serious ones in one line."""
        return listed(self.serious)


LENGTH = ("epochs", "steps")


def changes(
    before: Provenance,
    now: Provenance,
    config: Config,
    packages: Collection[str] | None = None,
    *,
    length_matters: bool = True,
) -> Changes:
    """Return what has changed since a record was made.

    Args:
        before: the record, of a checkpoint.
        now: what there is.
        config: as it is now.
        packages: the packages and files whose code counts; None for all.
        length_matters: whether the weights of a step depend on how long the run is.
    """
    found: dict[str, list[str]] = {"serious": [], "environment": [], "harmless": []}
    for one in differences(before, now):
        kind = _kind(one, config, packages)
        if one.part == "config" and one.key in LENGTH and not length_matters:
            kind = "harmless"
        if kind is not None:
            there, here = one.values
            found[kind].append(f"{one.name} was {shown(there)} and is {shown(here)}")
    return Changes(*map(tuple, found.values()))


def _kind(one: Difference, config: Config, packages: Collection[str] | None) -> str | None:
    """Return the kind of a change; None where it is none, or not this part's."""
    if one.part == "config":
        if one.key.partition(".")[0] in ("strategy", "dataset"):  # any strategy gives the same bits; data are compared
            return None
        return "serious" if changes_bits(one.key, config) else "harmless"
    if one.part == "code":
        return _kind_of_code(one, packages)
    return "serious" if one.part == "data" else "environment"


def _kind_of_code(one: Difference, packages: Collection[str] | None) -> str | None:
    if None in one.values:  # a component came or went: that is the config's
        return None
    if packages is not None:
        return "serious" if one.key in packages and one.key != VAEFLOW else None
    return "environment" if one.key == VAEFLOW or str(one.values[0]).startswith("version") else "serious"
