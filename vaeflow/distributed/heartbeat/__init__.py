"""The processes of a job watch each other, so that one that dies or hangs is noticed and named."""

from vaeflow.distributed.heartbeat.monitor import Watch

__all__ = ["Watch"]
