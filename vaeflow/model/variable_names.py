"""Names of a model's variables for logs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras

    from vaeflow.model.vae import VAE

PARTS = ("encoder", "posterior", "prior", "decoder", "likelihood")


def named_weights(model: VAE) -> Iterator[tuple[str, keras.Variable]]:
    """Yield (name, variable) for each variable of a model, such as `encoder/00_conv2d_kernel`.

    Keras numbers layers per process; these names depend only on the model, so a resumed run has the same names.
    """
    for part in PARTS:
        for index, variable in enumerate(getattr(getattr(model, part), "weights", ())):
            words = [re.sub(r"_\d+$", "", word) for word in variable.path.split("/")[-2:]]
            yield f"{part}/{index:02d}_{'_'.join(words)}", variable
