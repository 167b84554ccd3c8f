"""Heartbeats between the processes of a job, to detect and report one that dies or hangs."""

from vaeflow.distributed.heartbeat.monitor import Watch

__all__ = ["Watch"]
