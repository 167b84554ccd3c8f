"""Data sets of counts: simulated ones, a sparse matrix in a file, and AnnData."""

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
    batches: str | None = None,
    test_fraction: Fraction = 0.2,
    seed: Seed = 0,
) -> Dataset:
    """Counts [N, G] of a sparse matrix, as `scipy.sparse.save_npz` writes it; rows are read when they are used.

    Args:
        folders: not used.
        path: of the .npz file. ~ is your home directory.
        batches: a .npy file with a batch for each row, integers from 0, as labels.
        test_fraction: of the rows, which are drawn by the seed.
        seed: another one puts other rows into the test split.

    Raises:
        DataError: if a file is missing or does not fit, or a count is negative or not whole.
    """
    from vaeflow_counts.sparse import read_npz, split_rows

    matrix, labels = read_npz(_file(path), _file(batches) if batches else None)
    return split_rows(matrix, labels, test_fraction, seed, name="sparse-counts", source=path)


def anndata(
    folders: Folders,  # noqa: ARG001
    *,
    path: str,
    layer: str | None = None,
    batch: str | None = None,
    test_fraction: Fraction = 0.2,
    seed: Seed = 0,
) -> Dataset:
    """Counts of an .h5ad file, with the library anndata: `pip install 'vaeflow-counts[anndata]'`.

    Args:
        folders: not used.
        path: of the .h5ad file. ~ is your home directory.
        layer: the layer with counts; default: X.
        batch: column of `obs` whose categories become labels.
        test_fraction: of the rows, which are drawn by the seed.
        seed: another one puts other rows into the test split.

    Raises:
        DataError: if anndata is not installed, or the file does not have what is named.
    """
    from vaeflow_counts.sparse import read_h5ad, split_rows

    matrix, labels = read_h5ad(_file(path), layer, batch)
    return split_rows(matrix, labels, test_fraction, seed, name="anndata", source=path)


def _file(path: str) -> Path:
    found = Path(path).expanduser()
    if not found.is_file():
        raise DataError(f"{path} is not a file")
    return found
