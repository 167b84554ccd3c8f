"""The `vaeflow` command: arguments in, exit codes out."""

from __future__ import annotations

from vaeflow.cli.entry import main

__all__ = ["main"]
