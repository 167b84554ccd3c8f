"""Posteriors beyond the diagonal Gaussian for vaeflow: normalizing flows and a full covariance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow import Component, hookimpl
from vaeflow_flows import posteriors

if TYPE_CHECKING:
    from collections.abc import Iterator


@hookimpl
def vaeflow_components() -> Iterator[Component]:
    """Return the posteriors."""
    yield Component("posterior", "planar", posteriors.planar)
    yield Component("posterior", "iaf", posteriors.iaf)
    yield Component("posterior", "maf", posteriors.maf)
    yield Component("posterior", "coupling", posteriors.coupling)
    yield Component("posterior", "full-gaussian", posteriors.full_gaussian)
