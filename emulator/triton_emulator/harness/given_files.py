"""Plans and stubs of `emulator.yaml` files and of flags: they stand for every session that reads them.

They are made when a session has started, and anew when it is reset.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import yaml

from triton_emulator.harness.given import FieldError, GivenPlan, GivenStub, plan_of, stub_of
from triton_emulator.harness.given_text import plan_of_text
from triton_emulator.harness.stubs import Stubs
from triton_emulator.yaml_nodes import SettingsError, YamlFile, plain

#: makes the refusal of a field: its file, its line and what is wrong
Refuse = Callable[[FieldError], SettingsError]


@dataclass(frozen=True, slots=True)
class FileStub:
    """A stub of a file, with the place of its fields."""

    stub: GivenStub
    refuse: Refuse

    def arm(self, stubs: Stubs, secrets: Collection[str]) -> None:
        """Make the stub. Raises SettingsError where the model's config has no such tensor."""
        try:
            self.stub.arm(stubs, secrets)
        except FieldError as error:
            raise self.refuse(error) from None


@dataclass(frozen=True, slots=True)
class Given:
    """What is given to a session."""

    plans: tuple[GivenPlan, ...] = ()
    stubs: tuple[FileStub, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.plans or self.stubs)


def given_by(flags: Iterable[str], sections: Iterable[tuple[YamlFile, Mapping[str, yaml.Node]]]) -> Given:
    """What the texts of `--fault` and the sections of files give. Raises SettingsError and ValueError."""
    plans = [plan_of_text(text) for text in flags]
    stubs: list[FileStub] = []
    for file, nodes in sections:
        for given, refuse in _items(file, nodes.get("faults"), "fault"):
            try:
                plans.append(plan_of(given))
            except FieldError as error:
                raise refuse(error) from None
        for given, refuse in _items(file, nodes.get("stubs"), "stub"):
            try:
                stubs.append(FileStub(stub_of(given), refuse))
            except FieldError as error:
                raise refuse(error) from None
    return Given(tuple(plans), tuple(stubs))


def _items(file: YamlFile, section: yaml.Node | None, what: str) -> Iterator[tuple[dict[str, Any], Refuse]]:
    """The entries of a section as mappings, each with what refuses one of its fields. Raises SettingsError."""
    for number, item in enumerate(() if section is None else file.items(section, f"'{what}s'"), start=1):
        where = f"{what} {number}"
        nodes: dict[str, yaml.Node] = {}
        given: dict[str, Any] = {}
        for name, key, value in file.pairs(item, where):
            nodes[name] = key
            try:
                given[name] = plain(value)
            except ValueError as error:
                raise file.error(value, f"'{name}' of {where} {error}") from None
        yield given, partial(_refusal, file, item, nodes, where)


def _refusal(
    file: YamlFile, item: yaml.Node, nodes: Mapping[str, yaml.Node], where: str, error: FieldError
) -> SettingsError:
    return file.error(nodes.get(error.field, item), f"'{error.field}' of {where}: {error}")
