"""`vaeflow horovod install`, step by step."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vaeflow.distributed.horovod_build import patch
from vaeflow.distributed.horovod_build.build import build_wheel, install_tools
from vaeflow.distributed.horovod_build.pip import run_pip
from vaeflow.distributed.horovod_build.probe import Found, probe
from vaeflow.distributed.horovod_build.sdist import HOROVOD, download, unpack
from vaeflow.distributed.horovod_build.toolchain import find_cuda, require_toolchain
from vaeflow.distributed.horovod_build.wheels import Target, Wheels
from vaeflow.errors import VaeflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUNTIME_NEEDS = ("cloudpickle", "psutil", "pyyaml", "packaging")
Device = Literal["auto", "cpu", "cuda"]


def install(
    cache: Path,
    *,
    device: Device = "auto",
    rebuild: bool = False,
    say: Callable[[str], None],
    progress: Callable[[int], None],
) -> Found:
    """Install Horovod into this Python: from the cache, or built for the installed TensorFlow.

    Args:
        cache: vaeflow's folder for caches.
        device: device of Horovod's operations; auto uses cuda if its compiler and NCCL are found.
        rebuild: build and install again, even if it is installed or cached.
        say: called with a line per step.
        progress: called with the progress of the build in per cent.

    Returns:
        The installed Horovod, which can be imported.

    Raises:
        ChecksumError: if the registry's source package is not the published one.
        VaeflowError: if a compiler is missing, pip or the build fails, or the installed Horovod cannot be imported.
    """
    target = Target.here(_resolve(device))
    wheels = Wheels(cache / "horovod")
    before = Found() if rebuild else probe()
    if before.works and (before.nccl or target.device == "cpu"):
        say(f"horovod: {before.version} is installed already and can be imported{_cached(wheels.find(target))}")
        return before
    with _alone(wheels.root, say):
        wheel = None if rebuild else wheels.find(target)
        if wheel:
            say(f"horovod: from the cache, {wheel}")
        else:
            wheel = _build(target, wheels, say, progress)
    return _install(wheel, say)


def state_of_cache(cache: Path) -> str:
    """Describe the cached wheel for this Python and its TensorFlow.

    Args:
        cache: vaeflow's folder for caches.
    """
    target = Target.here(_resolve("auto"))
    return str(Wheels(cache / "horovod").find(target) or f"no wheel for {target}")


def _resolve(device: Device) -> str:
    return device if device != "auto" else "cuda" if find_cuda() else "cpu"


def _cached(wheel: Path | None) -> str:
    return f"; its wheel is in the cache, {wheel}" if wheel else ""


def _build(target: Target, wheels: Wheels, say: Callable[[str], None], progress: Callable[[int], None]) -> Path:
    require_toolchain()
    log = wheels.log(target)
    say(f"horovod: building {HOROVOD.version} for {target}; this takes minutes (log: {log})")
    with tempfile.TemporaryDirectory(prefix="vaeflow-horovod-") as scratch:
        tools, fetched, out = (Path(scratch) / name for name in ("tools", "fetched", "out"))
        for folder in (tools, fetched, out):
            folder.mkdir()
        install_tools(tools)
        sources = unpack(HOROVOD, download(HOROVOD, fetched, tools), Path(scratch))
        patch.apply(sources)
        wheel = wheels.keep(target, build_wheel(sources, tools, out, log=log, device=target.device, progress=progress))
    say(f"horovod: built, saved as {wheel}")
    return wheel


def _install(wheel: Path, say: Callable[[str], None]) -> Found:
    run_pip("install Horovod's requirements", "install", *RUNTIME_NEEDS)
    # Forced, because pip would skip a wheel of the same version that was built for another TensorFlow.
    run_pip(f"install {wheel.name}", "install", "--no-deps", "--force-reinstall", str(wheel))
    found = probe()
    if not found.works:
        raise VaeflowError(
            f"Horovod was installed, but {found.problem}; vaeflow horovod install --rebuild builds it again"
        )
    say(f"horovod: {found.version} is installed and can be imported; built with {found.operations}")
    return found


@contextmanager
def _alone(root: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Let only one process build at a time; the others wait and then use the cache."""
    from filelock import FileLock, Timeout

    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("horovod: waiting for another process that builds it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
