"""The servers behind the pytest fixtures: one that runs already, the real server from the wheel, or one in a container.

A program of this distribution starts the one from the wheel (`triton-contract serve`): the emulator and the contract
share no code. Containers are started by testcontainers.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack
from urllib.parse import urlsplit

from triton_emulator.emulator import Emulator, Session
from triton_emulator.harness.errors import NeedsModels, NeedsServer
from triton_emulator.options import SessionOptions, check_session_options
from triton_emulator.wire.http_client import Origin

WHEEL, CONTAINER = "wheel", "container"
#: Triton's own ports
_HTTP, _GRPC, _METRICS = 8000, 8001, 8002
#: seconds for a container's server to load its models
_READY_S = 300.0
_AGAIN_S = 0.2
#: Python models exchange tensors in shared memory; an engine's default of 64 MB is little for several models
_SHARED_MEMORY = "1g"
#: what Docker calls a container that has not ended
_RUNNING = "running"


class TargetUnavailable(Exception):
    """The server cannot be started here. The text is one line that says why."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a real server answers; "" for what is not known."""

    http: str
    grpc: str = ""
    metrics: str = ""


#: options of a session that a server that runs can be given, as they are those of what stands in front of it
_IN_FRONT = frozenset(
    {"faults", "journal_bytes", "journal_requests", "record", "seed", "shadow", "upstream_timeout"}
)
#: options that name what else answers a session
_ELSEWHERE = ("upstream", "upstream_grpc", "replay")


def _require(known: bool, port: str, option: str) -> None:
    if not known:
        raise NeedsServer(f"the {port} of the server is not known; name it by --triton-{option}")


class TargetSession(Session):
    """A session in front of a target. What the target does not have raises NeedsServer."""

    @property
    def grpc_url(self) -> str:
        """As that of a Session. Raises NeedsServer where the gRPC port of the target is not known."""
        _require(self._has("upstream_grpc"), "gRPC port", "grpc")
        return super().grpc_url

    @property
    def metrics_url(self) -> str:
        """As that of a Session. Raises NeedsServer where the metrics of the target are not known."""
        _require(self._has("upstream_metrics"), "URL of the metrics", "metrics")
        return super().metrics_url

    def _has(self, option: str) -> bool:
        settings = self._state.settings
        return bool(getattr(settings, option)) or not settings.has_upstream


class InFrontOfTarget(Emulator):
    """The fixture `triton_emulator` in front of a real server.

    What the server cannot do raises NeedsModels or NeedsServer.
    """

    _session_type = TargetSession

    def __init__(self, target: Addresses) -> None:
        super().__init__(upstream=target.http, upstream_grpc=target.grpc, upstream_metrics=target.metrics)

    @property
    def grpc_url(self) -> str:
        """As that of an Emulator. Raises NeedsServer where the gRPC port of the target is not known."""
        _require(bool(self.settings.upstream_grpc), "gRPC port", "grpc")
        return super().grpc_url

    @property
    def metrics_url(self) -> str:
        """As that of an Emulator. Raises NeedsServer where the metrics of the target are not known."""
        _require(bool(self.settings.upstream_metrics), "URL of the metrics", "metrics")
        return super().metrics_url

    def session(self, *model_repository: str | Path, **options: Unpack[SessionOptions]) -> Session:
        """As that of an Emulator. Raises NeedsModels for models and options that a server that runs cannot be given.

        A session that replays a cassette does not stand in front of the target, but where that answers what the
        cassette does not have.
        """
        check_session_options(options)
        if "replay" in options and options.get("on_miss") != "upstream":
            options = SessionOptions(upstream="", upstream_grpc="", upstream_metrics="", **options)
        if not any(name in options for name in _ELSEWHERE):
            if model_repository:
                raise NeedsModels("the server has the models that it was started with")
            if unfit := [
                name
                for name, value in options.items()
                if name not in _IN_FRONT and (name, value) != ("clock", "real")
            ]:
                raise NeedsModels(f"a server that runs cannot be given {', '.join(unfit)}")
        return super().session(*model_repository, **options)


def at_url(url: str, grpc: str = "", metrics: str = "") -> Addresses:
    """A server that runs already. On port 8000 its others are taken to be Triton's own, 8001 and 8002."""
    parts = urlsplit(url)
    if parts.port == _HTTP and parts.scheme == "http":
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return Addresses(url, grpc or f"{host}:{_GRPC}", metrics or f"http://{host}:{_METRICS}/metrics")
    return Addresses(url, grpc, metrics)


@contextmanager
def from_wheel(repository: Path) -> Iterator[Addresses]:
    """The real server of the wheel over a repository. Raises TargetUnavailable."""
    words = [sys.executable, "-m", "triton_contract", "serve", "--", f"--model-repository={repository}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None  # noqa: S101
        ready = process.stdout.readline()
        try:
            if " is ready: " not in ready:
                _, said = process.communicate()
                lines = said.strip().splitlines() or ["it said nothing"]
                raise TargetUnavailable(f"the real server of the wheel does not start: {lines[-1]}")
            # triton is ready: http 127.0.0.1:1, grpc 127.0.0.1:2, metrics http://127.0.0.1:3/metrics
            found = dict(part.split(" ", 1) for part in ready.strip().partition(": ")[2].split(", "))
            yield Addresses(f"http://{found['http']}", found["grpc"], found["metrics"])
        finally:
            process.terminate()
            process.communicate()


@contextmanager
def in_container(repository: Path, image: str) -> Iterator[Addresses]:
    """A server in a container over a repository. Raises TargetUnavailable."""
    container = _container(repository, image)
    try:
        try:
            container.start()
        except Exception as fault:  # noqa: BLE001  (docker and requests raise errors of their own)
            raise TargetUnavailable(
                f"the container of {image} does not start: {_first_line(fault)}"
            ) from None
        host = container.get_container_host_ip()
        http, grpc, metrics = (container.get_exposed_port(port) for port in (_HTTP, _GRPC, _METRICS))
        addresses = Addresses(f"http://{host}:{http}", f"{host}:{grpc}", f"http://{host}:{metrics}/metrics")
        _wait_ready(addresses.http, image, container)
        yield addresses
    finally:
        container.stop()


def _container(repository: Path, image: str) -> Any:
    try:
        from testcontainers.core.container import DockerContainer
    except ImportError:
        raise TargetUnavailable(
            "testcontainers is missing: pip install 'triton-emulator[containers]'"
        ) from None
    try:
        container = DockerContainer(image)
    except Exception as fault:  # noqa: BLE001  (without an engine docker raises errors of its own)
        raise TargetUnavailable(f"there is no container engine: {_first_line(fault)}") from None
    return (
        container.with_command(["tritonserver", "--model-repository=/models"])
        .with_volume_mapping(os.fspath(repository), "/models", "ro")
        .with_exposed_ports(_HTTP, _GRPC, _METRICS)
        .with_kwargs(shm_size=_SHARED_MEMORY)
    )


def _wait_ready(url: str, image: str, container: Any) -> None:
    import urllib.error
    import urllib.request

    end = time.monotonic() + _READY_S
    while True:
        try:
            with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=_READY_S):  # noqa: S310  (an http URL)
                return
        except (OSError, urllib.error.URLError) as fault:
            if _has_ended(container):
                raise TargetUnavailable(
                    f"the server of {image} has ended before it was ready: {_last_words(container)}"
                ) from None
            if time.monotonic() > end:
                raise TargetUnavailable(f"the server of {image} does not become ready: {fault}") from None
        time.sleep(_AGAIN_S)


def _has_ended(container: Any) -> bool:
    made = container.get_wrapped_container()
    made.reload()
    return bool(made.status != _RUNNING)


def _last_words(container: Any) -> str:
    lines = [line for stream in container.get_logs() for line in stream.decode(errors="replace").splitlines()]
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _first_line(fault: Exception) -> str:
    return str(fault).splitlines()[0] if str(fault) else type(fault).__name__


def addresses_of(
    target: str, repositories: Sequence[str | Path], *, grpc: str, metrics: str, image: str
) -> Any:
    """A context manager for the addresses of a target that is not the emulator.

    Raises TargetUnavailable, and ValueError for a URL that is none.
    """
    if "://" in target:
        Origin.of(target)  # raises for what is no URL
        return _there(at_url(target, grpc, metrics))
    if target not in (WHEEL, CONTAINER):
        raise TargetUnavailable(
            f"a target is emulator, wheel, container or the URL of a server, not {target!r}"
        )
    if len(repositories) > 1:
        raise TargetUnavailable(f"the target {target} serves one model repository, not {len(repositories)}")
    from triton_emulator.builtin import REPOSITORY

    repository = Path(repositories[0] if repositories else REPOSITORY).resolve()
    return from_wheel(repository) if target == WHEEL else in_container(repository, image)


@contextmanager
def _there(addresses: Addresses) -> Iterator[Addresses]:
    yield addresses
