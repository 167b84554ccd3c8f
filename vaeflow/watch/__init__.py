"""The processes of a job watch each other, so that one that dies or hangs is noticed and named."""

from vaeflow.watch.watch import Watch

__all__ = ["Watch"]
