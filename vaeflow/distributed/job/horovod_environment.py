"""Horovod under `srun` and `mpirun`: set the variables that `horovodrun` would set, from the launcher's variables."""

from __future__ import annotations

import importlib
import os
import socket
from typing import TYPE_CHECKING

from vaeflow.distributed.job.hosts import HOSTS, LOOPBACK, Hosts
from vaeflow.distributed.job.ports import name_of_job, port_of
from vaeflow.distributed.job.rendezvous import PLACE, Rendezvous
from vaeflow.distributed.job.waiting import seconds_to_wait
from vaeflow.errors import UsageError, VaeflowError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from vaeflow.distributed.job.job import Job


def prepare_horovod_environment(job: Job, environ: MutableMapping[str, str] = os.environ) -> None:
    """Set Horovod's environment variables for a job; return when all processes have connected.

    Rank 0 starts Horovod's rendezvous server. Its address is VAEFLOW_RENDEZVOUS. The default is loopback if all
    processes are on one host, otherwise the first host of the job, at a port computed from the job's number. For a
    single process, or if horovodrun started it, this does nothing.

    Args:
        job: this process's place.
        environ: the environment's variables; Horovod's are added. Those of Gloo that are set are not changed.

    Raises:
        UsageError: if the launcher's or the user's variables are invalid.
        VaeflowError: if the processes do not find each other within 300 s, or VAEFLOW_RENDEZVOUS_TIMEOUT seconds.
    """
    if "HOROVOD_RANK" in environ or job.processes == 1:
        return
    if job.launcher not in ("srun", "mpirun"):
        raise UsageError(f"Horovod needs horovodrun, srun or mpirun as launcher, not {job.launcher}")
    patience = seconds_to_wait(environ)
    hosts = Hosts.of(job, environ)
    place = rendezvous_of(job, hosts, environ)
    if job.rank == 0:
        place.serve()
    place.join(job.rank, job.processes, patience)
    environ.update(_of_horovod(job, hosts, place))
    environ.setdefault("HOROVOD_GLOO_IFACE", _interface(_own_address(place.address)))


def rendezvous_of(job: Job, hosts: Hosts, environ: Mapping[str, str]) -> Rendezvous:
    """Return the rendezvous of a job's processes; all processes compute the same.

    Args:
        job: this process's place.
        hosts: of the job.
        environ: the environment's variables.

    Raises:
        UsageError: if VAEFLOW_RENDEZVOUS is no HOST:PORT, or the hosts of a job of mpirun have no names.
        VaeflowError: if a host's name has no address.
    """
    name = name_of_job(job, environ)
    port = port_of(name)
    given = environ.get(PLACE, "")
    if given:
        host, _, digits = given.partition(":")
        if not host or (digits and not (digits.isdecimal() and len(digits) < 6 and 0 < int(digits) < 2**16)):
            raise UsageError(f"{PLACE}={given!r} is not HOST:PORT, such as node1:20000")
        return Rendezvous(_address(host), int(digits or port), name)
    return Rendezvous(_address_of_first(job, hosts), port, name)


def _address_of_first(job: Job, hosts: Hosts) -> str:
    if len(hosts.names) == 1:
        return LOOPBACK
    if not hosts.names[0]:
        raise UsageError(
            f"mpirun started {job.processes} processes on several hosts, but does not provide their names: "
            f"set rank 0's host by -x {PLACE}=HOST:PORT, or all hosts by -x {HOSTS}=host1:4,host2:4"
        )
    address = _address(hosts.names[0])
    if address.startswith("127.") and hosts.index == 0:
        # Many systems give a host's own name a loopback address; on other hosts the name has the real address.
        return _own_address(_address(hosts.names[1]))
    return address


def _address(host: str) -> str:
    try:
        return socket.gethostbyname(host)
    except (OSError, UnicodeError) as error:
        raise VaeflowError(
            f"host {host!r} of the job has no address ({error}); set rank 0's host by {PLACE}=HOST:PORT"
        ) from error


def _own_address(other: str) -> str:
    """Return this host's address for packets to another host; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((other, 9))
        except OSError as error:
            raise VaeflowError(f"this host has no route to {other} ({error.strerror or error})") from error
        return str(probe.getsockname()[0])


def _interface(address: str) -> str:
    """Return the name of the network interface that has an address."""
    psutil = importlib.import_module("psutil")  # Horovod needs it, vaeflow does not
    wanted = LOOPBACK if address.startswith("127.") else address
    for name, addresses in psutil.net_if_addrs().items():
        if any(known.family == socket.AF_INET and known.address == wanted for known in addresses):
            return str(name)
    raise VaeflowError(f"no network interface of this host has the address {address}; set HOROVOD_GLOO_IFACE")


def _of_horovod(job: Job, hosts: Hosts, place: Rendezvous) -> dict[str, str]:
    cross_rank, cross_size = hosts.cross(job.local_rank)
    numbers = {
        "HOROVOD_RANK": job.rank,
        "HOROVOD_SIZE": job.processes,
        "HOROVOD_LOCAL_RANK": job.local_rank,
        "HOROVOD_LOCAL_SIZE": job.local_processes,
        "HOROVOD_CROSS_RANK": cross_rank,
        "HOROVOD_CROSS_SIZE": cross_size,
        "HOROVOD_GLOO_RENDEZVOUS_PORT": place.port,
    }
    return {name: str(number) for name, number in numbers.items()} | {
        "HOROVOD_HOSTNAME": hosts.name,
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": place.address,
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
    }
