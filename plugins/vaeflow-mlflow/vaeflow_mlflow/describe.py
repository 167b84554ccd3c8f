"""The parameters, tags and metrics of a run, within MLflow's limits of length and spelling."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from vaeflow import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from vaeflow.callbacks import Record, RunView

LONGEST_KEY = 250
LONGEST_PARAM = 6000
LONGEST_TAG = 5000  # some stores allow 8000
ENDED, CHANGED = "vaeflow.ended", "vaeflow.changed"


class Point(NamedTuple):
    """A value of a metric.

    Attributes:
        key: its name.
        value: may be NaN or infinite.
        timestamp: milliseconds since 1970.
        step: optimizer steps.
    """

    key: str
    value: float
    timestamp: int
    step: int


def params_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return every value of a config by its dotted key, spelled as on the command line.

    >>> params_of({"steps": 10, "epochs": None, "xla": False, "callbacks": [{"name": "mlflow"}]})
    {'steps': '10', 'epochs': 'none', 'xla': 'false', 'callbacks.0.name': 'mlflow'}
    """
    return {key[:LONGEST_KEY]: cut(value, LONGEST_PARAM) for key, value in _leaves("", settings)}


def tags_of(run: RunView) -> dict[str, str]:
    """Return the tags for searching and grouping runs."""
    config = run.config
    tags = {
        "mlflow.source.name": "vaeflow",
        "vaeflow.version": __version__,
        "vaeflow.recipe": config.name,
        "vaeflow.seed": str(config.seed),
        "vaeflow.dataset": config.dataset.name,
        "vaeflow.binarization": config.binarization.name,
        "vaeflow.strategy": config.strategy.name,
        "vaeflow.run_directory": str(run.directory.resolve()),
    }
    return {key: cut(value, LONGEST_TAG) for key, value in tags.items()}


def points_of(record: Record) -> list[Point]:
    """Return the scalars of a record, and its epoch."""
    scalars, now = {**record.scalars, "epoch": record.epoch}, _now()
    return [Point(spelled(name), float(value), now, record.step) for name, value in scalars.items()]


def points_in(path: Path) -> list[Point]:
    """Return the points of a run's metrics.jsonl, if it exists: nulls as NaN, with the current time."""
    if not path.is_file():
        return []
    now = _now()
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Point(spelled(name), math.nan if value is None else float(value), now, int(row["step"]))
        for row in rows
        for name, value in row.items()
        if name != "step"
    ]


def merged(kept: Iterable[Point], newer: Iterable[Point]) -> list[Point]:
    """Return points in the order of their steps; for the same metric and step, the newer one."""
    return sorted({(p.key, p.step): p for p in (*kept, *newer)}.values(), key=lambda p: p.step)


def spelled(name: str) -> str:
    """Return a metric's name with only characters that MLflow allows; vaeflow's own names are unchanged.

    >>> spelled("test/elbo"), spelled("test/FID (μ)"), spelled("../x")
    ('test/elbo', 'test/FID _μ_', '__/x')
    """
    parts = [re.sub(r"[^\w.\- :]", "_", part) for part in name.split("/")]
    return "/".join("_" * len(part) if not part.strip(".") else part for part in parts if part)[:LONGEST_KEY]


def kl_by_split(record: Record) -> dict[str, dict[str, Any]]:
    """Return the mean KL divergence of each latent dimension by split, in nats, for JSON: NaN is null."""
    return {
        split: {"step": record.step, "nats": [float(x) if math.isfinite(x) else None for x in values]}
        for split, values in record.kl_per_dimension.items()
    }


def shown(text: str) -> str:
    """Return a text without the passwords of its URIs.

    >>> shown("no answer from https://me:secret@host/x")
    'no answer from https://...@host/x'
    """
    return re.sub(r"(?<=://)[^/\s@]*@", "...@", text)


def cut(text: str, length: int) -> str:
    """Return a text, truncated if it is too long.

    >>> cut("abcdefgh", 6), cut("abcdef", 6)
    ('abc...', 'abcdef')
    """
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _now() -> int:
    return time.time_ns() // 1_000_000


def _leaves(prefix: str, tree: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield from _leaves(f"{prefix}{key}.", {str(number): item for number, item in enumerate(value)})
        elif isinstance(value, Mapping):
            yield from _leaves(f"{prefix}{key}.", value)
        elif value is None:
            yield f"{prefix}{key}", "none"
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)
