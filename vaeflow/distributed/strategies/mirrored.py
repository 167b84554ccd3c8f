"""One process, several devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from vaeflow.distributed.strategies.base import Strategy

CPU_REPLICAS = 2


@dataclass(frozen=True)
class MirroredTopology:
    """GPUs of this machine, or logical CPU devices if it has none, see `Topology`.

    Attributes:
        wanted: number of replicas; None uses all GPUs, or two logical CPU devices.
    """

    wanted: int | None
    name: str = "mirrored"
    local_processes: int = 1

    @property
    def replicas(self) -> int | None:
        """Number of replicas; None if GPUs must be counted first."""
        return self.wanted

    def start(self) -> Strategy:
        """Return the strategy over the first devices."""
        import tensorflow as tf

        from vaeflow.distributed.strategies.distribute import DistributeStrategy

        # A GPU may have been split into logical devices before. Not verified on a GPU.
        gpus = len(tf.config.list_physical_devices("GPU")) and len(tf.config.list_logical_devices("GPU"))
        wanted = self.wanted or gpus or CPU_REPLICAS
        if gpus and wanted > gpus:
            raise UsageError(f"strategy.replicas = {wanted}, but this machine has {gpus} GPUs")
        if not gpus:
            make_logical_cpus(wanted)
        devices = [f"{'GPU' if gpus else 'CPU'}:{i}" for i in range(wanted)]
        # Logical CPUs have no NCCL: copies are added on one device and sent back.
        operations = None if gpus else tf.distribute.ReductionToOneDevice()
        return DistributeStrategy(self.name, tf.distribute.MirroredStrategy(devices, cross_device_ops=operations))


def make_logical_cpus(count: int) -> None:
    """Split the CPU into logical devices.

    Raises:
        UsageError: if TensorFlow has run in this process already, with fewer.
    """
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError:
        there_are = len(tf.config.list_logical_devices("CPU"))
        if there_are < count:
            raise UsageError(
                f"{count} logical CPU devices can't be made any more: TensorFlow has run in this process with "
                f"{there_are}; start a new process"
            ) from None
