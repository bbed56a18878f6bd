"""A verdict on the client: what it did wrong, as far as the requests that came show it.

Each rule is a pure function from the entries of a journal to findings. `judge` runs those that are wanted. A finding is
`wrong`, or something to `check`, where the server cannot see what the client made of an answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from itertools import groupby, pairwise

from triton_emulator.harness.journal import JournalEntry, Undecodable
from triton_emulator.harness.operations import OPERATIONS

#: Statuses of HTTP, and numbers of gRPC, that ask a client to come again later.
_LATER = {"http": frozenset({408, 429, 500, 502, 503, 504}), "grpc": frozenset({4, 8, 10, 13, 14})}
#: real seconds: a client that asks again sooner has not paused
_PAUSE_S = 0.05
#: bytes that binary data must save in one request to be worth it
_WORTH = 1 << 16
#: how often a client could have used a connection again that it had, before it is blamed for new ones
_CHANCES = 2
#: what the events of a stream have that are errors: the first field of a message, and a key of JSON
_GRPC_ERROR, _HTTP_ERROR = b"\x0a", b'"error"'
#: operations in which the id of a request is a parameter as well
_ID_AS_PARAMETER = frozenset({"generate", "generate_stream"})
#: requests that a text names
_SHOWN = 10

#: Real seconds for seconds of the journal, None where the clock has nothing to do with real time.
RealSeconds = Callable[[float], float | None]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a client did. `requests` are numbers of entries, `client` is its User-Agent."""

    rule: str
    #: "wrong" or "check"
    level: str
    client: str
    requests: tuple[int, ...]
    text: str

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.requests[:_SHOWN])) + (", ..." if len(self.requests) > _SHOWN else "")
        many = "requests" if len(self.requests) > 1 else "request"
        return f"{self.rule} ({self.level}): {self.client}, {many} {shown}: {self.text}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, which rules were turned off, and which could not be judged, with the reason."""

    findings: tuple[Finding, ...]
    ignored: tuple[str, ...] = ()
    not_judged: tuple[tuple[str, str], ...] = ()

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that found something, each once."""
        return tuple(dict.fromkeys(finding.rule for finding in self.findings))

    def __str__(self) -> str:
        count = len(self.findings)
        lines = [f"{count or 'no'} finding{'s' if count != 1 else ''} on the client"]
        lines += [f"  {finding}" for finding in self.findings]
        lines += [f"  {rule} was not judged: {why}" for rule, why in self.not_judged]
        return "\n".join(lines)

    def json(self) -> str:
        """The same as JSON: an object with `findings`, `ignored` and `not_judged`."""
        document = {
            "findings": [asdict(finding) for finding in self.findings],
            "ignored": list(self.ignored),
            "not_judged": dict(self.not_judged),
        }
        return json.dumps(document, indent=2)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a rule looks at."""

    entries: Sequence[JournalEntry]
    real: RealSeconds
    #: (a request that failed, the same one asked again), in the order of the latter
    retries: Sequence[tuple[JournalEntry, JournalEntry]]


Found = Iterator[tuple[str, Sequence[JournalEntry]]]


# --- the rules: each gives texts with the requests of one client ------------------------------------------------------


def _retry_without_pause(seen: Seen) -> Found:
    for failed, again in seen.retries:
        paused = seen.real((again.began_ns - failed.ended_ns) / 1e9)
        if _asks_for_later(failed) and paused is not None and paused < _PAUSE_S:
            text = (
                f"{_name(failed)} was answered {failed.status} and asked again after {paused * 1000:.0f} ms; wait "
                "before each retry, longer each time"
            )
            yield text, (failed, again)


def _retry_after_ignored(seen: Seen) -> Found:
    for failed, again in seen.retries:
        asked = _retry_after(failed)
        paused = seen.real((again.began_ns - failed.ended_ns) / 1e9)
        if asked is not None and paused is not None and paused < asked:
            text = (
                f"{_name(failed)} was answered {failed.status} with Retry-After: {asked:g} and asked again after "
                f"{paused:.3f} s"
            )
            yield text, (failed, again)


def _cut_stream_taken_as_whole(seen: Seen) -> Found:
    retried = {failed.number for failed, _ in seen.retries}
    for entry in seen.entries:
        if entry.cut and _streams(entry) and entry.events and entry.number not in retried:
            text = (
                f"the answer to {_name(entry)} was cut off after {len(entry.events)} events, and not asked for again: "
                "a stream without its end is an error"
            )
            yield text, (entry,)


def _error_event_ignored(seen: Seen) -> Found:
    retried = {failed.number for failed, _ in seen.retries}
    for entry in seen.entries:
        if entry.number not in retried and (error := _late_error(entry)) is not None:
            text = (
                f"the answer to {_name(entry)} had an error after its first event ({error!r}), and was not asked for "
                "again: look at each event for an error"
            )
            yield text, (entry,)


def _sequence_retried(seen: Seen) -> Found:
    for failed, again in seen.retries:
        sequence = _parameter(failed, "sequence_id")
        if sequence:
            text = (
                f"{_name(failed)} of sequence {sequence} was asked again: the model may have had it already, so begin "
                "the sequence anew"
            )
            yield text, (failed, again)


def _connections_not_reused(seen: Seen) -> Found:
    for entries in _by_client(seen.entries):
        kept = [entry for entry in entries if entry.peer and not entry.cut]
        connections = len({entry.peer for entry in kept})
        if connections == len(kept) and _after_another(kept) >= _CHANCES:
            text = (
                f"{len(kept)} requests came over {connections} connections; keep one client for all, as it keeps its "
                "connections"
            )
            yield text, kept


def _large_tensors_as_json(seen: Seen) -> Found:
    for entries in _by_client(seen.entries):
        saved = [(entry, sum(_saved(entry))) for entry in entries]
        large = [(entry, most) for entry, most in saved if most > _WORTH]
        if large:
            least = sum(most for _, most in large)
            text = (
                f"tensors as JSON: binary data would have been {least / 1e6:.1f} MB smaller (binary_data_size, and "
                "binary_data_output for the answers)"
            )
            yield text, [entry for entry, _ in large]


def _fp16_as_json(seen: Seen) -> Found:
    for entries in _by_client(seen.entries):
        asked = [entry for entry in entries if _is_half_as_json(entry)]
        if asked:
            yield "FP16 and BF16 have no form in JSON: send and ask for binary data", asked


def _no_deadline(seen: Seen) -> Found:
    for entries in _by_client(seen.entries):
        endless = [entry for entry in entries if entry.protocol == "grpc" and entry.deadline is None]
        if endless:
            text = "no deadline: a server that does not answer is waited for without end (client_timeout)"
            yield text, endless


@dataclass(frozen=True, slots=True)
class Rule:
    """`level` is that of its findings; `timed` says that it compares real times."""

    find: Callable[[Seen], Found]
    level: str = "wrong"
    timed: bool = False


RULES: Mapping[str, Rule] = {
    "retry_without_pause": Rule(_retry_without_pause, timed=True),
    "retry_after_ignored": Rule(_retry_after_ignored, timed=True),
    "cut_stream_taken_as_whole": Rule(_cut_stream_taken_as_whole, "check"),
    "error_event_ignored": Rule(_error_event_ignored, "check"),
    "sequence_retried": Rule(_sequence_retried),
    "connections_not_reused": Rule(_connections_not_reused, timed=True),
    "large_tensors_as_json": Rule(_large_tensors_as_json),
    "fp16_as_json": Rule(_fp16_as_json),
    "no_deadline": Rule(_no_deadline),
}


def judge(entries: Iterable[JournalEntry], real: RealSeconds, ignore: Collection[str] = ()) -> Verdict:
    """Run all rules but those that are ignored. Raises ValueError for a name that is no rule."""
    for name in ignore:
        if name not in RULES:
            near = get_close_matches(name, RULES, n=1)
            raise ValueError(
                f"{name!r} is no rule; "
                + (f"did you mean {near[0]!r}?" if near else f"the rules are {', '.join(RULES)}")
            )
    complete = [entry for entry in entries if entry.complete]
    seen = Seen(complete, real, _retries(complete))
    blind = real(1.0) is None
    findings: list[Finding] = []
    not_judged = []
    for name, rule in RULES.items():
        if name in ignore:
            continue
        if rule.timed and blind:
            not_judged.append((name, "it compares real times, which a virtual clock does not have"))
            continue
        findings += (
            Finding(name, rule.level, _client(found[0]), tuple(entry.number for entry in found), text)
            for text, found in rule.find(seen)
        )
    return Verdict(tuple(findings), tuple(name for name in RULES if name in ignore), tuple(not_judged))


# --- what rules look at -----------------------------------------------------------------------------------------------


def _client(entry: JournalEntry) -> str:
    return entry.headers.get("user-agent") or f"a client over {entry.protocol} without a User-Agent"


def _by_client(entries: Iterable[JournalEntry]) -> Iterator[list[JournalEntry]]:
    """The requests of each client, by protocol and User-Agent."""
    for _, found in groupby(sorted(entries, key=_client), _client):
        yield sorted(found, key=lambda entry: entry.number)


def _after_another(entries: Sequence[JournalEntry]) -> int:
    """How many requests came after another one had been answered."""
    count, ended = 0, entries[0].ended_ns if entries else 0
    for entry in entries[1:]:
        count += entry.began_ns >= ended
        ended = min(ended, entry.ended_ns)
    return count


def _name(entry: JournalEntry) -> str:
    return f"{entry.operation} of {entry.model}" if entry.model else entry.operation or entry.target


def _streams(entry: JournalEntry) -> bool:
    kind = OPERATIONS.get(entry.operation)
    return kind is not None and kind.streams


def _asks_for_later(entry: JournalEntry) -> bool:
    return entry.code in _LATER[entry.protocol]


def _has_failed(entry: JournalEntry) -> bool:
    """Whether a client may want to ask again: it was told to, or it has no whole answer."""
    return entry.cut or entry.code is None or _asks_for_later(entry) or _late_error(entry) is not None


def _late_error(entry: JournalEntry) -> str | None:
    """The error of a stream that had begun well."""
    if not _streams(entry) or entry.is_error:
        return None
    later = [data for _, data in entry.events[1:]]
    marked = (
        data.startswith(_GRPC_ERROR) if entry.protocol == "grpc" else _HTTP_ERROR in data for data in later
    )
    if not any(marked):
        return None
    try:
        first, *rest = entry.answers
    except (Undecodable, ValueError):
        return None
    return None if first.error is not None else next((each.error for each in rest if each.error), None)


def _retries(entries: Sequence[JournalEntry]) -> Sequence[tuple[JournalEntry, JournalEntry]]:
    """(a request that failed, the same one asked again after its end), in the order of the latter."""
    groups: dict[object, list[JournalEntry]] = {}
    for entry in entries:
        groups.setdefault((entry.protocol, entry.operation, entry.model, entry.version), []).append(entry)
    found = []
    for group in groups.values():
        if len(group) > 1 and any(map(_has_failed, group)):  # only then is it worth to decode them
            same: dict[object, list[JournalEntry]] = {}
            for entry in group:
                same.setdefault(_meaning(entry), []).append(entry)
            for repeats in same.values():
                found += [
                    (failed, again)
                    for failed, again in pairwise(repeats)
                    if _has_failed(failed) and again.began_ns >= failed.ended_ns
                ]
    return sorted(found, key=lambda pair: pair[1].number)


def _meaning(entry: JournalEntry) -> object:
    """What a request asks for, whatever its id: a client may give each attempt another one."""
    try:
        request = entry.request
        tensors = tuple(
            (tensor.name, tensor.datatype, tuple(tensor.shape), tensor.data) for tensor in request.inputs
        )
        parameters = dict(entry.parameters)
        if entry.operation in _ID_AS_PARAMETER:
            parameters.pop("id", None)
        return tensors, repr(sorted(parameters.items()))
    except Exception:  # noqa: BLE001  (what cannot be decoded, or has no data, is compared as it came)
        return entry.target, entry.body


def _retry_after(entry: JournalEntry) -> float | None:
    """Seconds of an answer's Retry-After; a date is not looked at."""
    for name, value in entry.answer_headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) < _SHOWN:
            return float(value)
    return None


def _parameter(entry: JournalEntry, name: str) -> object:
    try:
        return entry.parameters.get(name)
    except Undecodable:
        return None


def _saved(entry: JournalEntry) -> Iterator[int]:
    """The bytes that binary data would have saved in a request and in its answer."""
    if entry.protocol != "http" or entry.operation != "infer" or entry.is_error:
        return
    if len(entry.body) + len(entry.answer) < _WORTH:
        return
    try:
        sizes = [sum(tensor.byte_size for tensor in entry.tensors.values())]
        sizes += [sum(tensor.byte_size for tensor in answer.outputs.values()) for answer in entry.answers]
    except Exception:  # noqa: BLE001  (what cannot be decoded is no tensor as JSON)
        return
    for body, size in zip((entry.body, entry.answer), sizes, strict=False):
        # What is binary already counts on both sides of the difference.
        yield max(len(body) - size, 0)


def _is_half_as_json(entry: JournalEntry) -> bool:
    if entry.protocol != "http" or entry.operation != "infer" or not entry.is_error:
        return False
    error = entry.error or ""
    return "via JSON is not supported" in error and ("FP16" in error or "BF16" in error)
