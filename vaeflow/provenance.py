"""What a run was made of and on: versions, devices, components; and how two such records differ."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.version import version_of_vaeflow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaeflow.config_resolve import Resolved
    from vaeflow.engine.strategies.base import Strategy

PACKAGES = ("tensorflow", "keras", "numpy", "horovod", "pluggy", "tensorboard", "matplotlib")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return what differs between two trees of tables: the key with dots, its value before and now; None for none.

    >>> differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
    [('a.b', 1, 3)]
    """
    there, here = _flat(before), _flat(now)
    keys = sorted(there.keys() | here.keys())
    return [(key, there.get(key), here.get(key)) for key in keys if there.get(key) != here.get(key)]


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a tree of tables as one, with dots in its keys.

    >>> _flat({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    flat = {}
    for key, value in table.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def environment(resolved: Resolved, strategy: Strategy) -> dict[str, Any]:
    """Return what a run ran on: versions, devices, replicas, threads, components' origins, the commit, the command."""
    import tensorflow as tf

    return {
        "vaeflow": version_of_vaeflow(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "strategy": strategy.name,
        "replicas": strategy.replicas,
        "processes": strategy.processes,
        "device_kind": "GPU" if tf.config.list_physical_devices("GPU") else "CPU",
        "devices": [_device(device) for device in tf.config.list_physical_devices()],
        "components": {key: str(one.registered.origin) for key, one in resolved.components().items()},
        "git_commit": _git_commit(),
        "command": sys.argv,
    }


def _device(device: Any) -> str:
    import tensorflow as tf

    details = tf.config.experimental.get_device_details(device)
    return " ".join(filter(None, [device.name, details.get("device_name")]))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Return the commit of the checkout that vaeflow is run from, with a plus if it was changed; None elsewhere."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return f"{commit}+" if _git(here, "status", "--porcelain", "--", ".") else commit
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
