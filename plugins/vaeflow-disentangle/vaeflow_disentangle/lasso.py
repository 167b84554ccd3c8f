"""Linear regression with a penalty of absolute weights, in NumPy.

Coordinate descent: Friedman, Hastie and Tibshirani, "Regularization Paths for Generalized Linear Models via Coordinate
Descent", 2010. Shapes: N examples, D inputs, T targets.
"""

from __future__ import annotations

import numpy as np

SWEEPS = 1000
CLOSE = 1e-9


def standardized(values: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Return values [N, K] with mean 0 and variance 1 over the examples that are fitted; constant ones become 0.

    Args:
        values: [N, K].
        fitted: [N] bool.
    """
    centred = values - values[fitted].mean(0)
    deviation = centred[fitted].std(0)
    return np.where(deviation > 1e-12, centred / np.maximum(deviation, 1e-12), 0.0)


def lasso(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Return weights w [D, T] that minimize |y - x w|^2 / 2N + penalty |w|_1 for each target.

    Args:
        x: [N, D], with mean 0.
        y: [N, T], with mean 0.
        penalty: 0 or more.
    """
    inner, outer = x.T @ x / len(x), x.T @ y / len(x)
    weights = np.zeros_like(outer)
    active = np.flatnonzero(np.diag(inner) > 0.0)
    for _ in range(SWEEPS):
        before = weights.copy()
        for d in active:
            rest = outer[d] - inner[d] @ weights + inner[d, d] * weights[d]
            weights[d] = np.sign(rest) * np.maximum(np.abs(rest) - penalty, 0.0) / inner[d, d]
        if np.abs(weights - before).max() < CLOSE:
            break
    return weights
