"""Reading `config.pbtxt`: an error names its place in the file."""

from pathlib import Path

import pytest

from triton_emulator.cxx.text_format import Fault
from triton_emulator.repository.config.pbtxt import ConfigError, parse_config


def test_a_fault_is_reported_with_file_line_and_column() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config('name: "x"\ninput {\n  nome: 3 }', Path("m/config.pbtxt"))
    assert caught.value.faults == (
        Fault(3, 7, 'Message type "inference.ModelInput" has no field named "nome".'),
    )
    assert str(caught.value) == f"m/config.pbtxt:{caught.value.faults[0]}"


def test_the_first_of_many_faults_are_told() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config('name: "' + "\\q" * 1_000_000 + '"')
    assert len(caught.value.faults) == 100
    assert str(caught.value).startswith(
        "config.pbtxt:1:9: Invalid escape sequence in string literal.; 1:11: "
    )
    assert str(caught.value).endswith("; and 96 more")


@pytest.mark.parametrize(
    "text",
    [
        "input [ {", "}", "\x00", "input {" * 5000, "input: " + "[" * 5000, "a{" * 5000, "dims: [" * 3000,
        "[type.googleapis.com/x] { }", "parameters { key: }", "1: 2", "name", ":",
        "dynamic_batching{} sequence_batching{}", "input { dims: 99999999999999999999 }", "name: 'x' 'y",
        "sequence_batching { direct { minimum_slot_utilization: abc } }",
    ],
)  # fmt: skip
def test_garbage_is_one_error_and_no_crash(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(text)


def test_a_config_of_a_megabyte_is_read() -> None:
    entry = 'parameters {{ key: "k{}" value {{ string_value: "{}" }} }}\n'
    config = parse_config("".join(entry.format(number, "x" * 1000) for number in range(1000)))
    assert len(config.parameters) == 1000


def test_a_config_is_the_readers_own_though_its_text_is_parsed_once() -> None:
    first = parse_config('name: "m"')
    first.name = "changed"
    assert parse_config('name: "m"').name == "m"
