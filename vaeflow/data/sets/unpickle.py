"""Plain numpy arrays out of a pickle, and nothing else: no other name in it is ever imported or called."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.errors import DataError

if TYPE_CHECKING:
    import gzip

# An array's own account of how it is rebuilt: the function's module has moved between numpy's versions.
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
        """Return what a pickle names.

        Raises:
            DataError: if it is not part of an array.
        """
        if (module, name) not in ALLOWED:
            raise DataError(f"the pickle asks for {module}.{name}; only numpy arrays are allowed in it")
        return ALLOWED[module, name]


def load_arrays(file: gzip.GzipFile) -> Any:
    """Return what a pickle of (nested tuples or lists of) arrays holds; one written by Python 2 too.

    Raises:
        DataError: if it holds anything else.
        pickle.UnpicklingError, EOFError: if it is damaged.
    """
    return ArrayUnpickler(file, encoding="bytes").load()
