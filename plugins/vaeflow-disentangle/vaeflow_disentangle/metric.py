"""The scores as a metric that an evaluation can name: `vaeflow evaluate RUN --metric disentanglement`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.contracts import Findings
from vaeflow_disentangle.factors import factors_of
from vaeflow_disentangle.scores import scores

if TYPE_CHECKING:
    from vaeflow.contracts import WholeSplit


class DisentanglementScores:
    """MIG, SAP and DCI of the posteriors' means; see `components.disentanglement_scores`.

    Args:
        examples: most examples that are encoded.
        bins: equal parts of a code's range.
        parts: equal parts of a factor's range.
    """

    whole_split = True

    def __init__(self, examples: int, bins: int, parts: int) -> None:
        self._examples, self._bins, self._parts = examples, bins, parts

    def __call__(self, split: WholeSplit) -> Findings:
        """Return the scores, and the information of each code about each factor; nothing if there are no factors."""
        factors = factors_of(split.dataset, split.split, self._examples)
        if factors is None:
            return Findings({}, about={"factors": f"data set {split.dataset.name!r} has no known factors"})
        width = sum(math.prod(group.shape) for group in split.model.latents)

        def rows(first: tf.Tensor) -> tf.Tensor:
            batch = split.batch(first)
            means = split.model.encode(batch.x, labels=batch.labels).values()
            return tf.concat([tf.reshape(mean, (split.rows, -1)) for mean in means], axis=1)

        codes = split.table("means", rows, width, len(factors.values))
        found = scores(codes, factors, bins=self._bins, parts=self._parts)
        dci = found.dci_lasso
        return Findings(
            {
                "mig": found.mig,
                "sap": found.sap,
                "dci_disentanglement": dci.disentanglement,
                "dci_completeness": dci.completeness,
                "dci_informativeness": dci.informativeness,
            },
            {f"information/{name}": found.information[:, f] for f, name in enumerate(factors.names)},
            {"examples": len(codes), "bins": self._bins, "parts": self._parts},
        )
