"""Plays one case against one server: sends its steps in order and collects the answers.

Every step goes over the case's connection to its port, except those that ask for a new one. A connection that the
server closed is opened again for the next step. Requests "in the background" have connections of their own; a later
step reads their answers. gRPC steps go through `Calls`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from triton_contract.cases.case import Awaited, Case, Step, is_met
from triton_contract.cases.encoding import request_pieces
from triton_contract.cases.operations import COUNTED, operation_of
from triton_contract.cases.rpc import Rpc
from triton_contract.clients.exchange import Exchange
from triton_contract.clients.http import Address, Wire, ask_health, await_arrival, read_exchange, settle

from . import repository_files, shared_memory
from .calls import Calls
from .observation import IN_VAIN, SHARED_MEMORY, Observation
from .pending import await_pending
from .statistics import SETTLE_PAUSE, delta, read_counts, settled_counts

UNTIL_SECONDS = 30.0
"""How long a case waits for what it names. Only a server that never gets there takes that long."""
UNTIL_PAUSE = 0.02
UNTIL_PATIENCE = 5.0
"""Seconds for which one answer is waited for, by a step that asks until an answer holds something."""


@dataclass(slots=True)
class _Stage:
    """The connections that a case holds while it plays."""

    http: Address
    metrics: Address | None
    calls: Calls
    repository: Path | None = None
    wires: dict[str, Wire] = field(default_factory=dict)
    background: dict[str, tuple[Wire, Step]] = field(default_factory=dict)

    def address(self, step: Step) -> Address:
        return self.http if step.port == "http" else self.metrics_address()

    def metrics_address(self) -> Address:
        if self.metrics is None:
            raise LookupError("this target's metrics port is not known")
        return self.metrics

    def wire(self, step: Step) -> Wire:
        if step.new_connection or step.in_background or step.port not in self.wires:
            wire = self.address(step).connect()
            if step.in_background:
                return wire
            self.drop(step.port)
            self.wires[step.port] = wire
        return self.wires[step.port]

    def drop(self, port: str) -> None:
        if port in self.wires:
            self.wires.pop(port).close()

    def close(self) -> None:
        self.calls.close()
        for wire in (*self.wires.values(), *(wire for wire, _ in self.background.values())):
            wire.close()


def counts_statistics(case: Case) -> bool:
    """Whether the case's effect on the statistics is compared: not where the server was started for this case alone."""
    if case.edits:
        return False
    return operation_of(case) in COUNTED if case.statistics is None else case.statistics


def play(
    case: Case,
    http: Address,
    metrics: Address | None = None,
    grpc: str | None = None,
    *,
    repository: Path | None = None,
    settle_pause: float = SETTLE_PAUSE,
) -> Observation:
    """Send the case's requests and collect the answers. A refused connection is an observation too.

    `repository` is the folder that the case may change. The statistics count as settled when two readings,
    `settle_pause` seconds apart, are equal. Raises LookupError for a step whose port is not known.
    """
    counting = counts_statistics(case)
    before = settled_counts(http, settle_pause) if counting else None
    stage = _Stage(http, metrics, Calls(grpc), repository)
    exchanges: list[Exchange] = []
    try:
        with shared_memory.present(case.shared_memory):
            for step in case.steps:
                exchange = _step(stage, step)
                if exchange is not None:
                    exchanges.append(exchange)
    finally:
        stage.close()
    after = settled_counts(http, settle_pause) if before is not None else None
    counts = delta(before, after) if before is not None and after is not None else None
    return Observation(tuple(exchanges), counts, before=before, after=after)


def recount(observation: Observation, http: Address) -> Observation:
    """The observation with the statistics read again: a server may count a request after it has answered."""
    if observation.before is None or observation.death is not None:
        return observation
    after = read_counts(http)
    if after is None:
        return observation
    return replace(observation, counts=delta(observation.before, after), after=after)


def _step(stage: _Stage, step: Step) -> Exchange | None:
    if step.until is None:
        return _once(stage, step)
    deadline = time.monotonic() + UNTIL_SECONDS
    asked = step
    if not isinstance(step, Rpc) and "timeout" not in step.model_fields_set:
        # 2.51 answers a connection by one of its threads: one that is busy with a load answers nobody until it is done.
        # A question that is not answered is asked again over a connection of its own.
        asked = step.model_copy(update={"timeout": UNTIL_PATIENCE})
    while True:
        exchange = _once(stage, asked)
        if exchange is None or _satisfied(exchange, step.until) or time.monotonic() > deadline:
            return exchange
        time.sleep(UNTIL_PAUSE)


def _satisfied(exchange: Exchange, until: Awaited) -> bool:
    response = exchange.response
    return response is not None and is_met(until, response.status, response.body)


def _once(stage: _Stage, step: Step) -> Exchange | None:
    if isinstance(step, Rpc):
        return stage.calls.call(step)
    if step.answer_of is not None and stage.calls.has(step.answer_of):
        return stage.calls.answer_of(step.answer_of)
    if step.path is None and not step.is_raw and step.answer_of is None:
        return _act(stage, step)
    try:
        if step.answer_of is not None:
            if step.answer_of not in stage.background:
                return Exchange(None, ending="no connection")
            wire, sent = stage.background[step.answer_of]
            return _answer(stage, wire, sent)
        wire = stage.wire(step)
        address = stage.address(step)
        first, *rest = request_pieces(step, address.base_path)
        wire.send(first)
        for piece in rest:
            ask_health(stage.http)
            wire.send(piece)
    except OSError as error:
        return Exchange(None, ending=f"no connection ({type(error).__name__})")
    if step.half_close:
        wire.half_close()
    if step.close:
        stage.drop(step.port)
        return None
    if step.in_background is not None:
        stage.background[step.in_background] = (wire, step)
        return None
    return _answer(stage, wire, step)


def _act(stage: _Stage, step: Step) -> Exchange | None:
    """Do what a step asks for that is not a request, and return what is to be compared."""
    if step.edit is not None:
        repository_files.change(stage.repository, step.edit)
    if step.cancel is not None:
        stage.calls.cancel(step.cancel)
    if step.read_shared_memory is not None:
        data = shared_memory.contents(step.read_shared_memory)
        return Exchange(None, ending=SHARED_MEMORY, extra=data)
    missed = None
    if step.pending is not None:
        missed = await_pending(stage.metrics_address(), step.pending, UNTIL_SECONDS)
    if step.arrived is not None:
        missed = _await_arrivals(stage, step.arrived)
    return None if missed is None else Exchange(None, ending=IN_VAIN + missed)


def _await_arrivals(stage: _Stage, wanted: Mapping[str, str | int]) -> str | None:
    """None where all has come that was to come, else a text that says what has not."""
    for name, what in wanted.items():
        if name not in stage.background:
            return f"{name}: no connection"
        missed = await_arrival(stage.background[name][0], what, UNTIL_SECONDS)
        if missed is not None:
            return f"{name}: {missed}"
    return None


def _answer(stage: _Stage, wire: Wire, step: Step) -> Exchange:
    exchange = read_exchange(wire, step.patience, stop_after_chunks=step.disconnect_after_chunks)
    listen = step.is_raw or step.half_close or step.port == "metrics" or step.http_version != "1.1"
    exchange = settle(wire, exchange, stage.http.base_path, listen=listen)
    if exchange.ending != "open" and stage.wires.get(step.port) is wire:
        stage.drop(step.port)
    return exchange
