"""Initial weights that are training examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from vaeflow.contracts import LatentVariableModel
    from vaeflow.data.batches import Batches


def start_from_examples(model: LatentVariableModel, batches: Batches) -> None:
    """Give examples to each part of a model that has a method `start`, see `vaeflow.contracts.StartsFromExamples`.

    The seed chooses them, so they are the same on every rank.

    Args:
        model: with its initial weights.
        batches: the training examples.

    Raises:
        UsageError: if a part wants more examples than there are.
    """
    for name, part in getattr(model, "parts", {}).items():
        count = int(getattr(part, "start_examples", 0))
        if count > batches.examples:
            raise UsageError(f"{name} starts from {count} examples, but there are {batches.examples} to train with")
        if count:
            part.start(batches.first_of_order(count))
