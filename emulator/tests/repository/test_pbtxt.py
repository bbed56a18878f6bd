"""Reading `config.pbtxt`: an error names its place in the file."""

from pathlib import Path

import pytest

from triton_emulator.repository.config.pbtxt import ConfigError, parse_config, read_config


@pytest.mark.parametrize(
    "text, line, column, what",
    [
        ("foo: 1", 1, 1, 'Message type "inference.ModelConfig" has no field named "foo".'),
        (
            'name: "x"\ninput {\n  nome: 3 }', 3, 3, 'Message type "inference.ModelInput" has no field named "nome".'
        ),
        ('\n\n  max_batch_size: "8"', 3, 19, "Couldn't parse integer: \"8\""),
        ("max_batch_size: 2147483648", 1, 17, "Value out of range: 2147483648"),
        ("input { data_type: TYPE_NOPE }", 1, 20, 'Enum type "inference.DataType" has no value named TYPE_NOPE.'),
        (
            'name: "a"\nname: "b"', 2, 7,
            'Message type "inference.ModelConfig" should not have multiple "name" fields.',
        ),
        ('name: "a', 1, 7, "String missing ending quote: '\"a'"),
        ("model_metrics { }", 1, 1, "field 'model_metrics' is unknown to this version of Triton"),
        (
            "ensemble_scheduling { step { } max_inflight_requests: 1 }", 1, 1,
            "field 'max_inflight_requests' is unknown to this version of Triton",
        ),
    ],
)  # fmt: skip
def test_a_fault_is_reported_with_file_line_and_column(text: str, line: int, column: int, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, Path("m/config.pbtxt"))
    error = caught.value
    assert (error.line, error.column, error.what) == (line, column, what)
    assert str(error) == f"m/config.pbtxt:{line}:{column}: {what}"


@pytest.mark.parametrize(
    "text",
    [
        "input [ {", "}", "\x00", "input {" * 5000, "input: " + "[" * 5000, "a{" * 5000, "dims: [" * 3000,
        "[type.googleapis.com/x] { }", "parameters { key: }", 'name: "\\xff"', "1: 2", "name", ":",
        "dynamic_batching{} sequence_batching{}", "input { dims: 99999999999999999999 }", "name: 'x' 'y",
        "sequence_batching { direct { minimum_slot_utilization: abc } }",
    ],
)  # fmt: skip
def test_garbage_is_one_error_and_no_crash(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(text)


def test_a_file_that_is_not_utf8_is_reported_where_it_breaks(tmp_path: Path) -> None:
    path = tmp_path / "config.pbtxt"
    path.write_bytes(b'backend: "python"\nname: "\xff"\n')
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value) == f"{path}:2:8: not valid UTF-8"


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path)
    assert caught.value.what == "Is a directory"


def test_a_config_of_a_megabyte_is_read() -> None:
    entry = 'parameters {{ key: "k{}" value {{ string_value: "{}" }} }}\n'
    config = parse_config("".join(entry.format(number, "x" * 1000) for number in range(1000)))
    assert len(config.parameters) == 1000


def test_a_config_is_the_readers_own_though_its_text_is_parsed_once() -> None:
    first = parse_config('name: "m"')
    first.name = "changed"
    assert parse_config('name: "m"').name == "m"
