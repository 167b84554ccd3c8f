"""Call a function of a component in a separate process: imported again, with another seed of Python's hashes.

Ranks of a job are such processes. Random numbers drawn at import, or the order of a set, differ between them.
"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.plugin_kit.checks.forks import HASH_SEEDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vaeflow.plugin_kit.checks.subject import Subject

    Arrays = Mapping[str, np.ndarray]

PATIENCE = 600  # seconds; a process that hangs is a finding


def elsewhere(
    subject: Subject, function: Callable[[Subject, Arrays], Arrays], given: Arrays, hash_seed: str = HASH_SEEDS[0]
) -> Arrays:
    """Call a function of a module in another process.

    Args:
        subject: the component, which is looked up again there.
        function: called with the component and `given`.
        given: arrays by name.
        hash_seed: PYTHONHASHSEED of the process.

    Returns:
        The function's result.

    Raises:
        BrokenRuleError: if it fails there, or has not ended after ten minutes.
    """
    with tempfile.TemporaryDirectory() as name:
        np.savez(Path(name) / "given.npz", **given)  # type: ignore[arg-type]  # of numpy's own parameters
        request = {
            "folder": name,
            "function": [function.__module__, function.__qualname__],
            "modules": subject.registry.modules,
            "subject": [subject.kind, subject.name, dict(subject.options)],
            "tried": [subject.x_shape, subject.latent_size, dict(subject.partners)],
        }
        subject.forks.call(__name__, request, PATIENCE, hash_seed)
        with np.load(Path(name) / "found.npz") as found:
            return dict(found)


def answer(request: Mapping[str, Any]) -> None:
    """Call the function of a request, in the separate process."""
    from vaeflow.distributed.strategies.mirrored import make_logical_cpus
    from vaeflow.plugin_kit.checks.subject import Subject
    from vaeflow.plugins.registry import Registry
    from vaeflow.runtime.tensorflow_setup import Runtime, start_tensorflow

    start_tensorflow(Runtime(threads=1))
    make_logical_cpus(2)
    kind, name, options = request["subject"]
    x_shape, latent_size, partners = request["tried"]
    module, function = request["function"]
    subject = Subject(Registry.load(request["modules"]), kind, name, options, tuple(x_shape), latent_size, partners)
    with np.load(Path(request["folder"]) / "given.npz") as given:
        found = getattr(importlib.import_module(module), function)(subject, dict(given))
    np.savez(Path(request["folder"]) / "found.npz", **found)
