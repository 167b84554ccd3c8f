"""Which tests and which of their cases a command runs; a pytest plugin, which both `conftest.py` load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from helpers import fork_server, small_runs
from vaeflow.plugin_kit import testing
from vaeflow.plugin_kit.checks.forks import HASH_SEEDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MODES = (  # marker, option that includes its tests, why they are skipped without it
    ("repetition", "--all", "repeats another test with more seeds, ranks or components: make test-all"),
    ("cluster", "--cluster", "starts SLURM or sshd, which takes root and packages: make test-cluster"),
)
QUICK = (  # marker, why --quick skips its tests
    ("slow", "takes seconds of work: make test"),
    ("distributed", "starts a job of several replicas: make test"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose tests."""
    parser.addoption("--quick", action="store_true", help="skip tests that are slow or start a job")
    parser.addoption("--all", action="store_true", help="run repetitions, too: more seeds, ranks and components")
    parser.addoption("--cluster", action="store_true", help="run the tests that start SLURM and sshd, as root")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what was not chosen, with the reason."""
    reasons = [(marker, reason) for marker, option, reason in MODES if not config.getoption(option)]
    if config.getoption("--quick"):
        reasons += QUICK
    for item in items:
        for marker, reason in reasons:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def fork_server_ends() -> Iterator[None]:
    """End the fork server with the session, if there is one."""
    yield
    fork_server.end_all()


@pytest.fixture
def forked_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixture `contract`, and all that it starts, have their commands from fork servers."""
    fork_server.seed_server(HASH_SEEDS[0])
    monkeypatch.setattr(testing, "_start", small_runs.forking_line)


def repeated(*values: Any, **options: Any) -> Any:
    """Return a case that repeats what another one shows: it runs with `--all`."""
    return pytest.param(*values, marks=pytest.mark.repetition, **options)


def few(cases: Iterable[Any], *kept: Any) -> list[Any]:
    """Return all cases; those that are not kept are repetitions. A case that is kept must be among them."""
    cases = list(cases)
    assert all(case in cases for case in kept), kept
    return [case if case in kept else repeated(case) for case in cases]
