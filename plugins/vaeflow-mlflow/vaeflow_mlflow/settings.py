"""MLflow's settings while a run is logged: environment variables, since there is no other way to set them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULTS = {
    "MLFLOW_ALLOW_FILE_STORE": "true",  # otherwise MLflow 3.17 refuses plain folders, which are in maintenance mode
    "MLFLOW_DISABLE_TELEMETRY": "true",  # otherwise MLflow sends usage data to its developers, from background threads
    "MLFLOW_DISABLE_AGENT_HINT": "true",  # hides a line about tracing, which is not used here
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output is for the command
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # instead of 7, which take minutes while training waits
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds, instead of 120
}


@contextmanager
def settings() -> Iterator[None]:
    """Set variables that are not set, and remove them afterwards; the user's settings are not changed."""
    missing = {name: value for name, value in DEFAULTS.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
