"""Connects to Ray: the cluster of a job or of RAY_ADDRESS where there is one, else a cluster on this machine."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from pathlib import Path
from typing import Any, Protocol

import grpc
import ray
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.grpc_utils import init_grpc_channel
from ray._private.services import canonicalize_bootstrap_address
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc
from ray.exceptions import RayError

from distributed.errors import UserError
from distributed.infra.deadline import within
from distributed.infra.paths import in_ray_job

PACKAGES = Path(__file__).resolve().parents[2]

LONGEST_S = 9.0
"""Seconds in which a cluster has to answer, the look-up of its name included."""

NEEDS_TOKEN = "asks for a token: set RAY_AUTH_MODE=token, and have its token in ~/.ray/auth_token or RAY_AUTH_TOKEN"


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
        UserError: the address is none, or no cluster answers there, within seconds, whatever listens there; or a
            cluster of this machine does not start.
    """
    if ray.is_initialized():
        return False
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not in_ray_job():
        path = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
        settings["runtime_env"] = {"env_vars": {"PYTHONPATH": path}}
    if is_our_own(options):
        _ensure_token()
        try:
            context = ray.init(
                address="local", num_cpus=options.num_cpus, include_dashboard=options.include_dashboard, **settings
            )
        except Exception as error:  # Ray raises Exception itself, among others
            raise UserError(f"no Ray cluster starts on this machine: {_first_line(error)}") from error
        if options.include_dashboard:
            print(_dashboard(context.dashboard_url), flush=True)
        return True
    address = os.environ.get("RAY_ADDRESS") or options.address or ""
    setting = "RAY_ADDRESS" if os.environ.get("RAY_ADDRESS") else "ray.address"
    try:
        ray.init(address=check_address(address), **settings)
    except ValueError as error:
        raise UserError(f"{setting}: {address!r} is no address of a Ray cluster: {error}") from None
    except (OSError, RuntimeError, RayError) as error:
        raise UserError(f"{setting}: no Ray cluster answers at {address}: {_first_line(error)}") from error
    return True


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def check_address(address: str) -> str:
    """Makes sure that a Ray cluster answers at an address; Ray alone would wait there for minutes, or for ever.

    Args:
        address: ``HOST:PORT``, ``ray://HOST:PORT``, or ``auto`` for the cluster of this machine.

    Returns:
        The address, for ``auto`` that of the cluster.

    Raises:
        ValueError: it is no such address.
        ConnectionError: no cluster answers there, said within ten seconds.
    """
    if address == "auto":
        try:
            address = canonicalize_bootstrap_address("auto") or ""
        except ConnectionError:
            raise ConnectionError("none runs on this machine; `ray start --head` starts one") from None
        # As Ray does for `auto`, and for no other address: the cluster of this machine takes the token in HOME.
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    scheme, _, where = address.rpartition("://")
    if scheme in ("http", "https"):
        raise ValueError(
            "it is that of a dashboard, for RAY_API_SERVER_ADDRESS and `ray job submit`; a cluster's own is HOST:PORT, "
            "as `ray start` prints it, with port 6379 by default"
        )
    host, _, port = where.rpartition(":")
    if scheme not in ("", "ray") or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("that is HOST:PORT, auto for the one of this machine, or local for one of the run's own")
    within(LONGEST_S, lambda: _knock(host.strip("[]"), int(port), is_client=scheme == "ray"))
    return address


def _knock(host: str, port: int, is_client: bool) -> None:
    """Asks whether a cluster's control service, or for a ``ray://`` address gRPC, answers."""
    try:
        socket.create_connection((host, port), timeout=LONGEST_S / 2).close()
    except OSError as error:
        raise ConnectionError(error.strerror or str(error)) from None
    try:
        with init_grpc_channel(f"[{host}]:{port}" if ":" in host else f"{host}:{port}") as channel:
            if is_client:
                grpc.channel_ready_future(channel).result(timeout=LONGEST_S / 2)
            else:
                ask = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel).CheckAlive
                ask(gcs_service_pb2.CheckAliveRequest(), timeout=LONGEST_S / 2)  # type: ignore[attr-defined]
    except grpc.FutureTimeoutError:
        raise ConnectionError("what listens there is no Ray cluster") from None
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise ConnectionError(f"it {NEEDS_TOKEN}") from None
        raise ConnectionError("what listens there is no Ray cluster") from None


def _ensure_token() -> None:
    """Sets a token for a cluster of our own where HOME is not writable: Ray would fail to write one there."""
    try:
        (Path.home() / ".ray").mkdir(parents=True, exist_ok=True)
    except OSError:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _dashboard(url: str | None) -> str:
    """One line on how to open the dashboard of a cluster that this process has started."""
    if not url:
        return "Ray's dashboard did not start"
    # Ray sets this variable itself when it starts a cluster, unless the user has chosen another mode.
    asks = os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
    return f"Ray's dashboard: http://{url}" + (
        "; it asks for the token that `ray get-auth-token` prints" if asks else ""
    )


def is_our_own(options: RayOptions) -> bool:
    """Whether `connect_ray` starts a cluster on this machine, whose resources then never grow."""
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
