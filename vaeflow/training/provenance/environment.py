"""The environment of a run: versions, processor, devices, threads, origins of components, commit and command."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.distributed.job.cores import cores
from vaeflow.version import version_of_vaeflow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaeflow.config.resolve import Resolved
    from vaeflow.distributed.strategies.base import Strategy

PACKAGES = ("tensorflow", "keras", "numpy", "horovod", "pluggy", "tensorboard", "matplotlib")
COMPUTE = ("tensorflow", "keras", "numpy", "horovod")
"""The packages whose versions affect the bits."""

INSTRUCTIONS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16")
"""Vector instructions by which TensorFlow selects kernels; other kernels add in another order."""

VARIABLES = ("TF_ENABLE_ONEDNN_OPTS", "TF_SET_ONEDNN_FPMATH_MODE", "TF_XLA_FLAGS", "XLA_FLAGS", "NVIDIA_TF32_OVERRIDE")
PREFIXES = ("ONEDNN_", "DNNL_", "TF_CUDNN_", "TF_DISABLE_", "TF_ENABLE_")
"""Environment variables, and prefixes of their names, that select kernels."""

SILENT = ("ONEDNN_VERBOSE", "DNNL_VERBOSE", "TF_ENABLE_DEPRECATION_WARNINGS")


def before_tensorflow(threads: int) -> dict[str, Any]:
    """Return the part of the environment that affects bits and is known before TensorFlow is imported.

    Args:
        threads: intra-op threads per replica.
    """
    versions = {name: version for name in COMPUTE if (version := _version(name))}
    return {
        "vaeflow": version_of_vaeflow(),
        **versions,
        "intra_op_threads": threads,
        "processor": processor(),
        **{f"${name}": value for name, value in sorted(variables().items())},
    }


def devices() -> str:
    """Return the kind of TensorFlow's devices: `CPU`, or the names of the GPUs. Not tested on a GPU."""
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    names = {str(tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")) for gpu in gpus}
    return ", ".join(sorted(names)) or "CPU"


def processor() -> str:
    """Return the processor's architecture and vector instructions, such as `x86_64 avx2 fma`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux
        lines = []
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return " ".join([platform.machine(), *(name for name in INSTRUCTIONS if name in flags)])


def variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment variables that are set and select kernels."""
    return {
        name: value
        for name, value in environ.items()
        if (name in VARIABLES or name.startswith(PREFIXES)) and name not in SILENT
    }


def environment(resolved: Resolved, strategy: Strategy) -> dict[str, Any]:
    """Return the environment of a run: versions, devices, replicas, threads, origins, commit and command."""
    import tensorflow as tf

    return {
        "vaeflow": version_of_vaeflow(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "platform": platform.platform(),
        "cores": cores(),
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
    """Return the git commit of vaeflow's checkout, with a plus if files were changed; None without a checkout."""
    here = Path(__file__).parents[2]
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return f"{commit}+" if _git(here, "status", "--porcelain", "--", ".") else commit
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
