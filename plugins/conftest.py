"""Which tests of the plugins are skipped: repetitions, unless --all is given, as in tests/."""

from __future__ import annotations

import pytest

REASON = "repeats another test with more models, ranks or rules: make test-all"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --all."""
    parser.addoption("--all", action="store_true", help="run repetitions, too: more models, ranks and rules")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip repetitions."""
    for item in items:
        if item.get_closest_marker("repetition") and not config.getoption("--all"):
            item.add_marker(pytest.mark.skip(reason=REASON))
