"""Environments of the peers that are not installed beside vaeflow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "build" / "peers"
TORCH = ("torch==2.13.0", "numpy")  # of the CPU, where the package registry has it


def torch_python() -> str:
    """Return the interpreter of an environment with PyTorch, which is made if it is not there; it takes minutes."""
    python = FOLDER / "torch" / "bin" / "python"
    made = FOLDER / "torch" / "installed"
    if not made.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER / "torch"], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *TORCH], check=True)
        made.touch()
    return str(python)
