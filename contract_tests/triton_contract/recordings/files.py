"""Recorded answers of the real server. They are written only by a run against one, and never edited.

There is one folder per server version, and one JSON Lines file per topic. Its first line says what was recorded and
how; each further line holds one case. A body is written as text if it is UTF-8, otherwise as base64. A large one is
compressed by zlib first: the answer to one case alone would take 117 MB of escaped text.

A version other than the default one has a neighbour (`NEIGHBOURS`), and only what differs from it is stored. The second
line then names the cases that were answered as the neighbour answers them, each with its hash. A line of a case that
the server could not be asked says why.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from triton_contract.cases.case import Case
from triton_contract.clients.exchange import Exchange, Response
from triton_contract.comparing.normalise import ALWAYS, normalise
from triton_contract.playing.observation import Observation
from triton_contract.reference.limits import reason_against

FOLDER = Path(__file__).parent
#: bytes of a body from which on it is compressed; a person would not read a longer one
_LARGE = 1 << 18
#: the version whose answers those of a version are stored against
NEIGHBOURS = {
    "2.41.0": "2.44.0",
    "2.44.0": "2.48.0",
    "2.48.0": "2.50.0",
    "2.50.0": "2.51.0",
    "2.72.0": "2.51.0",
}


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where recorded answers come from: the server, its version, the date, and how it was run."""

    server: str
    version: str
    date: str
    how: str


def recorded_versions(folder: Path = FOLDER) -> list[str]:
    """The versions besides the default one of which answers are recorded, in the order of `NEIGHBOURS`."""
    return [version for version in NEIGHBOURS if (folder / version).is_dir()]


def topic_file(version: str, topic: str, folder: Path = FOLDER) -> Path:
    """The file with the answers of one server version to the cases of a topic."""
    name = topic if "/" in topic else f"http/{topic}"
    return folder / version / f"{name}.jsonl"


def write(
    path: Path,
    provenance: Provenance,
    observations: Iterable[tuple[Case, Observation]],
    as_neighbour: Iterable[Case] = (),
) -> None:
    """Write the answers to the cases of one topic, replacing the file.

    `as_neighbour` are the cases that were answered as by the version's neighbour. They are not among `observations`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = [{"provenance": asdict(provenance)}]
    if equal := {case.id: fingerprint(case) for case in as_neighbour}:
        lines.append({"as": NEIGHBOURS[provenance.version], "cases": equal})
    lines.extend(
        {"case": case.id, "asked": fingerprint(case), **_observation_to_json(seen)}
        for case, seen in observations
    )
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")


def fingerprint(case: Case) -> str:
    """A short hash of everything that the case sends. An answer that was recorded for another hash is not used."""
    asked = case.model_dump(
        mode="json", include={"repository", "flags", "models", "steps", "shared_memory"}, by_alias=True
    )
    if not case.models:
        del asked["models"]  # newer than most recordings, too
    for step in asked["steps"]:
        # These fields are newer than most recordings, whose hashes were made without them.
        for name in ("edit", "pending", "cancel", "apart", "arrived"):
            if step.get(name) in (None, False):
                step.pop(name, None)
        if isinstance(step.get("until"), dict) and step["until"]["lacks"] is None:
            del step["until"]["lacks"]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def read(version: str, cases: Sequence[Case], folder: Path = FOLDER) -> dict[str, Observation]:
    """The recorded observations of these cases, by case id. A case that was changed since has none.

    What the reference of that version cannot be asked is unproven, whatever is recorded.
    """
    wanted = {case.id: fingerprint(case) for case in cases}
    found: dict[str, Observation] = {}
    equal: set[str] = set()
    for topic in {case.topic for case in cases}:
        path = topic_file(version, topic, folder)
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines()[1:]:
                node = json.loads(line)
                if "as" in node:
                    equal |= {name for name, asked in node["cases"].items() if wanted.get(name) == asked}
                elif wanted.get(node["case"]) == node["asked"]:
                    found[node["case"]] = _observation_from_json(node)
    if equal:
        found |= read(NEIGHBOURS[version], [case for case in cases if case.id in equal], folder)
    for case in cases:
        if reason := reason_against(version, case):
            found[case.id] = Observation((), unproven=reason)
    return found


def provenance(path: Path) -> Provenance:
    """The provenance in the first line of a recording."""
    with path.open(encoding="utf-8") as file:
        return Provenance(**json.loads(file.readline())["provenance"])


def _observation_to_json(seen: Observation) -> dict[str, Any]:
    if seen.unproven:
        return {"unproven": seen.unproven}
    node: dict[str, Any] = {"answers": [_exchange_to_json(exchange) for exchange in seen.exchanges]}
    if seen.counts is not None:
        node["statistics"] = seen.counts
    if seen.death is not None:
        node["death"] = seen.death.splitlines()[0]
    return node


def _observation_from_json(node: dict[str, Any]) -> Observation:
    if "unproven" in node:
        return Observation((), unproven=node["unproven"])
    exchanges = tuple(_exchange_from_json(each) for each in node["answers"])
    return Observation(exchanges, node.get("statistics"), node.get("death"))


def _exchange_to_json(exchange: Exchange) -> dict[str, Any]:
    node: dict[str, Any] = {"ending": exchange.ending}
    if exchange.interim:
        node["interim"] = exchange.interim
    if exchange.extra:
        node["extra"] = _bytes_to_json(exchange.extra)
    if exchange.response is not None:
        # The path of a model file is that of the recording machine. It differs on every other one.
        response = normalise(exchange.response, ALWAYS)
        node |= {
            "version": response.version,
            "status": response.status,
            "reason": response.reason,
            "headers": response.headers,
            "framing": response.framing,
            "body": _bytes_to_json(response.body),
        }
        if response.chunks:
            node["chunks"] = response.chunks
        if not response.complete:
            node["complete"] = False
    return node


def _exchange_from_json(node: dict[str, Any]) -> Exchange:
    response = None
    if "status" in node:
        response = Response(
            version=node["version"],
            status=node["status"],
            reason=node["reason"],
            headers=tuple((name, value) for name, value in node["headers"]),
            body=_bytes_from_json(node["body"]),
            framing=node["framing"],
            chunks=tuple(node.get("chunks", ())),
            complete=node.get("complete", True),
        )
    interim: Sequence[int] = node.get("interim", ())
    return Exchange(response, tuple(interim), node["ending"], _bytes_from_json(node.get("extra", "")))


def _bytes_to_json(data: bytes) -> str | dict[str, str]:
    if len(data) > _LARGE:
        return {"zlib": base64.b64encode(zlib.compress(data, 9)).decode()}
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
    # Some readers split lines at Unicode's line separators too, which would cut this line of JSON.
    return (
        text
        if not any(mark in text for mark in "\x85\u2028\u2029")
        else {"base64": base64.b64encode(data).decode()}
    )


def _bytes_from_json(node: str | dict[str, str]) -> bytes:
    if isinstance(node, str):
        return node.encode("utf-8")
    if "zlib" in node:
        return zlib.decompress(base64.b64decode(node["zlib"]))
    return base64.b64decode(node["base64"])
