"""Names of a model's variables for logs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras

    from vaeflow.contracts import LatentVariableModel


def named_weights(model: LatentVariableModel) -> Iterator[tuple[str, keras.Variable]]:
    """Yield (name, variable) for each variable of a model's parts, such as `encoder/00_conv2d_kernel`.

    Keras numbers layers per process; these names depend only on the model, so a resumed run has the same names.
    """
    for part, owner in model.parts.items():
        for index, variable in enumerate(getattr(owner, "weights", ())):
            words = [re.sub(r"_\d+$", "", word) for word in variable.path.split("/")[-2:]]
            yield f"{part}/{index:02d}_{'_'.join(words)}", variable


def path_of(model: LatentVariableModel, variable: keras.Variable) -> str:
    """Return a variable's path, which starts with the part of the model: `decoder/dense_2/kernel`."""
    for part, owner in model.parts.items():
        if any(variable is own for own in getattr(owner, "variables", ())):
            return f"{part}/{variable.path.removeprefix(f'{part}/')}"
    return str(variable.path)
