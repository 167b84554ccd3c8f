"""The requirements of a build: a compiler and make, and for GPUs CUDA and NCCL."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from vaeflow.errors import VaeflowError

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPILERS = {"CC": ("cc", "gcc", "clang"), "CXX": ("c++", "g++", "clang++")}
HINT = "Debian, Ubuntu: apt-get install g++ make; Fedora, RHEL: dnf install gcc-c++ make; clusters: module load gcc"
CUDA_HOMES = ("HOROVOD_CUDA_HOME", "CUDA_HOME", "CUDA_PATH")
SYSTEM = (Path("/usr/local"), Path("/usr"))


def require_toolchain(environ: Mapping[str, str] = os.environ) -> None:
    """Check that a compiler and make are installed.

    Args:
        environ: the environment's variables; CC and CXX set other compilers.

    Raises:
        VaeflowError: if a compiler or make is missing; the message explains how to install it.
    """
    names = {"CC": "a C compiler (gcc)", "CXX": "a C++ compiler (g++)", "make": "make"}
    there = {variable: _compiler(variable, environ) for variable in COMPILERS}
    there["make"] = _program("make", environ)
    missing = [names[name] for name, found in there.items() if found is None]
    if missing:
        raise VaeflowError(f"Horovod's build needs {', '.join(missing)}: not found on the PATH; {HINT}")


def find_cuda(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return CUDA's folder if it has nvcc and NCCL's header is found, else None.

    Args:
        environ: the environment's variables; HOROVOD_CUDA_HOME and HOROVOD_NCCL_HOME set other folders.
    """
    nvcc = _program("nvcc", environ)
    # The nvcc on the PATH may be a wrapper in a folder of programs: CUDA's own folder has its headers too.
    homes = [Path(environ[name]) for name in CUDA_HOMES if environ.get(name)]
    homes += [Path(nvcc).resolve().parent.parent] if nvcc else []
    homes.append(Path("/usr/local/cuda"))
    wanted = (Path("bin", "nvcc"), Path("include", "cuda.h"))
    home = next((home for home in homes if all((home / file).is_file() for file in wanted)), None)
    return home if home is not None and _has_nccl(home, environ) else None


def _has_nccl(cuda: Path, environ: Mapping[str, str]) -> bool:
    own = [Path(environ["HOROVOD_NCCL_INCLUDE"])] if environ.get("HOROVOD_NCCL_INCLUDE") else []
    homes = [Path(environ["HOROVOD_NCCL_HOME"])] if environ.get("HOROVOD_NCCL_HOME") else []
    folders = [*own, *(home / "include" for home in (*homes, cuda, *SYSTEM))]
    return any((folder / "nccl.h").is_file() for folder in folders)


def _compiler(variable: str, environ: Mapping[str, str]) -> str | None:
    """Return the compiler that CMake will use: the user's, or one of the usual ones."""
    own = environ.get(variable, "").split()
    candidates = own[:1] or COMPILERS[variable]
    return next((found for name in candidates if (found := _program(name, environ))), None)


def _program(name: str, environ: Mapping[str, str]) -> str | None:
    return shutil.which(name, path=environ.get("PATH", os.defpath))
