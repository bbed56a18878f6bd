"""Which models an ensemble needs: pure functions over the configurations of all polled models."""

from collections.abc import Iterable, Mapping

from triton_emulator.repository.schema import Proto

Configs = Mapping[str, Proto]


def members(config: Proto) -> list[tuple[str, int]]:
    """The name and the version (-1 for the newest) of each step's model, in the order of the steps."""
    return [(step.model_name, step.model_version) for step in config.ensemble_scheduling.step]


def dependents(names: Iterable[str], configs: Configs) -> set[str]:
    """`names` and every ensemble that needs one of them, directly or through another ensemble."""
    found = set(names)
    grown = True
    while grown:
        more = {
            name
            for name, config in configs.items()
            if name not in found and any(member in found for member, _ in members(config))
        }
        found |= more
        grown = bool(more)
    return found


def only_needed_by(names: Iterable[str], configs: Configs, explicit: Iterable[str]) -> set[str]:
    """`names` and the members that nothing else needs once they are gone, but for those in `explicit`."""
    removed: set[str] = set()
    kept = set(explicit)
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        removed.add(name)
        if name not in configs:
            continue
        for member, _ in members(configs[name]):
            used = any(
                other not in removed and any(member == needed for needed, _ in members(config))
                for other, config in configs.items()
            )
            if member in configs and member not in removed and member not in kept and not used:
                waiting.append(member)
    return removed


def graph_errors(names: Iterable[str], configs: Configs) -> dict[str, str]:
    """The ensembles among `names` that cannot be put together, each with its error."""
    errors: dict[str, str] = {}
    for name in sorted(names):
        missing = next((member for member, _ in members(configs[name]) if member not in configs), None)
        if missing is not None:
            errors[name] = f"ensemble {name} contains models that are not available or ambiguous: {missing}"
    for name in sorted(names):
        if name not in errors and (error := _cycle(name, name, configs, errors, set())):
            errors[name] = error
    return errors


def _cycle(start: str, current: str, configs: Configs, errors: dict[str, str], seen: set[str]) -> str | None:
    seen.add(current)
    for member, _ in members(configs[current]):
        if member == start:
            return f"circular dependency between ensembles: {start} -> ... -> {current} -> {start}"
        if member in seen or member not in configs:
            continue
        if error := _cycle(start, member, configs, errors, seen):
            errors[current] = error
            return error
    return None
