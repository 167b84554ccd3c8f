"""Data sets of counts: simulated ones, and a sparse matrix in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from vaeflow.errors import DataError

if TYPE_CHECKING:
    from vaeflow.contracts import Dataset
    from vaeflow.data.sets import Folders

Size = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def simulated_counts(
    folders: Folders,  # noqa: ARG001
    *,
    examples: Size = 2000,
    features: Size = 100,
    groups: Size = 4,
    batches: Size = 2,
    total: Positive = 1000.0,
    dispersion: Positive = 2.0,
    seed: Seed = 0,
) -> Dataset:
    """Negative binomial counts of groups of examples with known parameters; a fifth of them is the test split.

    Each example has one of the groups, one of the batches, which are its labels, and a total that varies by a factor.
    `vaeflow_counts.simulation.simulate` returns the parameters, too.

    Args:
        folders: not used.
        examples: N, with those of the test split.
        features: G.
        groups: with a profile of features each.
        batches: with a factor for each feature.
        total: median of the expected totals.
        dispersion: median theta of the features.
        seed: of all numbers.
    """
    from vaeflow_counts.simulation import simulate

    simulated = simulate(examples, features, groups, batches, total=total, dispersion=dispersion, seed=seed)
    return simulated.dataset()


def sparse_counts(
    folders: Folders,  # noqa: ARG001
    *,
    path: str,
    layer: str | None = None,
    batches: str | None = None,
    test_fraction: Fraction = 0.2,
    seed: Seed = 0,
) -> Dataset:
    """Counts [N, G] of a sparse matrix in a file: .npz of `scipy.sparse.save_npz`, or .h5ad of AnnData.

    The matrix is held in memory; rows become dense when they are used. AnnData's files need the library anndata:
    `pip install 'vaeflow-counts[anndata]'`.

    Args:
        folders: not used.
        path: of the file. ~ is your home directory.
        layer: of an .h5ad file, the layer with counts; default: X.
        batches: labels: for .npz a .npy file with an integer from 0 for each row, for .h5ad a column of `obs`.
        test_fraction: of the rows, which are drawn by the seed.
        seed: another one puts other rows into the test split.

    Raises:
        DataError: if a file is missing or does not fit, a count is negative or not whole, or anndata is not installed.
    """
    from vaeflow_counts.sparse import read_h5ad, read_npz, split_rows

    file = _file(path)
    if file.suffix == ".h5ad":
        matrix, labels = read_h5ad(file, layer, batches)
    elif layer is not None:
        raise DataError(f"layer={layer!r} is for .h5ad files, but the path is {path}")
    else:
        matrix, labels = read_npz(file, _file(batches) if batches else None)
    return split_rows(matrix, labels, test_fraction, seed, source=path)


def _file(path: str) -> Path:
    found = Path(path).expanduser()
    if not found.is_file():
        raise DataError(f"{path} is not a file")
    return found
