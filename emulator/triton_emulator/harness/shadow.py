"""Where an emulator would have answered otherwise than a real server, for the requests that have come.

The real server answers. When its answer has passed, the same request goes to models of this session, one after the
other in the order in which the answers ended, and both answers are compared by what they mean. Counts and times, which
are each server's own, are not compared.
"""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from triton_emulator.harness.cassettes.messages import fields, response_class
from triton_emulator.harness.cassettes.player import json_differences
from triton_emulator.harness.journal import Answer, JournalEntry, Undecodable
from triton_emulator.harness.near_miss import tensor_differences
from triton_emulator.harness.operations import GRPC, OPERATIONS

#: operations whose answers are each server's own: counts, times, processes
NOT_COMPARED = ("model_statistics", "trace_setting", "logging")
#: requests that wait to be asked again, beyond which they are left out
_MOST_WAITING = 1000
#: disagreements that are kept
_MOST_KEPT = 1000
#: disagreements of one operation and model that a text shows
_SHOWN = 3

#: Lets models answer the request of an entry; returns their answer as an entry that no journal has.
Emulate = Callable[[], Awaitable[JournalEntry]]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One request that both have answered, and otherwise. `number` is that of its entry in the journal."""

    number: int
    protocol: str
    operation: str
    model: str
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What came of the comparison until now.

    `compared` counts the requests that both have answered, `agreed` those with equal answers. `left_out` counts the
    others by the reason. `disagreements` has the first thousand of the rest. As a text it is a report for a person.
    """

    compared: int
    agreed: int
    left_out: Mapping[str, int]
    disagreements: Sequence[Disagreement] = field(repr=False)

    def __str__(self) -> str:
        lines = [f"the emulator answers as the server does for {self.agreed} of {self.compared} requests"]
        if self.left_out:
            told = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
            lines.append(f"not compared: {told}")
        groups: dict[tuple[str, str, str], list[Disagreement]] = {}
        for each in self.disagreements:
            groups.setdefault((each.protocol, each.operation, each.model), []).append(each)
        for group, found in groups.items():
            lines.append(f"{' '.join(filter(None, group))}: {len(found)} otherwise")
            for each in found[:_SHOWN]:
                lines.append(f"  request {each.number}")
                lines += [f"    {difference}" for difference in each.differences]
        return "\n".join(lines)


class Shadow:
    """Asks the models of a session what a real server has answered. To be used on the event loop."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[JournalEntry, Emulate]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._compared = 0
        self._agreed = 0
        self._left_out: Counter[str] = Counter()
        self._disagreements: list[Disagreement] = []

    def __repr__(self) -> str:
        return f"<Shadow {self._agreed} of {self._compared} agree, waiting: {len(self._waiting)}>"

    def put(self, entry: JournalEntry, emulate: Emulate) -> None:
        """Compare the answer to a request later."""
        if entry.operation in NOT_COMPARED:
            self._left_out["whose answers are a server's own"] += 1
        elif entry.truncated:
            self._left_out["larger than journal_bytes"] += 1
        elif entry.plan is not None:
            self._left_out["met a fault"] += 1
        elif len(self._waiting) >= _MOST_WAITING:
            self._left_out["came faster than the models answer"] += 1
        else:
            self._waiting.append((entry, emulate))
            if self._worker is None or self._worker.done():
                self._worker = asyncio.create_task(self._work())

    async def drain(self, seconds: float | None = None) -> None:
        """Wait until all requests are compared, for up to so many seconds."""
        if self._worker is not None:
            await asyncio.wait((self._worker,), timeout=seconds)

    async def close(self, seconds: float) -> None:
        """Wait for the comparisons, for up to so many seconds, and leave the rest out."""
        await self.drain(seconds)
        if self._waiting:
            self._left_out["that the end did not wait for"] += len(self._waiting)
            self._waiting.clear()
        if self._worker is not None:
            self._worker.cancel()

    def report(self) -> ShadowReport:
        """What came of it until now."""
        return ShadowReport(self._compared, self._agreed, dict(self._left_out), tuple(self._disagreements))

    async def _work(self) -> None:
        while self._waiting:
            entry, emulate = self._waiting.popleft()
            try:
                differences = tuple(compared(entry, await emulate()))
            except Exception as fault:  # noqa: BLE001  (what the emulator does wrong is what is to be found)
                differences = (f"the emulator failed: {type(fault).__name__}: {fault}",)
            self._compared += 1
            if not differences:
                self._agreed += 1
            elif len(self._disagreements) < _MOST_KEPT:
                self._disagreements.append(
                    Disagreement(entry.number, entry.protocol, entry.operation, entry.model, differences)
                )


def compared(real: JournalEntry, ours: JournalEntry) -> Iterator[str]:
    """What is different in the emulator's answer, one line for each field; the server's is what was expected."""
    if real.status != ours.status:
        errors = "".join(
            f"; {who}: {text}" for who, text in (("server", real.error), ("emulator", ours.error)) if text
        )
        yield f"status: expected {real.status}, got {ours.status}{errors}"
        return
    kind = OPERATIONS.get(real.operation)
    if kind is not None and kind.infers:
        yield from _inference(real, ours)
    elif real.error != ours.error:
        yield f"error: expected {real.error!r}, got {ours.error!r}"
    elif not real.is_error:
        yield from _documents(real, ours)


def _inference(real: JournalEntry, ours: JournalEntry) -> Iterator[str]:
    try:
        expected, given = real.answers, ours.answers
    except Undecodable as fault:
        if real.answer != ours.answer:
            yield f"the answers cannot be compared: {fault}"
        return
    if len(expected) != len(given):
        yield f"responses: expected {len(expected)}, got {len(given)}"
    for number, (left, right) in enumerate(zip(expected, given, strict=False)):
        where = f"response {number}: " if len(expected) > 1 else ""
        yield from (f"{where}{difference}" for difference in _answers(left, right))


def _answers(expected: Answer, given: Answer) -> Iterator[str]:
    if expected.error != given.error:
        yield f"error: expected {expected.error!r}, got {given.error!r}"
        return
    for name, tensor in expected.outputs.items():
        if name not in given.outputs:
            yield f"{name}: missing; the outputs are {', '.join(given.outputs) or 'none'}"
        else:
            yield from tensor_differences(name, tensor.array, given.outputs[name], tensor.datatype)
    yield from (f"{name}: not expected" for name in given.outputs if name not in expected.outputs)
    yield from json_differences(dict(expected.parameters), dict(given.parameters), "parameter ")


def _documents(real: JournalEntry, ours: JournalEntry) -> Iterator[str]:
    expected, given = (_document(each) for each in (real, ours))
    if isinstance(expected, dict) and isinstance(given, dict):
        yield from json_differences(expected, given)
    elif expected != given:
        yield f"answer: expected {str(expected)[:200]}, got {str(given)[:200]}"


def _document(entry: JournalEntry) -> Any:
    """An answer as JSON's values; its bytes where it has none."""
    data = entry.answer
    if entry.protocol == GRPC:
        wanted = response_class(entry.operation)
        return data if wanted is None else fields(wanted.FromString(data))
    try:
        document = json.loads(data)
    except ValueError:
        return data
    if isinstance(document, list):  # the order of models is each server's own
        return {"": sorted(document, key=lambda each: json.dumps(each, sort_keys=True))}
    return document
