"""MIG, SAP and DCI of codes whose scores are known, and the factors of data sets."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy
from vaeflow_disentangle.factors import KnownFactors, factors_of
from vaeflow_disentangle.lasso import lasso, standardized
from vaeflow_disentangle.scores import dci_lasso, mig, normalized_information, sap, scores

from vaeflow.contracts import Dataset, Split
from vaeflow.data.sets import shapes
from vaeflow.errors import UsageError

GRID = np.stack(np.meshgrid(range(5), range(4), range(6)), axis=-1).reshape(-1, 3)
GRID = np.random.default_rng(0).permutation(np.repeat(GRID, 8, axis=0))
"""All combinations of three factors, which are independent in this sample."""


def grid(*, categorical=()):
    return KnownFactors(("a", "b", "c"), GRID.astype(float), tuple(i in categorical for i in range(3)))


def test_a_perfect_code_scores_one():
    """Factors in another order and on other scales, beside a constant; SAP's maximum is 1 for numbers."""
    codes = np.column_stack([-3.0 * GRID[:, 2], np.full(len(GRID), 2.5), 0.5 * GRID[:, 0] + 1, GRID[:, 1]])
    found = scores(codes, grid())
    assert [found.mig, found.sap] == pytest.approx([1.0, 1.0])
    dci = found.dci_lasso
    assert [dci.disentanglement, dci.completeness] == pytest.approx([1.0, 1.0])
    assert dci.informativeness == pytest.approx(1 - 0.02**2, abs=1e-3)  # the penalty shrinks weights by 0.02
    np.testing.assert_allclose(found.information, [[0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0]], atol=1e-9)


def test_perfect_codes_of_classes():
    """SAP's maximum for C classes is 1 - 1 / C, as 1 / C are right by chance."""
    found = scores(GRID, grid(categorical=(0, 1)))
    assert found.mig == pytest.approx(1.0)
    assert found.sap == pytest.approx(np.mean([1 - 1 / 5, 1 - 1 / 4, 1.0]))
    # Three of four examples are fitted, in which factors are dependent by chance: by less than 0.05.
    assert found.dci_lasso.disentanglement == pytest.approx(1.0, abs=0.02)
    assert found.dci_lasso.completeness == pytest.approx(1.0, abs=0.02)


def test_a_rotated_code_scores_less():
    """Half a right angle mixes two factors evenly: neither code is of one factor."""
    centred = (GRID - GRID.mean(0)) / GRID.std(0)
    turned = centred @ np.array(
        [[np.cos(np.pi / 4), -np.sin(np.pi / 4), 0], [np.sin(np.pi / 4), np.cos(np.pi / 4), 0], [0, 0, 1]]
    )
    found = scores(turned, grid())
    assert found.mig < 0.6
    assert found.sap == pytest.approx(1 / 3, abs=0.01)  # of the third factor alone
    assert found.dci_lasso.disentanglement < 0.62
    assert found.dci_lasso.completeness < 0.62
    assert found.dci_lasso.informativeness > 0.99


@pytest.mark.parametrize("categorical", [(), (0, 1, 2)])
def test_a_constant_code_scores_zero(categorical):
    found = scores(np.full((len(GRID), 2), 0.1), grid(categorical=categorical))
    dci = found.dci_lasso
    scored = [found.mig, found.sap, dci.disentanglement, dci.completeness, dci.informativeness]
    np.testing.assert_allclose(scored, np.zeros(5), atol=1e-12)


def test_information_of_a_noisy_code():
    """A factor of two classes, and a code that is wrong in 1 of 4 cases: ln 2 - H(1/4) of ln 2."""
    factor = np.repeat([0, 1], 400)
    code = np.where(np.arange(800) % 4 == 0, 1 - factor, factor) * 0.7
    expected = 1 - entropy([0.25, 0.75], base=2)
    assert normalized_information(code[:, None], factor[:, None])[0, 0] == pytest.approx(expected)
    assert mig(np.column_stack([code, 2.0 * factor]), factor[:, None]) == pytest.approx(1 - expected)


def test_sap_is_a_gap_of_squared_correlations():
    codes = np.random.default_rng(0).normal(size=(500, 3))
    factor = codes @ [1.0, 0.5, 0.1]
    squared = np.sort([np.corrcoef(code, factor)[0, 1] ** 2 for code in codes.T])
    assert sap(codes, factor[:, None]) == pytest.approx(squared[2] - squared[1])
    assert sap(codes * [0.05, 1, 1], factor[:, None]) == pytest.approx(squared[1] - squared[0])  # the first is inactive


def test_dci_of_known_importances():
    """Of two factors, one is a code and the other is the sum of two independent codes."""
    codes = np.sign(np.random.default_rng(0).permutation(np.repeat([[1, 1], [1, -1], [-1, 1], [-1, -1]], 4000, axis=0)))
    found = dci_lasso(codes, np.column_stack([codes[:, 0], codes.sum(1)]), penalty=0.0)
    importances = np.array([[1.0, np.sqrt(0.5)], [0.0, np.sqrt(0.5)]])
    per_code = 1 - entropy(importances, axis=1, base=2)
    assert found.disentanglement == pytest.approx(per_code @ importances.sum(1) / importances.sum(), abs=0.02)
    assert found.completeness == pytest.approx(np.mean(1 - entropy(importances, axis=0, base=2)), abs=0.02)


def test_the_lasso_is_at_its_minimum():
    """The conditions of Karush, Kuhn and Tucker: the gradient is the penalty at weights, and less at zeros."""
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    x = standardized(np.column_stack([mixed, np.ones(200)]), np.ones(200, bool))
    y = standardized(mixed[:, :2] @ [[1.0, 0.2], [0.3, -1.0]] + rng.normal(size=(200, 2)), np.ones(200, bool))
    weights = lasso(x, y, 0.1)
    slope = x.T @ (y - x @ weights) / 200
    assert 0 < np.count_nonzero(weights) < weights.size
    np.testing.assert_allclose(slope[weights != 0], 0.1 * np.sign(weights[weights != 0]), atol=1e-6)
    assert np.abs(slope).max() <= 0.1 + 1e-6


def test_factors_of_shapes():
    dataset = shapes.shapes_of({"train": 20, "test": 50}, "hue", 3)
    found = factors_of(dataset, limit=30)
    assert found.names == ("shape", "hue", "size", "x", "y", "rotation")
    assert found.categorical == (True, *[False] * 5)
    expected = shapes.factors(shapes.FIRST["test"] + np.arange(30), 3)
    np.testing.assert_array_equal(found.values, np.stack(expected, axis=1))
    np.testing.assert_array_equal(found.classes()[:, 0], expected.shape)
    assert [len(np.unique(column)) for column in found.classes(3)[:, 1:].T] == [3] * 5
    assert factors_of(Dataset("mine", Split(np.zeros((3, 2))), None, None, ""), "train") is None
    with pytest.raises(UsageError, match="data set 'shapes' has no split 'validation'; it has train, test"):
        factors_of(dataset, "validation")


@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (np.zeros((4, 2)), np.zeros((3, 1)), r"need codes \[N, D\] and factors \[N, F\], not \[4, 2\] and \[3, 1\]"),
        (np.zeros((4, 2)), np.c_[np.arange(4), np.ones(4)], "factor 1 has one value only, 1, for all 4 examples"),
        (np.full((4, 1), np.nan), np.arange(4)[:, None], "finite codes"),
    ],
)
def test_what_has_no_score_is_one_line(codes, factors, message):
    for score in (mig, sap, dci_lasso):
        with pytest.raises(UsageError, match=message):
            score(codes, factors)
