"""Which models an ensemble needs: pure functions over all polled models.

Models are named by their identifier here (`PolledModel.id`): the name, with model namespacing after the repository's
path.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from triton_emulator.repository.config.ensemble_graph import steps_of
from triton_emulator.repository.scanner import PolledModel, identifier


@dataclass(frozen=True, slots=True)
class Member:
    """The model of one step: its name, the version that the step asks for (-1: the newest), and which model that is.

    `id` is None where no model has that name, or more than one.
    """

    name: str
    version: int
    id: str | None


#: by identifier, the models that an ensemble needs in the order of its steps; nothing for another model
Graph = Mapping[str, tuple[Member, ...]]


def graph_of(models: Iterable[PolledModel]) -> Graph:
    """The dependencies of `models`: a step means the model of its own namespace, else the only one of that name."""
    by_name: dict[str, list[str]] = {}
    every = list(models)
    for model in every:
        by_name.setdefault(model.name, []).append(model.id)

    def resolve(namespace: str, name: str) -> str | None:
        candidates = by_name.get(name, [])
        preferred = identifier(namespace, name)
        return preferred if preferred in candidates else candidates[0] if len(candidates) == 1 else None

    return {
        model.id: tuple(
            Member(step.model, step.version, resolve(model.namespace, step.model))
            for step in steps_of(model.config)
        )
        for model in every
    }


def dependents(ids: Iterable[str], graph: Graph) -> set[str]:
    """`ids` and every ensemble that needs one of them, directly or through another ensemble."""
    found = set(ids)
    grown = True
    while grown:
        more = {
            key for key, needed in graph.items() if key not in found and any(m.id in found for m in needed)
        }
        found |= more
        grown = bool(more)
    return found


def only_needed_by(ids: Iterable[str], graph: Graph, explicit: Iterable[str]) -> set[str]:
    """`ids` and the members that no other model needs after their removal, except for those in `explicit`."""
    removed: set[str] = set()
    kept = set(explicit)
    waiting = list(ids)
    while waiting:
        gone = waiting.pop()
        removed.add(gone)
        for member in graph.get(gone, ()):
            used = any(
                other not in removed and any(member.id == needed.id for needed in members)
                for other, members in graph.items()
            )
            if member.id is not None and member.id not in removed | kept and not used:
                waiting.append(member.id)
    return removed


_CIRCULAR = "circular dependency between ensembles"
_LACKS = "contains models that are not available or ambiguous"


def is_of_graph(error: str) -> bool:
    """Whether a model's error is one of `graph_errors`."""
    return error.startswith(_CIRCULAR) or _LACKS in error


def graph_errors(ids: Iterable[str], graph: Graph) -> dict[str, str]:
    """The ensembles among `ids` that cannot be put together, each with its error."""
    errors: dict[str, str] = {}
    ordered = sorted(ids)
    for key in ordered:
        missing = next((member.name for member in graph[key] if member.id is None), None)
        if missing is not None:
            errors[key] = f"ensemble {key} {_LACKS}: {missing}"
    for key in ordered:
        if key not in errors and (error := _cycle(key, key, graph, errors, set())):
            errors[key] = error
    return errors


def _cycle(start: str, current: str, graph: Graph, errors: dict[str, str], seen: set[str]) -> str | None:
    seen.add(current)
    for member in graph[current]:
        if member.id == start:
            return f"{_CIRCULAR}: {start} -> ... -> {current} -> {start}"
        if member.id is None or member.id in seen:
            continue
        if error := _cycle(start, member.id, graph, errors, seen):
            errors[current] = error
            return error
    return None
