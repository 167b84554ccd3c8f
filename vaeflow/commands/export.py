"""Hand a trained model on: a folder with the model in one format, and a model card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.commands.out import require_new
from vaeflow.files.read import LARGE, kind_of, read_json
from vaeflow.files.write import written_aside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vaeflow.training.loaded import Run

CARD = "README.md"
FORMATS = {"keras": "model.keras", "saved-model": "saved_model", "onnx": "onnx", "npz": "weights.npz"}
"""The name in the folder, by format."""

HOW = {
    "keras": """```python
import keras
from vaeflow import GenerativeModel  # registers the classes

model = keras.models.load_model("model.keras")
z = model.encode(x)
```

vaeflow and the packages with the model's components must be installed. Neither the run nor its data are needed.""",
    "saved-model": """```python
import tensorflow as tf

model = tf.saved_model.load("saved_model")
z = model.encode(x)
```

TensorFlow is enough. The functions are `serve`, `encode`, `decode`, `sample`, `elbo` and `log_prob`.
Noise is an input: standard normal, [B, N] for `sample`, [B, L, N] for `elbo` and `log_prob`.""",
    "onnx": """```python
import numpy as np
import onnxruntime

encode = onnxruntime.InferenceSession("onnx/encode.onnx")
(z,) = encode.run(None, {"x": np.asarray(x, np.float32)})
```

ONNX Runtime is enough. The files are functions: `encode`, `decode`, `sample`, `elbo` and `log_prob`, as far as they are
there. Noise is an input: standard normal, [B, N] for `sample`, [B, L, N] for `elbo` and `log_prob`.""",
    "npz": """```python
import numpy as np

weights = np.load("weights.npz")  # arrays by the paths of Keras's variables
```

The file has the weights alone. vaeflow builds the model that they belong to from the config below.""",
}


def export_run(
    run_dir: Path,
    to: str,
    out: Path,
    *,
    licence: str = "",
    best: bool = False,
    modules: Sequence[str] = (),
    data_dir: Path | None = None,
    accept_changes: bool = False,
) -> Path:
    """Write a trained model and its model card into a new folder.

    The weights are those of evaluations: the EMA if the run has one.

    Args:
        run_dir: the run's directory.
        to: one of `FORMATS`.
        out: the folder.
        licence: of the model, for the card.
        best: use the best checkpoint instead of the newest.
        modules: plugins that are not installed.
        data_dir: the user's folder of data sets.
        accept_changes: export even if config, plugin code or data have changed since the checkpoint.

    Returns:
        The folder.

    Raises:
        UsageError: if the folder already exists, or is in no directory; or if the converter to ONNX is not installed.
    """
    require_new(out)
    if to == "onnx":
        from vaeflow.training.keras_models.onnx import require_onnx

        require_onnx()
    from vaeflow.api import load

    run = load(run_dir, best=best, plugins=modules, data_dir=data_dir, accept_changes=accept_changes)
    with written_aside(out) as aside:
        aside.mkdir()
        _write(run, to, aside / FORMATS[to])
        (aside / CARD).write_text(card(run, to, licence=licence, best=best), encoding="utf-8")
    return out


def _write(run: Run, to: str, path: Path) -> None:
    if to == "keras":
        run.model.save(path)
    elif to == "saved-model":
        run.model.export(path, verbose=False)
    elif to == "onnx":
        from vaeflow.training.keras_models.onnx import write_onnx

        path.mkdir()
        write_onnx(path, run.model.endpoints())
    else:
        arrays = {variable.path: np.asarray(variable.value) for variable in run.model.variables}
        np.savez(path, **arrays)  # type: ignore[arg-type]  # its other options have names of their own


def card(run: Run, to: str, *, licence: str = "", best: bool = False) -> str:
    """Return a model card: data, figures, hash, licence, how to load.

    Args:
        run: with the exported weights.
        to: the format.
        licence: of the model.
        best: whether it is the best checkpoint instead of the newest.
    """
    figures = [f"| {name} | {value:.4f} |" for name, value in sorted(_figures(run).items())]
    return "\n".join(
        [
            f"# {run.config.name}\n",
            "| | |\n| --- | --- |",
            *(f"| {name} | {value} |" for name, value in _facts(run, licence, best=best).items()),
            f"\n## Load\n\n{HOW[to]}\n",
            "## Figures\n\nIn nats per example, unless the name has another unit.\n",
            "| metric | value |\n| --- | --- |",
            *figures,
            f"\n## Config\n\n```toml\n{run.experiment.resolved.to_toml().strip()}\n```\n",
        ]
    )


def _facts(run: Run, licence: str, *, best: bool) -> dict[str, str]:
    config = run.config
    splits = ", ".join(f"{name} {len(split):,}" for name, split in run.dataset.splits().items())
    return {
        "model": f"{config.model.name}, {sum(int(np.prod(v.shape)) for v in run.model.variables):,} numbers",
        "latents": ", ".join(f"{group.name} {list(group.shape)}" for group in run.trained.latents),
        "x": f"{list(run.trained.x_shape)} float32",
        "data": f"{config.dataset.name}: {splits} examples",
        "binarization": config.binarization.name,
        "seed": str(config.seed),
        "steps": f"{run.step:,} of {run.experiment.timeline.total_steps:,}{', the best checkpoint' if best else ''}",
        "weights of the run": f"sha256 {run.experiment.state.weights_sha256()}",
        "licence": licence or "not stated",
    }


def _figures(run: Run) -> dict[str, float]:
    """Return the metrics of held-out splits, those of `vaeflow evaluate` too."""
    found: dict[str, Any] = {}
    for split in ("validation", "test"):
        path = run.directory / f"evaluation-{split}.json"
        if kind_of(path) is not None:
            found |= read_json(path, limit=LARGE).get("metrics", {})
    numbers = {name: float(value) for name, value in (found | run.metrics).items() if isinstance(value, (int, float))}
    return {name: value for name, value in numbers.items() if not name.startswith("train/")}
