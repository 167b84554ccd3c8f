"""Scores of a finished run on the known factors of its data set: a JSON file and a picture in the run's directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.callbacks import Callback
from vaeflow.plots import style
from vaeflow_disentangle.factors import factors_of
from vaeflow_disentangle.scores import scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vaeflow.callbacks import RunView
    from vaeflow.contracts import Dataset
    from vaeflow_disentangle.factors import KnownFactors
    from vaeflow_disentangle.scores import Scores

NAME = "disentanglement"


class Disentanglement(Callback):
    """Writes the scores at the end of a run; see `components.disentanglement`.

    Args:
        examples: most examples that are encoded.
        bins: equal parts of a code's range.
        parts: equal parts of a factor's range.
    """

    def __init__(self, examples: int, bins: int, parts: int) -> None:
        self._examples, self._bins, self._parts = examples, bins, parts

    def on_start(self, run: RunView) -> None:
        """Warn if there are no factors."""
        if factors_of(run.dataset, _split(run.dataset), 1) is None:
            run.say(
                f"warning: callback {NAME}: data set {run.dataset.name!r} has no known factors; no score is written"
            )

    def on_end(self, run: RunView) -> None:
        """Write the scores and the picture."""
        split = _split(run.dataset)
        factors = factors_of(run.dataset, split, self._examples)
        if factors is None:
            return
        found = scores(codes_of(run, split, self._examples), factors, bins=self._bins, parts=self._parts)
        about = {"split": split, "examples": len(factors.values), "bins": self._bins, "parts": self._parts}
        run.write_json(f"{NAME}.json", {**about, **as_json(found, factors)})
        style.save(picture(found, factors), run.directory / f"{NAME}.png")
        dci = found.dci_lasso
        run.say(
            f"{NAME} on {split}: MIG {found.mig:.3f}, SAP {found.sap:.3f}, DCI (lasso) {dci.disentanglement:.3f} "
            f"{dci.completeness:.3f} {dci.informativeness:.3f}"
        )


def codes_of(run: RunView, split: str, limit: int) -> np.ndarray:
    """Return the posteriors' means of a split's first examples, [N, D]: all groups of latents side by side."""
    of_split = run.dataset.splits()[split]
    x = run.trained.prepare(np.asarray(of_split.x[:limit]), split=split)
    labels = None if of_split.y is None or not run.trained.classes else np.asarray(of_split.y[:limit])
    means = run.trained.means(x, labels=labels)
    return np.concatenate([mean.reshape(len(x), -1) for mean in means.values()], axis=1)


def as_json(found: Scores, factors: KnownFactors) -> dict[str, Any]:
    """Return scores as JSON values."""
    dci = found.dci_lasso
    return {
        "mig": found.mig,
        "sap": found.sap,
        "dci_lasso": {
            "disentanglement": dci.disentanglement,
            "completeness": dci.completeness,
            "informativeness": dci.informativeness,
        },
        "information": {name: list(map(float, found.information[:, f])) for f, name in enumerate(factors.names)},
    }


def picture(found: Scores, factors: KnownFactors) -> Figure:
    """Return a map of the mutual information of each code with each factor, over the factor's entropy."""
    count = len(found.information)
    figure = style.new_figure(2.5 + 0.35 * count, 1.8 + 0.35 * len(factors.names))
    axes = style.add_axes(figure, f"MIG {found.mig:.3f}, SAP {found.sap:.3f}")
    drawn = axes.imshow(found.information.T, vmin=0.0, vmax=1.0, cmap="Blues", aspect="equal")
    axes.set_yticks(range(len(factors.names)), factors.names)
    axes.set_xticks(range(count))
    axes.set_xlabel("latent dimension")
    figure.colorbar(drawn).set_label("mutual information / entropy", fontsize=style.TEXT)
    return figure


def _split(dataset: Dataset) -> str:
    splits = dataset.splits()
    return next(name for name in ("test", "validation", "train") if name in splits)
