"""Trace settings: inheritance, checks, sampling."""

from collections.abc import Callable

import pytest

from triton_emulator.protocol.errors import Code, TritonError
from triton_emulator.protocol.personality import DEFAULT_VERSION, personality
from triton_emulator.session.trace import (
    Changes,
    Level,
    TraceSetting,
    TraceSettings,
    parse_count,
    parse_level,
    parse_unsigned,
)
from triton_emulator.settings import Settings

ON = frozenset({"TIMESTAMPS"})
FILE = "/nonexistent/trace.json"


def with_file() -> TraceSettings:
    return TraceSettings(TraceSetting(), FILE)


def test_all_values_are_shown_as_text() -> None:
    assert TraceSettings().show() == {
        "trace_level": ["OFF"],
        "trace_rate": "1000",
        "trace_count": "-1",
        "log_frequency": "0",
        "trace_file": "",
        "trace_mode": "triton",
    }


def test_what_a_server_is_started_with_is_shown_unchecked() -> None:
    settings = Settings(
        trace_level=("TENSORS", "OFF", "TIMESTAMPS"), trace_rate=-1, trace_count=-5, trace_log_frequency=-2
    )
    shown = TraceSettings.of(settings, personality(DEFAULT_VERSION)).show()
    assert shown["trace_level"] == ["TIMESTAMPS", "TENSORS"]
    assert (shown["trace_rate"], shown["trace_count"], shown["log_frequency"]) == (
        "4294967295",
        "-5",
        "4294967294",
    )


def test_opentelemetry_shows_its_own_settings_in_place_of_the_file() -> None:
    shown = TraceSettings(mode="opentelemetry", mode_settings=(("url", "http://x"),)).show()
    assert list(shown) == [
        "trace_level",
        "trace_rate",
        "trace_count",
        "trace_mode",
        "url",
        "bsp_max_export_batch_size",
        "bsp_schedule_delay",
        "bsp_max_queue_size",
    ]


def test_a_model_takes_over_what_it_has_not_set_itself() -> None:
    trace = TraceSettings()
    trace.update({"rate": 5}, "two")
    trace.update({"rate": 9, "count": 4})
    assert (trace.show("two")["trace_rate"], trace.show("two")["trace_count"]) == ("5", "4")
    assert trace.show("other")["trace_rate"] == "9"


def test_clearing_a_models_last_value_makes_it_follow_again() -> None:
    trace = TraceSettings()
    trace.update({"rate": 5}, "two")
    trace.update({"rate": None}, "two")
    trace.update({"rate": 9})
    assert trace.show("two")["trace_rate"] == "9"


def test_clearing_a_general_value_returns_to_the_start() -> None:
    trace = TraceSettings(TraceSetting(rate=7))
    trace.update({"rate": 9})
    trace.update({"rate": None})
    assert trace.show()["trace_rate"] == "7"


@pytest.mark.parametrize(
    "trace, changes, message",
    [
        pytest.param(
            TraceSettings(), {"level": ON}, ":trace file name is not given", id="no file to trace to"
        ),
        pytest.param(
            with_file(), {"level": ON, "rate": 0}, ":sample rate must be non-zero", id="a rate of zero"
        ),
        pytest.param(with_file(), {"level": ON, "count": 0}, ":", id="a count of zero has no reason"),
        pytest.param(
            TraceSettings(),
            {"level": ON, "rate": 0},
            ":sample rate must be non-zero",
            id="the rate before the file",
        ),
    ],
)
def test_tracing_is_not_turned_on_with_invalid_settings(
    trace: TraceSettings, changes: Changes, message: str
) -> None:
    with pytest.raises(TritonError) as caught:
        trace.update(changes)
    assert caught.value.code is Code.INVALID_ARG
    assert caught.value.message == f"Attempting to set invalid trace setting {message}"
    assert trace.show()["trace_level"] == ["OFF"]


def test_a_general_change_ends_at_the_first_model_by_name_that_it_does_not_fit() -> None:
    trace = with_file()
    for name in ("c", "a"):
        trace.update({"rate": 7}, name)
    trace.update({"rate": 0}, "b")
    with pytest.raises(TritonError, match="sample rate must be non-zero"):
        trace.update({"level": ON})
    levels = {name: trace.show(name)["trace_level"] for name in ("", "a", "b", "c")}
    assert levels == {"": ["TIMESTAMPS"], "a": ["TIMESTAMPS"], "b": ["OFF"], "c": ["OFF"]}


def test_every_rate_th_request_is_traced_until_the_count_is_used_up() -> None:
    trace = with_file()
    trace.update({"level": ON, "rate": 2, "count": 2})
    assert [trace.sample("m") for _ in range(7)] == [False, True, False, True, False, False, False]
    assert trace.show()["trace_count"] == "0"


def test_a_model_with_settings_of_its_own_is_counted_by_itself() -> None:
    trace = with_file()
    trace.update({"level": ON, "rate": 1})
    trace.update({"count": 1}, "own")
    assert [trace.sample("own"), trace.sample("own"), trace.sample("other")] == [True, False, True]


def test_nothing_is_traced_while_it_is_off() -> None:
    assert not TraceSettings().sample("m")


@pytest.mark.parametrize(
    "names, level",
    [
        (["OFF"], frozenset()),
        (["TENSORS", "x"], frozenset({"TENSORS"})),
        (["x"], None),
        ([], None),
        (["MAX"], None),
    ],
    ids=str,
)
def test_a_level_is_made_of_the_names_that_are_known(names: list[str], level: Level | None) -> None:
    assert parse_level(names) == level


def test_off_stands_alone() -> None:
    with pytest.raises(TritonError) as caught:
        parse_level(["TENSORS", "OFF"])
    assert caught.value.message == "Expect only one trace level 'OFF' is specified"


@pytest.mark.parametrize(
    "text, value", [("7", 7), (" +8x", 8), ("-1", 4294967295), ("-2147483648", 2147483648), ("1.5", 1)]
)
def test_a_rate_is_read_signed_and_kept_unsigned(text: str, value: int) -> None:
    assert parse_unsigned("trace_rate", text) == value


@pytest.mark.parametrize(
    "parse, text, message",
    [
        (parse_unsigned, "x", "Unable to parse 'n', got: x"),
        (parse_unsigned, "", "Unable to parse 'n', got: "),
        (
            parse_unsigned,
            "4294967295",
            "Unable to parse 'n', value is out of range [ 0, 4294967295 ], got: 4294967295",
        ),
        (
            parse_count,
            "2147483648",
            "Unable to parse 'n', value is out of range [ -1, 2147483647 ], got: 2147483648",
        ),
        (
            parse_count,
            "9" * 5000,
            f"Unable to parse 'n', value is out of range [ -1, 2147483647 ], got: {'9' * 5000}",
        ),
    ],
    ids=["a word", "nothing", "32 bits are too many", "31 bits are too many", "very many digits"],
)
def test_what_is_no_number_is_refused(parse: Callable[[str, str], int], text: str, message: str) -> None:
    with pytest.raises(TritonError) as caught:
        parse("n", text)
    assert caught.value.message == message
