"""Report what is installed on this machine, and what each strategy still needs."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vaeflow.distributed.job.cores import cores
from vaeflow.distributed.job.job import Job
from vaeflow.runtime.tensorflow_setup import start_tensorflow

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaeflow.data.sets import Folders
    from vaeflow.plugins.registry import Registry

DISTRIBUTIONS = ("vaeflow", "tensorflow", "keras", "numpy", "horovod")
INSTRUCTION_SETS = {
    "avx2": "fast float32",
    "avx512f": "faster float32",
    "avx512_bf16": "fast bfloat16",
    "amx_bf16": "fastest bfloat16",
}
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes:
        title: the heading.
        lines: the facts, one per line.
    """

    title: str
    lines: tuple[str, ...]


def examine(registry: Registry, folders: Folders) -> list[Section]:
    """Return the report. Imports TensorFlow, which takes seconds.

    Args:
        registry: the available components.
        folders: of data sets.
    """
    return [
        Section("versions", _versions()),
        Section("devices", _devices()),
        Section("data sets", _data_sets(folders)),
        Section("plugins", _plugins(registry)),
        Section("strategies", _strategies(registry)),
        Section("containers", _containers()),
    ]


def _versions() -> tuple[str, ...]:
    found = [f"{name} {_version(name) or 'is not installed'}" for name in DISTRIBUTIONS]
    return (f"Python {platform.python_version()} on {platform.platform()}", *found)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> tuple[str, ...]:
    return (f"CPU: {cores()} cores; {_instruction_sets()}", *_gpus())


def _instruction_sets() -> str:
    if not CPUINFO.is_file():
        return "instruction sets unknown on this system"
    text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    flags = set(next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "").split())
    found = [f"{name} ({use})" for name, use in INSTRUCTION_SETS.items() if name in flags]
    without = "" if {"avx512_bf16", "amx_bf16"} & flags else "; no bfloat16 arithmetic: mixed_bfloat16 is slow here"
    return ", ".join(found or ["none that matter"]) + without


def _gpus() -> tuple[str, ...]:
    start_tensorflow()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        built = "is built with CUDA but finds none" if tf.test.is_built_with_cuda() else "is built without CUDA"
        return (f"GPU: none (TensorFlow {built}; pip install 'vaeflow[cuda]' for NVIDIA's)",)
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return tuple(
        f"GPU: {gpu.name}, {detail.get('device_name', 'unknown')}, "
        f"compute capability {'.'.join(map(str, detail.get('compute_capability', ('unknown',))))}"
        for gpu, detail in zip(gpus, details, strict=True)
    )


def _data_sets(folders: Folders) -> tuple[str, ...]:
    from vaeflow.data.sets.content import PUBLISHED

    lines = [f"searched first in {folders.user}" if folders.user else "no --data-dir is set"]
    for name in PUBLISHED:
        cached = folders.cache / f"{name}.npz"
        lines.append(f"{name}: {cached if cached.exists() else f'not cached; vaeflow data fetch {name}'}")
    return tuple(lines)


def _plugins(registry: Registry) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for registered in registry.all():
        counts[registered.origin.full] = counts.get(registered.origin.full, 0) + 1
    loaded = (f"{origin}: {count} components" for origin, count in counts.items())
    return (*loaded, *map(str, registry.broken))


def _strategies(registry: Registry) -> tuple[str, ...]:
    checks: dict[str, Callable[[], str]] = {
        "single": lambda: "",
        "mirrored": _missing_for_mirrored,
        "multiworker": _missing_for_multiworker,
        "horovod": _missing_for_horovod,
    }
    known = registry.names("strategy")
    lines = []
    for name in dict.fromkeys([*checks, *known]):
        unknown = "" if name in known else "no plugin registers it"
        missing = "; ".join(part for part in (unknown, checks.get(name, str)()) if part)
        lines.append(f"{name}: {f'missing: {missing}' if missing else 'ready'}")
    return tuple(lines)


def _containers() -> tuple[str, ...]:
    from vaeflow.distributed.launching.container import find_builder

    found = find_builder()
    return (f"builder: {found.name or f'missing: {found.problem}'}; it builds launch/kubernetes/Dockerfile",)


def _missing_for_mirrored() -> str:
    start_tensorflow()
    import tensorflow as tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    return "" if gpus > 1 or (not gpus and cores() > 1) else "a second GPU, or a second core of the CPU"


def _missing_for_multiworker() -> str:
    started = Job.current().launcher in ("TF_CONFIG", "srun", "mpirun")
    return "" if started else "a launcher: TF_CONFIG, which names the workers, or srun or mpirun"


def _missing_for_horovod() -> str:
    from vaeflow.distributed.horovod_build.probe import probe

    found = probe()
    return "" if found.works else f"Horovod: {found.problem}; vaeflow horovod install builds it for this TensorFlow"
