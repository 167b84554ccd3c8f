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

    Keras numbers its layers by what else was built in the process; these names are a function of the model alone, so a
    resumed run goes on under the same ones.
    """
    for part in PARTS:
        for index, variable in enumerate(getattr(getattr(model, part), "weights", ())):
            words = [re.sub(r"_\d+$", "", word) for word in variable.path.split("/")[-2:]]
            yield f"{part}/{index:02d}_{'_'.join(words)}", variable
