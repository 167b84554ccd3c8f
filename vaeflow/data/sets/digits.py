"""The digits that are part of this package: see `shipped/optical-digits.txt` for their source and licence."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vaeflow.contracts import Dataset, Split
from vaeflow.data.sets.npy import open_npz

FILE = Path(__file__).parent / "shipped" / "optical-digits.npz"
TRAINING = 1500  # the first of 1797; the others are the test split
LARGEST = 16  # of the file's values


def open_digits() -> Dataset:
    """Return the digits, [N, 8, 8, 1] uint8 from 0 to 255, with their labels.

    Raises:
        DataError: if the package's file is missing or corrupt.
    """
    found = open_npz(FILE)
    x = ((found["x"].astype(np.uint16) * 255 + LARGEST // 2) // LARGEST).astype(np.uint8)[..., np.newaxis]
    train, test = (Split(x[part], found["y"][part]) for part in (slice(TRAINING), slice(TRAINING, None)))
    return Dataset(
        "digits", train, None, test, "UCI Optical Recognition of Handwritten Digits, optdigits.tes, CC BY 4.0"
    )
