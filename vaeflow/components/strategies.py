"""Strategies that come with vaeflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    from vaeflow.engine.strategies.base import Strategy


def single(*, replicas: Annotated[int, Field(ge=1, le=1)] = 1) -> Strategy:
    """One device: the first GPU, or the CPU.

    Args:
        replicas: 1; the key is there since every strategy has it.
    """
    from vaeflow.engine.strategies.single import SingleStrategy

    return SingleStrategy(replicas=replicas)
