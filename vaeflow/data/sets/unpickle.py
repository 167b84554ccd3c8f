"""Load NumPy arrays from a pickle; no other name in it is imported or called."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.errors import DataError

if TYPE_CHECKING:
    import gzip

# The function that rebuilds an array; its module differs between NumPy versions.
REBUILD = np.empty(0).__reduce__()[0]
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): REBUILD,
    ("numpy._core.multiarray", "_reconstruct"): REBUILD,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that allows the reconstruction of numpy arrays only."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the object that a pickle names.

        Raises:
            DataError: if it is not part of an array.
        """
        if (module, name) not in ALLOWED:
            raise DataError(f"the pickle contains {module}.{name}; only numpy arrays are allowed in it")
        return ALLOWED[module, name]


def load_arrays(file: gzip.GzipFile) -> Any:
    """Return the content of a pickle of (nested tuples or lists of) arrays, also if it was written by Python 2.

    Raises:
        DataError: if it contains anything else.
        pickle.UnpicklingError, EOFError: if it is corrupt.
    """
    return ArrayUnpickler(file, encoding="bytes").load()
