"""The gRPC calls of one case: one channel, opened at the first call, and the calls that run in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triton_contract.cases.rpc import Rpc
from triton_contract.clients.exchange import Exchange

if TYPE_CHECKING:
    import grpc

    from triton_contract.clients.grpc import Pending


class Calls:
    """`address` is host:port; None for a target whose gRPC address is not known."""

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._channel: grpc.Channel | None = None
        self._background: dict[str, Pending] = {}

    def call(self, step: Rpc) -> Exchange | None:
        """Start a call. Returns its answer, or None when it goes on in the background.

        Raises LookupError for a target whose gRPC address is not known.
        """
        from triton_contract.clients.grpc import open_channel, start  # an HTTP case needs no grpcio

        if self._address is None:
            raise LookupError("this target's gRPC port is not known")
        if self._channel is None:
            self._channel = open_channel(self._address)
        pending = start(self._channel, step)
        if step.in_background is not None:
            self._background[step.in_background] = pending
            return None
        return pending.result()

    def has(self, name: str) -> bool:
        return name in self._background

    def answer_of(self, name: str) -> Exchange:
        return self._background[name].result()

    def cancel(self, name: str) -> None:
        self._background[name].cancel()

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
