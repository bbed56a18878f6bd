"""Entries of the journal, plans, stubs and verdicts as JSON.

JSON has no bytes, no infinite numbers and, in many languages, no whole numbers beyond 53 bits. So a tensor of bytes
that are no UTF-8 is always sent in base64, numbers that are not finite are texts ("NaN", "Infinity", "-Infinity"), and
a client that needs exact whole numbers of 64 bits asks for base64.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from math import isfinite, isnan
from typing import Any

import numpy as np

from triton_emulator.backends.standins.inline import InlineExecutor
from triton_emulator.backends.standins.latency import Latency
from triton_emulator.control.sending import Answered
from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.harness.criteria import Criteria
from triton_emulator.harness.journal import Answer, JournalEntry, Undecodable
from triton_emulator.harness.operations import OPERATIONS
from triton_emulator.harness.plans import Plan
from triton_emulator.harness.stubs import Stub
from triton_emulator.protocol.errors import TritonError
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.index import IndexRow
from triton_emulator.repository.metadata import metadata_json
from triton_emulator.repository.version_life import Served


def plan(each: Plan) -> Any:
    """A plan with what has become of it."""
    return clean(
        {
            "number": each.number,
            "fault": str(each.fault),
            **_criteria(each.criteria),
            "times": each.times,
            "after": each.after,
            "probability": each.probability,
            "standing": each.standing,
            "fired": each.fired,
            "completed": each.completed,
            "problems": list(each.problems()),
        }
    )


def stub(each: Stub) -> Any:
    """A stub with what has become of it."""
    return clean(
        {
            "number": each.number,
            **_criteria(each.expected.criteria),
            "text": str(each),
            "replies": len(each.replies),
            "standing": each.standing,
            "used": each.used,
            "problems": list(each.problems()),
        }
    )


def model(row: IndexRow, served: Served[Any] | None) -> Any:
    """A row of the repository's index, with the metadata of a version that is served."""
    tensors: dict[str, Any] = {"platform": None, "decoupled": False, "inputs": None, "outputs": None}
    if served is not None:
        config, metadata = json.loads(served.config_json), json.loads(metadata_json(served.config, []))
        optional = {each["name"] for each in config.get("input", ()) if each.get("optional")}
        tensors = {
            "platform": metadata["platform"],
            "decoupled": bool(config.get("model_transaction_policy", {}).get("decoupled")),
            **{
                kind: [{**each, "optional": each["name"] in optional} for each in metadata[kind]]
                for kind in ("inputs", "outputs")
            },
        }
    state = row.state and row.state.value
    return clean({"name": row.name, "version": row.version, "state": state, "reason": row.reason, **tensors})


def latencies(loaded: LoadedModel, stand_in: InlineExecutor) -> Any:
    """What the requests of a model take for which a stand-in answers."""
    taken = stand_in.latencies()
    shown = {
        name: {"median": latency.median, "p99": latency.p99}
        if isinstance(latency, Latency)
        else {"median": latency, "p99": latency}
        for name, latency in taken.items()
        if latency is not None
    }
    measured = [name for name, latency in taken.items() if latency is None]
    names = {"name": loaded.name, "version": loaded.version}
    return clean({**names, **shown, "measured": measured, "changed": sorted(stand_in.changed)})


def sent(answered: Answered) -> Any:
    """What came of a request that was sent for somebody."""
    found = {
        "status": answered.status,
        "headers": answered.headers,
        "body": None,
        "base64": None,
        "error": answered.error,
        "seconds": answered.seconds,
    }
    try:
        found["body"] = answered.body.decode("utf-8")
    except UnicodeDecodeError:
        found["base64"] = b64encode(answered.body).decode()
    return clean(found)


def _criteria(criteria: Criteria) -> dict[str, Any]:
    headers = criteria.shown_headers().items()
    return {
        "operation": criteria.operation,
        "model": criteria.model,
        "version": criteria.version,
        "protocol": criteria.protocol,
        # a test in Python may have given a pattern
        "headers": {name: getattr(value, "pattern", value) for name, value in headers},
    }


def entry(each: JournalEntry, *, form: str, bodies: bool) -> Any:
    """A request with its answer. `form` is that of tensors: "data", "base64", or "none" for datatypes and shapes."""
    infers = each.operation in OPERATIONS and OPERATIONS[each.operation].infers
    request = _decoded(lambda: _request(each, form)) if infers else {}
    answers = _decoded(lambda: {"answers": [_answer(one, form) for one in each.answers]}) if infers else {}
    found: dict[str, Any] = {
        "number": each.number,
        "protocol": each.protocol,
        "operation": each.operation,
        "target": each.target,
        "model": each.model,
        "version": each.version,
        "headers": dict(each.headers),
        "id": request.get("id"),
        "parameters": request.get("parameters"),
        "inputs": request.get("inputs"),
        "requested_outputs": request.get("requested_outputs"),
        "undecodable": request.get("undecodable") or answers.get("undecodable"),
        "status": each.status,
        "complete": each.complete,
        "error": each.error,
        "answers": answers.get("answers"),
        "events": [{"seconds": event.seconds, "bytes": len(event.data)} for event in each.events],
        "seconds": each.seconds,
        "queue_seconds": each.queue_seconds,
        "compute_seconds": each.compute_seconds,
        "fault": each.fault,
        "plan": None if each.plan is None else each.plan.number,
        "stub": None if each.stub is None else each.stub.number,
        "exception": None if each.exception is None else str(each.exception),
        "upstream_error": each.upstream_error,
        "truncated": each.truncated,
    }
    if bodies:
        found |= {"body": b64encode(each.body).decode(), "answer": b64encode(each.answer).decode()}
    return clean(found)


def _decoded(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return read()
    except Undecodable as fault:
        return {"undecodable": str(fault)}


def _request(each: JournalEntry, form: str) -> dict[str, Any]:
    return {
        "id": each.id,
        "parameters": dict(each.parameters),
        "inputs": _tensors(each.tensors.values(), form),
        "requested_outputs": list(each.requested_outputs),
    }


def _answer(answer: Answer, form: str) -> dict[str, Any]:
    return {
        "outputs": _tensors(answer.outputs.values(), form),
        "parameters": dict(answer.parameters),
        "error": answer.error,
    }


def _tensors(several: Iterable[Tensor], form: str) -> list[dict[str, Any]]:
    """Tensors with their elements in one dimension as `data`, or their bytes as Triton sends them as `base64`."""
    return [
        {"name": each.name, "datatype": each.datatype, "shape": list(each.shape), **_content(each, form)}
        for each in several
    ]


def _content(each: Tensor, form: str) -> Mapping[str, Any]:
    if form == "none":
        return {}
    try:
        return {"base64": b64encode(each.data).decode()} if form == "base64" else _elements(each)
    except (TritonError, ValueError, KeyError) as fault:  # in shared memory, cut short, or of no datatype
        return {"undecodable": str(getattr(fault, "message", fault))}


def _elements(each: Tensor) -> Mapping[str, Any]:
    array = each.array.ravel()
    if each.datatype == "BYTES":
        try:
            return {"data": [element.decode("utf-8") for element in array.tolist()]}
        except UnicodeDecodeError:
            return {"base64": b64encode(each.data).decode()}
    if each.datatype == "BF16":  # the upper half of an FP32
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return {"data": array.tolist()}


def clean(value: Any) -> Any:
    """A value as JSON can have it: without bytes that were no UTF-8, and without numbers that are not finite."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, float):
        return (
            value if isfinite(value) else "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
        )
    if isinstance(value, dict):
        return {clean(name): clean(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [clean(one) for one in value]
    return value
