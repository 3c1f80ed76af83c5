"""Connects to Ray: the cluster of a job or of RAY_ADDRESS where there is one, else a cluster on this machine."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Any, Protocol

import ray

from distributed.places import in_ray_job

PACKAGES = Path(__file__).resolve().parents[1]


class RayOptions(Protocol):
    """What connecting needs of the configuration's ray section."""

    @property
    def address(self) -> str | None:
        """Address of a cluster, or None."""

    @property
    def num_cpus(self) -> int | None:
        """CPUs of a local cluster, None for all of this machine's."""

    @property
    def include_dashboard(self) -> bool:
        """Whether a local cluster serves the dashboard."""


def connect_ray(options: RayOptions) -> bool:
    """Connects this process to Ray, once.

    RAY_ADDRESS, which a Ray job sets for its driver, wins over ``options.address``. With neither, a cluster of one
    machine is started, which ends with this process. In a job Ray ships the working directory to the workers;
    elsewhere they are told where these packages lie, whatever directory the driver was started in.

    Args:
        options: the ray section of the configuration.

    Returns:
        Whether this call connected; False when the process was connected already, as inside a Tune trial.

    Raises:
        ConnectionError: no cluster answers at the address.
    """
    if ray.is_initialized():
        return False
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not in_ray_job():
        path = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
        settings["runtime_env"] = {"env_vars": {"PYTHONPATH": path}}
    address = os.environ.get("RAY_ADDRESS") or options.address
    if not address or address == "local":
        ray.init(address="local", num_cpus=options.num_cpus, include_dashboard=options.include_dashboard, **settings)
        return True
    _knock(address)
    try:
        ray.init(address=address, **settings)
    except ConnectionError as error:
        raise ConnectionError(f"no Ray cluster answers at {address}: {str(error).splitlines()[0]}") from error
    return True


def _knock(address: str) -> None:
    """Asks whether anything listens at a ``host:port``; Ray alone would take minutes to notice that nothing does."""
    host, _, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10.0).close()
    except OSError as error:
        raise ConnectionError(f"no Ray cluster answers at {address}: {error.strerror or error}") from error


def is_our_own(options: RayOptions) -> bool:
    """Whether `connect_ray` starts a cluster on this machine, which will never have more than it has at the start."""
    return (os.environ.get("RAY_ADDRESS") or options.address or "local") == "local"


def room_for(cpus: float, gpus: float = 0.0) -> int:
    """How many actors of so many CPUs and GPUs, above 0 together, the nodes of the connected cluster can hold."""
    asked = {name: amount for name, amount in (("CPU", cpus), ("GPU", gpus)) if amount > 0}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(int(min(node.get(name, 0.0) / amount + 1e-9 for name, amount in asked.items())) for node in nodes)


def resource_summary() -> str:
    """One line on what the connected cluster has and what of it is free, for error messages."""
    total, free = ray.cluster_resources(), ray.available_resources()
    names = sorted(name for name in total if not name.startswith(("node:", "object_store_memory", "memory")))
    return ", ".join(f"{free.get(name, 0):g} of {total[name]:g} {name} free" for name in names) or "nothing"
