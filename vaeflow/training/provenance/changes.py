"""Changes since a checkpoint was saved, by severity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeflow.config.harmless import changes_bits
from vaeflow.training.provenance.code import VAEFLOW
from vaeflow.training.provenance.record import differences, listed, shown

if TYPE_CHECKING:
    from collections.abc import Collection

    from vaeflow.config.schema import Config
    from vaeflow.training.provenance.record import Difference, Provenance


@dataclass(frozen=True)
class Changes:
    """Changes, each as text.

    Attributes:
        serious: config, plugin code or data; an error unless the user accepts them.
        environment: versions, threads, devices; the bits may differ from those of an uninterrupted run.
        harmless: config keys that do not affect the weights.
    """

    serious: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()

    @property
    def listed(self) -> str:
        """The serious changes in one line."""
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
    """Return the changes between two records.

    Args:
        before: the record of a checkpoint.
        now: the current record.
        config: the current config.
        packages: names of packages and files whose code is compared; None for all.
        length_matters: whether the weights of a step depend on the length of the run.
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
    """Return the severity of a difference; None if it is ignored."""
    if one.part == "config":
        if one.key.partition(".")[0] in ("strategy", "dataset"):  # any strategy gives the same bits; data are compared
            return None
        return "serious" if changes_bits(one.key, config) else "harmless"
    if one.part == "code":
        return _kind_of_code(one, packages)
    return "serious" if one.part == "data" else "environment"


def _kind_of_code(one: Difference, packages: Collection[str] | None) -> str | None:
    if None in one.values:  # a component was added or removed, which is a difference of the config
        return None
    if packages is not None:
        return "serious" if one.key in packages and one.key != VAEFLOW else None
    return "environment" if one.key == VAEFLOW or str(one.values[0]).startswith("version") else "serious"
