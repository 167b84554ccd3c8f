"""What an evaluation is to compute, and with which metrics and features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaeflow.config.schema import Selection
from vaeflow.contracts import Features
from vaeflow.errors import UsageError
from vaeflow.files.read import parse_toml
from vaeflow.plugins.registry import Registry
from vaeflow.training.feature_network import load_network, require_network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vaeflow.plugins.discovery import Plugin
    from vaeflow.plugins.registered import Bound


@dataclass(frozen=True)
class EvaluationRequest:
    """What an evaluation is to compute.

    Attributes:
        split: `train`, `validation` or `test`.
        samples: L, the samples of z per example; None uses the config's.
        best: use the best checkpoint instead of the newest; of a run on disk.
        importance_samples: K, the samples per example that log p(x) is estimated with, too; None does not estimate it.
        annealing_steps: T, if log p(x) is estimated by annealed importance sampling, with K chains of T steps; else 0.
        memory: bytes that these samples may take; None uses what is available.
        metrics: names of metrics beside those of the config, or tables of a name and options.
        features: a feature network for metrics that compare samples with examples: the path of a .keras file, an
            importable `module:function`, or a function from x [B, *X] to [B, F]; None leaves it to the metric.
    """

    split: str = "test"
    samples: int | None = None
    best: bool = False
    importance_samples: int | None = None
    annealing_steps: int = 0
    memory: float | None = None
    metrics: Sequence[str | Mapping[str, Any]] = ()
    features: str | Path | Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        """Check what belongs together.

        Raises:
            UsageError: if chains have no number.
        """
        if self.annealing_steps and self.importance_samples is None:
            raise UsageError("annealing_steps needs importance_samples, the number of chains per example")

    def agreed(self) -> dict[str, Any]:
        """Return what all ranks of a job must have in common, beside `best`."""
        metrics = ",".join(str(one) for one in self.metrics)
        shared = {"split": self.split, "samples": self.samples, "metrics": metrics}
        chains = {"importance_samples": self.importance_samples, "annealing_steps": self.annealing_steps}
        return {**shared, **chains, "features": _name(self.features)}

    def more_metrics(self, modules: Sequence[Plugin]) -> list[Bound]:
        """Look up the metrics.

        Args:
            modules: plugins that are not installed.

        Raises:
            UsageError: if there is no such metric, or an option is wrong.
        """
        registry = Registry.load(modules) if self.metrics else None
        return [registry.bind("metric", _selection(one), "--metric") for one in self.metrics] if registry else []

    def require_features(self) -> None:
        """Check, without importing anything, that the feature network can be a file or a function.

        Raises:
            UsageError: if not.
        """
        if self.features is not None and not callable(self.features):
            require_network(str(self.features))

    def feature_network(self) -> Features | None:
        """Load the feature network.

        Raises:
            UsageError: if it can't be loaded.
        """
        if self.features is None:
            return None
        if callable(self.features):
            return Features(_name(self.features), self.features)
        return load_network(str(self.features))


def _name(features: str | Path | Callable[..., Any] | None) -> str:
    return str(getattr(features, "__name__", type(features).__name__) if callable(features) else features)


def _selection(metric: str | Mapping[str, Any]) -> Selection:
    """Return a metric's name and options; a text may be a table in TOML, `{name = "calibration", draws = 199}`."""
    if isinstance(metric, str) and metric.lstrip().startswith("{"):
        metric = parse_toml(f"metric = {metric}", "--metric")["metric"]
    if isinstance(metric, Mapping) and not isinstance(metric.get("name"), str):
        raise UsageError(f'--metric {dict(metric)}: it has no name, such as {{name = "calibration", draws = 199}}')
    return Selection.model_validate(metric)
