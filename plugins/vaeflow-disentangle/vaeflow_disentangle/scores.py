"""Scores of disentanglement by known factors, in NumPy: MIG, SAP, and DCI with a lasso.

All are 0 for codes that tell nothing. Shapes: N examples, D codes (latent dimensions), F factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.errors import UsageError
from vaeflow_disentangle.factors import binned
from vaeflow_disentangle.lasso import lasso, standardized

if TYPE_CHECKING:
    from vaeflow_disentangle.factors import KnownFactors

BINS = 20
INACTIVE = 0.01
"""A code with a smaller variance predicts nothing in SAP (Kumar et al. 2018)."""


@dataclass(frozen=True)
class Scores:
    """All scores of a model.

    Attributes:
        mig: the mutual information gap.
        sap: the separated attribute predictability.
        dci_lasso: disentanglement, completeness, informativeness.
        information: [D, F], the mutual information of each code and factor over the factor's entropy.
    """

    mig: float
    sap: float
    dci_lasso: DCI
    information: np.ndarray


@dataclass(frozen=True)
class DCI:
    """The scores of Eastwood and Williams 2018, each from 0 to 1.

    Attributes:
        disentanglement: 1 if each code predicts one factor.
        completeness: 1 if each factor is predicted by one code.
        informativeness: mean over factors of the share of variance that is predicted, of examples not fitted.
    """

    disentanglement: float
    completeness: float
    informativeness: float


def scores(codes: np.ndarray, factors: KnownFactors, *, bins: int = BINS, parts: int = 10) -> Scores:
    """Return all scores of codes [N, D]; see `mig`, `sap` and `dci_lasso`.

    Args:
        codes: means of the posteriors.
        factors: of the same examples.
        bins: equal parts of a code's range.
        parts: equal parts of a factor's range, for `mig`.

    Raises:
        UsageError: if the shapes differ, or a factor has one value only.
    """
    information = normalized_information(codes, factors.classes(parts), bins=bins)
    return Scores(
        gap(information),
        sap(codes, factors.values, factors.categorical, bins=bins),
        dci_lasso(codes, factors.values, factors.categorical),
        information,
    )


def mig(codes: np.ndarray, classes: np.ndarray, *, bins: int = BINS) -> float:
    """Return the mutual information gap (Chen et al. 2018, equation 6), from 0 to 1.

    Args:
        codes: [N, D], divided into equal parts of their ranges.
        classes: [N, F], numbers of classes.
        bins: equal parts of a code's range.

    Raises:
        UsageError: if the shapes differ, or a factor has one value only.

    >>> grid = np.stack(np.meshgrid(range(4), range(4)), -1).reshape(-1, 2)
    >>> round(mig(grid, grid), 6), round(mig(0 * grid, grid), 6)
    (1.0, 0.0)
    """
    return gap(normalized_information(codes, classes, bins=bins))


def gap(of_codes: np.ndarray) -> float:
    """Return the mean over factors of the largest value of a code less the second largest, for values [D, F]."""
    ordered = np.sort(np.concatenate([of_codes, np.zeros((2, of_codes.shape[1]))]), axis=0)
    return float(np.mean(ordered[-1] - ordered[-2]))


def normalized_information(codes: np.ndarray, classes: np.ndarray, *, bins: int = BINS) -> np.ndarray:
    """Return I(z_d; v_f) / H(v_f), [D, F], of codes in equal parts of their ranges; see `mig`."""
    _require(codes, classes)
    cut = [binned(code, bins) for code in np.asarray(codes, np.float64).T]
    found = np.zeros((len(cut), classes.shape[1]))
    for f, factor in enumerate(np.asarray(classes).T):
        numbers = np.unique(factor, return_inverse=True)[1].reshape(-1)
        entropy = _entropy(np.bincount(numbers))
        for d, code in enumerate(cut):
            both = _entropy(np.bincount(code * (numbers.max() + 1) + numbers))
            found[d, f] = (_entropy(np.bincount(code)) + entropy - both) / entropy
    return np.maximum(found, 0.0)  # rounding


def sap(codes: np.ndarray, factors: np.ndarray, categorical: tuple[bool, ...] = (), *, bins: int = BINS) -> float:
    """Return the separated attribute predictability (Kumar et al. 2018).

    The predictability of a factor by a code is their squared correlation. Of a categorical factor it is the balanced
    accuracy of the best class in each of equal parts of the code's range, by which C classes that a code tells nothing
    about have 1 / C: the gap of such a factor is at most 1 - 1 / C.

    Args:
        codes: [N, D].
        factors: [N, F].
        categorical: [F]; by default no factor is.
        bins: equal parts of a code's range.

    Raises:
        UsageError: if the shapes differ, or a factor has one value only.
    """
    _require(codes, factors)
    codes, factors = np.asarray(codes, np.float64), np.asarray(factors, np.float64)
    of_classes = categorical or (False,) * factors.shape[1]
    columns = []
    for factor, in_classes in zip(factors.T, of_classes, strict=True):
        chance = 1.0 / len(np.unique(factor)) if in_classes else 0.0
        one = [_accuracy(code, factor, bins) if in_classes else _squared_correlation(code, factor) for code in codes.T]
        columns.append(np.where(codes.var(0) > INACTIVE, one, chance) - chance)
    return gap(np.maximum(np.stack(columns, axis=1), 0.0))


def dci_lasso(
    codes: np.ndarray, factors: np.ndarray, categorical: tuple[bool, ...] = (), *, penalty: float = 0.02
) -> DCI:
    """Return DCI (Eastwood and Williams 2018) with linear regressors: importances are a lasso's absolute weights.

    Codes and factors are standardized. A categorical factor is predicted as one indicator for each class, and its
    importances are their mean. The paper also uses random forests, which find dependences that are not linear; scores
    by forests and by a lasso can't be compared.

    Args:
        codes: [N, D].
        factors: [N, F].
        categorical: [F]; by default no factor is.
        penalty: of the absolute weights.

    Raises:
        UsageError: if the shapes differ, or a factor has one value only.
    """
    _require(codes, factors)
    fitted = np.arange(len(codes)) % 4 != 3  # the last of each four examples measures the fit
    x = standardized(np.asarray(codes, np.float64), fitted)
    importances, shares = [], []
    for f, factor in enumerate(np.asarray(factors, np.float64).T):
        kinds = np.unique(factor) if categorical and categorical[f] else None
        targets = factor[:, None] if kinds is None else (factor[:, None] == kinds).astype(np.float64)
        y = standardized(targets, fitted)
        weights = lasso(x[fitted], y[fitted], penalty)
        left, apart = y[~fitted] - x[~fitted] @ weights, y[~fitted] - y[~fitted].mean(0)
        share = 1.0 - np.square(left).sum(0) / np.maximum(np.square(apart).sum(0), 1e-12)
        importances.append(np.abs(weights).mean(1))
        shares.append(np.maximum(share, 0.0).mean())
    return DCI(*_entropic(np.stack(importances, axis=1)), informativeness=float(np.mean(shares)))


def _entropic(importances: np.ndarray) -> tuple[float, float]:
    """Return disentanglement and completeness of importances [D, F]."""
    total = importances.sum()
    if not total > 0.0:
        return 0.0, 0.0
    of_codes = importances.sum(1) / total
    per_code = 1.0 - np.array([_relative_entropy(row) for row in importances])
    per_factor = 1.0 - np.array([_relative_entropy(column) for column in importances.T])
    return float(of_codes @ per_code), float(np.mean(per_factor))


def _relative_entropy(weights: np.ndarray) -> float:
    """Return the entropy of weights that are divided by their sum, over that of equal ones; 1 if all are 0."""
    if not weights.sum() > 0.0:
        return 1.0
    return _entropy(weights) / np.log(len(weights)) if len(weights) > 1 else 0.0


def _entropy(weights: np.ndarray) -> float:
    """Return the entropy in nats of weights that are divided by their sum."""
    p = weights[weights > 0] / weights.sum()
    return float(-(p * np.log(p)).sum())


def _squared_correlation(code: np.ndarray, factor: np.ndarray) -> float:
    varied = code.var() * factor.var()
    return float(np.mean((code - code.mean()) * (factor - factor.mean())) ** 2 / varied) if varied > 0 else 0.0


def _accuracy(code: np.ndarray, factor: np.ndarray, bins: int) -> float:
    numbers = np.unique(factor, return_inverse=True)[1].reshape(-1)
    counts = np.zeros((bins, numbers.max() + 1))
    np.add.at(counts, (binned(code, bins), numbers), 1.0)
    return float((counts / counts.sum(0)).max(1).sum() / counts.shape[1])


def _require(codes: np.ndarray, factors: np.ndarray) -> None:
    shapes = np.shape(codes), np.shape(factors)
    if len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[0][0] != shapes[1][0] or 0 in (*shapes[0], *shapes[1]):
        raise UsageError(f"scores need codes [N, D] and factors [N, F], not {list(shapes[0])} and {list(shapes[1])}")
    if not np.isfinite(codes).all():
        raise UsageError("scores need finite codes, but there are NaN or infinite ones")
    for f, factor in enumerate(np.asarray(factors).T):
        if (factor == factor[0]).all():
            raise UsageError(f"factor {f} has one value only, {factor[0]:g}, for all {len(factor)} examples")
