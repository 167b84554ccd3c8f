"""MLflow's settings while a run is logged: variables of the environment, since MLflow takes these no other way."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULTS = {
    "MLFLOW_ALLOW_FILE_STORE": "true",  # or MLflow 3.17 refuses plain folders, which it maintains no more than it must
    "MLFLOW_DISABLE_TELEMETRY": "true",  # or it reports what is called to its makers, from threads of its own
    "MLFLOW_DISABLE_AGENT_HINT": "true",  # a line about tracing, which is not used here
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output is the command's
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # not 7, which take minutes, and training waits meanwhile
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds, not 120
}


@contextmanager
def settings() -> Iterator[None]:
    """Set what is not set, and take it back afterwards; what the user has set stays as it is."""
    missing = {name: value for name, value in DEFAULTS.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
