"""Find a program that can build the image of `launch/kubernetes/Dockerfile`."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

BUILDERS = ("docker", "podman", "buildah")
"""Each builds by `NAME build --file FILE --tag TAG .`."""

SECONDS = 10.0


@dataclass(frozen=True)
class Found:
    """A search for a container builder.

    Attributes:
        name: of the first one that works; empty if none does.
        problem: why none does, in one line.
    """

    name: str = ""
    problem: str = ""


def find_builder() -> Found:
    """Return the first container builder that works on this machine: docker also needs its daemon."""
    broken = []
    for name in BUILDERS:
        if shutil.which(name) is not None:
            problem = _problem(name)
            if not problem:
                return Found(name)
            broken.append(f"{name} does not work ({problem})")
    absent = [name for name in BUILDERS if shutil.which(name) is None]
    return Found(problem="; ".join([*broken, *([f"{', '.join(absent)}: not found"] if absent else [])]))


def build_hint(*, gpus: bool) -> str:
    """Return how to build the image that a manifest names by default, and whether that can be done on this machine.

    Args:
        gpus: whether it is the image for GPUs.
    """
    found = find_builder()
    file, tag = ("Dockerfile.cuda", "vaeflow:cuda") if gpus else ("Dockerfile", "vaeflow")
    command = f"{found.name or BUILDERS[0]} build --file launch/kubernetes/{file} --tag {tag} ."
    hint = f"the image {tag} is built in a clone by: {command}"
    return hint if found.name else f"{hint} (no container builder works on this machine: {found.problem})"


def _problem(name: str) -> str:
    """Return why a builder does not work; empty if it does."""
    try:
        done = subprocess.run(  # noqa: S603
            [name, "info"], capture_output=True, text=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return " ".join(str(error).split())
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return "" if done.returncode == 0 else " ".join((said or [f"exit code {done.returncode}"])[-1].split())
