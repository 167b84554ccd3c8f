"""Which of a test's cases `make test` runs; the others run with `--all`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable


def repeated(*values: Any, **options: Any) -> Any:
    """Return a case that repeats what another one shows: it runs with `--all`."""
    return pytest.param(*values, marks=pytest.mark.repetition, **options)


def few(cases: Iterable[Any], *kept: Any) -> list[Any]:
    """Return all cases; those that are not kept are repetitions. A case that is kept must be among them."""
    cases = list(cases)
    assert all(case in cases for case in kept), kept
    return [case if case in kept else repeated(case) for case in cases]
