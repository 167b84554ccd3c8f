"""Sparse matrices of counts as data sets: rows become dense when they are used."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.contracts import Dataset, Split
from vaeflow.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class SparseRows:
    """Some rows of a matrix in SciPy's CSR format, as a `vaeflow.contracts.LazyArray` of float32.

    Attributes:
        matrix: [M, G], scipy.sparse.csr_matrix or csr_array.
        rows: [N] the rows, in their order.
    """

    matrix: Any
    rows: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(N, G)."""
        return len(self.rows), self.matrix.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""
        return np.dtype(np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows as a dense array."""
        return 4 * len(self.rows) * int(self.matrix.shape[1])

    def __len__(self) -> int:
        """Return N."""
        return len(self.rows)

    def __getitem__(self, index: Any, /) -> np.ndarray:
        """Return rows as a dense array."""
        chosen = self.rows[index]
        found = self.matrix[np.atleast_1d(chosen)].toarray().astype(np.float32)
        return found if np.ndim(chosen) else found[0]


def read_npz(path: Path, batches: Path | None) -> tuple[Any, np.ndarray | None]:
    """Return a matrix in CSR format, and the batch of each row.

    Raises:
        DataError: if a file can't be read, or they do not fit.
    """
    import scipy.sparse

    try:
        matrix = scipy.sparse.load_npz(path)
        labels = None if batches is None else np.load(batches, allow_pickle=False)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: not a sparse matrix as scipy.sparse.save_npz writes it: {error}") from error
    return _checked(matrix, path), labels if labels is None else _labels(labels, matrix.shape[0], str(batches))


def read_h5ad(path: Path, layer: str | None, batch: str | None) -> tuple[Any, np.ndarray | None]:
    """Return the counts of an .h5ad file in CSR format, and the batch of each row.

    Raises:
        DataError: if anndata is not installed, or the file does not have what is named.
    """
    if importlib.util.find_spec("anndata") is None:
        raise DataError(f"{path}: .h5ad files need the library anndata: pip install 'vaeflow-counts[anndata]'")
    import anndata

    found = anndata.read_h5ad(path)
    if layer is not None and layer not in found.layers:
        raise DataError(f"{path} has no layer {layer!r}; it has {', '.join(found.layers) or 'none'}")
    if batch is not None and batch not in found.obs:
        raise DataError(f"{path}: obs has no column {batch!r}; it has {', '.join(found.obs) or 'none'}")
    matrix = found.X if layer is None else found.layers[layer]
    labels = None if batch is None else np.asarray(found.obs[batch].astype("category").cat.codes, np.int64)
    return _checked(matrix, path), labels if labels is None else _labels(labels, matrix.shape[0], f"{path}: {batch}")


def _checked(matrix: Any, path: Path) -> Any:
    import scipy.sparse

    found = scipy.sparse.csr_matrix(matrix)
    found.sum_duplicates()
    wrong = found.data[~((found.data >= 0) & (found.data == np.round(found.data)))]
    if wrong.size:
        raise DataError(f"{path}: {wrong[0]:g} is no count: counts are whole numbers from 0")
    return found


def _labels(labels: np.ndarray, rows: int, place: str) -> np.ndarray:
    if labels.shape != (rows,) or labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
        raise DataError(
            f"{place}: batches must be {rows} integers from 0, one per row, not {labels.dtype} {labels.shape}"
        )
    return labels.astype(np.int64)


def split_rows(matrix: Any, labels: np.ndarray | None, test_fraction: float, seed: int, *, source: str) -> Dataset:
    """Return a data set whose test split has some rows, drawn by a seed; both splits keep the order of the rows.

    Raises:
        DataError: if a split gets no row.
    """
    rows = matrix.shape[0]
    count = round(test_fraction * rows)
    if not 0 <= count < rows or (test_fraction > 0 and count == 0):
        raise DataError(f"{source}: test_fraction={test_fraction:g} of {rows} rows leaves a split empty")
    drawn = np.random.default_rng(seed).permutation(rows)
    test, train = np.sort(drawn[:count]), np.sort(drawn[count:])

    def split(index: np.ndarray) -> Split:
        return Split(SparseRows(matrix, index), None if labels is None else labels[index])

    return Dataset("sparse-counts", split(train), None, split(test) if count else None, source)
