"""Build a wheel from patched sources."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from vaeflow.distributed.horovod_build.pip import run_pip
from vaeflow.distributed.horovod_build.toolchain import find_cuda
from vaeflow.distributed.job.cores import cores
from vaeflow.errors import VaeflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

TOOLS = ("setuptools<70", "wheel", "packaging", "cmake>=3.25,<5")
HOOK = "import sys; from setuptools import build_meta; build_meta.__legacy__.build_wheel(sys.argv[1])"
ERROR = re.compile(r"\berror:|Error\b")  # of compilers; of CMake, make and Python
LONGEST = 300  # characters of an error
PERCENT = re.compile(r"^\[ *(\d+)%\]")
HINTS = (
    *("HOROVOD_CUDA_HOME", "HOROVOD_NCCL_HOME", "HOROVOD_NCCL_INCLUDE", "HOROVOD_NCCL_LIB", "HOROVOD_NCCL_LINK"),
    *("HOROVOD_BUILD_ARCH_FLAGS", "HOROVOD_BUILD_CUDA_CC_LIST"),
)
FRAMEWORKS = {
    "HOROVOD_WITH_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_PYTORCH": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
    "HOROVOD_WITHOUT_MPI": "1",
    "HOROVOD_WITH_GLOO": "1",
}


def install_tools(folder: Path) -> None:
    """Install the build's tools into a separate folder; the user's setuptools is not changed.

    Raises:
        PipError: if pip fails.
    """
    run_pip("install the tools of Horovod's build", "install", "--target", str(folder), *TOOLS)


def build_wheel(
    sources: Path, tools: Path, folder: Path, *, log: Path, device: str, progress: Callable[[int], None]
) -> Path:
    """Build the wheel for this Python and its TensorFlow.

    Args:
        sources: the patched sources.
        tools: the folder of `install_tools`.
        folder: an empty folder for the wheel.
        log: the file for the compiler's output.
        device: 'cpu' or 'cuda'.
        progress: called with the progress in per cent.

    Returns:
        The wheel.

    Raises:
        VaeflowError: if it does not compile; the log is kept.
    """
    command = [sys.executable, "-c", HOOK, str(folder)]
    environ = build_environment(os.environ, tools, device)
    with log.open("w", encoding="utf-8", errors="replace") as file:
        for line in _lines(command, sources, environ):
            file.write(line)
            found = PERCENT.match(line)
            if found:
                progress(int(found[1]))
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise VaeflowError(f"Horovod did not build: {_reason(log)}; the full output is in {log}")
    return wheels[0]


def build_environment(environ: Mapping[str, str], tools: Path, device: str) -> dict[str, str]:
    """Return the variables of the build.

    Args:
        environ: the user's; of Horovod's only paths and flags are kept, so that a wheel's name determines its content.
        tools: the folder of the build's tools.
        device: 'cpu' or 'cuda'.

    >>> from pathlib import Path
    >>> made = build_environment({"HOROVOD_WITH_MPI": "1", "PATH": "/bin"}, Path("t"), "cpu")
    >>> made["PATH"], made["PYTHONPATH"], "HOROVOD_WITH_MPI" in made, "HOROVOD_GPU_OPERATIONS" in made
    ('/bin', 't', False, False)
    """
    kept = {name: value for name, value in environ.items() if not name.startswith("HOROVOD_") or name in HINTS}
    return {
        "MAKEFLAGS": f"-j{cores()}",  # Horovod's own default is -j8, which needs 8 GB
        **kept,
        **FRAMEWORKS,
        **(_gpu(environ) if device == "cuda" else {"HOROVOD_WITHOUT_NVTX": "1"}),
        "HOROVOD_CMAKE": str(tools / "bin" / "cmake"),
        "CMAKE_POLICY_VERSION_MINIMUM": "3.5",  # the included Gloo requires an older policy than CMake 4 supports
        "CMAKE_GENERATOR": "Unix Makefiles",
        "PYTHONPATH": str(tools),
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


def _gpu(environ: Mapping[str, str]) -> dict[str, str]:
    home = find_cuda(environ)
    if home is None:
        raise VaeflowError(
            "no CUDA compiler (nvcc) with NCCL's header (nccl.h) was found; "
            "set their folders by HOROVOD_CUDA_HOME and HOROVOD_NCCL_HOME"
        )
    return {"HOROVOD_GPU_OPERATIONS": "NCCL", "HOROVOD_CUDA_HOME": str(home)}


def _lines(command: list[str], folder: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Run a command and yield its output; if this process is stopped, the command's compilers are stopped, too."""
    with subprocess.Popen(  # noqa: S603 The arguments are vaeflow's.
        command,
        cwd=folder,
        env=environ,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield from process.stdout
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise


def _reason(log: Path) -> str:
    """Return the first error of a log."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    first = next((number for number, line in enumerate(lines) if ERROR.search(line)), None)
    if first is None:
        return lines[-1][:LONGEST] if lines else "there was no output"
    # CMake prints the place in one line, and the error in the next.
    return " ".join(lines[first : first + 2] if lines[first].endswith(":") else lines[first : first + 1])[:LONGEST]
