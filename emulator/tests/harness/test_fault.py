"""Faults as values: what means nothing is refused when it is made, with what would be right."""

from collections.abc import Callable

import pytest

from triton_emulator import Fault, Session, fault

pytestmark = pytest.mark.triton(model_control_mode="explicit", load_models=("simple",), allow=("unfired",))


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: fault.error(200), "the status of an error is 400 to 599, not 200"),
        (
            lambda: fault.error("OK"),
            "'OK' is no error of gRPC; the names are CANCELLED, UNKNOWN, INVALID_ARGUMENT",
        ),
        (lambda: fault.error("OVERLOADED"), "'OVERLOADED' is no error of gRPC; the names are CANCELLED"),
        (lambda: fault.delay(-1), "seconds is a number, 0 or more, not -1"),
        (lambda: fault.delay(float("nan")), "seconds is a number, 0 or more, not nan"),
        (lambda: fault.delay(float("inf")), "seconds is a number, 0 or more, not inf"),
        (lambda: fault.delay("1"), "seconds is a number, 0 or more, not '1'"),  # type: ignore[arg-type]
        (lambda: fault.cut(after_events=-1), "after_events is a whole number, 0 or more, not -1"),
        (lambda: fault.cut(after_bytes=True), "after_bytes is a whole number, 0 or more, not True"),
        (lambda: fault.drip(0), "bytes_per_second is above 0"),
        (lambda: fault.not_ready(requests=0), "requests is 1 or more"),
        (lambda: fault.truncated_binary("OUT", bytes=0), "bytes is 1 or more"),
        (lambda: fault.wrong_output("OUT", datatype="FLOAT"), "datatype is one of BOOL, UINT8"),
        (lambda: fault.wrong_output("OUT", values=[]), "values has at least one element"),
        (
            lambda: fault.wrong_output("OUT", shape=[10**6, 10**6]),
            "shape has at most 32 dimensions and 67108864 elements, not",
        ),
        (lambda: fault.wrong_output("OUT", shape=[1] * 33), "shape has at most 32 dimensions"),
        (
            lambda: fault.wrong_output("OUT", shape=[-1]),
            "a dimension of shape is a whole number, 0 or more, not -1",
        ),
        (
            lambda: fault.reset() + fault.delay(1),
            "fault.reset() is the whole answer; fault.delay(1) cannot change it",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_means_nothing_is_refused(make: Callable[[], Fault], text: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  (the whole text is compared)
        make()
    assert str(refused.value).startswith(text)


@pytest.mark.parametrize(
    "make, text",
    [
        (
            lambda: fault.error(None),  # type: ignore[arg-type]
            "an HTTP status, the name of a gRPC status or a Code of Triton, not None",
        ),
        (lambda: fault.error(503, b"no"), "message is a str, not b'no'"),  # type: ignore[arg-type]
        (fault.cut, "cut takes after_events or after_bytes"),
        (lambda: fault.cut(after_events=1, after_bytes=1), "cut takes after_events or after_bytes"),
        (fault.not_ready, "not_ready takes seconds or requests"),
        (
            lambda: fault.wrong_output("OUT"),
            "wrong_output takes drop=True, or some of shape, datatype and values",
        ),
        (
            lambda: fault.wrong_output("OUT", drop=True, shape=[1]),
            "wrong_output takes drop=True, or some of shape, datatype and values",
        ),
        (lambda: fault.wrong_output(1, drop=True), "name is a str, not 1"),  # type: ignore[arg-type]
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_of_another_type_is_refused(make: Callable[[], Fault], text: str) -> None:
    with pytest.raises(TypeError) as refused:
        make()
    assert str(refused.value) == text


@pytest.mark.parametrize(
    "wrong, options, text",
    [
        (fault.cut(after_events=1), {"operation": "infer"}, "needs generate_stream and stream_infer"),
        (fault.cut(after_bytes=1), {"protocol": "grpc"}, "needs HTTP, where a body has bytes of its own"),
        (fault.empty(), {"protocol": "grpc"}, "needs HTTP, where a request has a connection of its own"),
        (fault.drip(1), {"operation": "stream_infer"}, "needs HTTP, where a body has bytes of its own"),
        (
            fault.missing_final(),
            {"operation": "generate_stream"},
            "needs stream_infer, which alone has the flag",
        ),
        (fault.error_event("x"), {"operation": "generate"}, "needs generate_stream and stream_infer"),
        (fault.wrong_output("X", drop=True), {"operation": "server_ready"}, "needs inference"),
        (fault.truncated_binary("X"), {"operation": "generate"}, "needs infer"),
        (fault.not_ready(seconds=1), {"operation": "logging"}, "needs readiness and inference"),
        (fault.queue_full(), {"operation": "model_ready"}, "needs inference"),
        (
            fault.unloaded(),
            {"operation": "repository_load"},
            "needs an operation of one model, other than its load and unload",
        ),
    ],
    ids=repr,
)
def test_a_fault_that_makes_no_sense_for_an_operation_or_a_protocol_is_refused(
    triton: Session, wrong: Fault, options: dict[str, str], text: str
) -> None:
    asked = " over ".join(options.values())
    with pytest.raises(ValueError) as refused:  # noqa: PT011  (the whole text is compared)
        triton.inject(wrong, **options)  # type: ignore[arg-type]
    assert str(refused.value) == f"{wrong} makes no sense for {asked}; it {text}"
    assert not triton.plans


def test_parts_that_no_operation_has_a_place_for_together_are_refused(triton: Session) -> None:
    with pytest.raises(
        ValueError, match=r"^no operation has a place for all parts of fault\.missing_final\(\)"
    ):
        triton.inject(fault.missing_final() + fault.cut(after_bytes=5))


@pytest.mark.parametrize(
    "options, text",
    [
        ({"operation": "inference"}, "'inference' is no operation; did you mean 'infer'?"),
        ({"protocol": "https"}, "protocol is 'http' or 'grpc', not 'https'"),
        ({"times": 0}, "times is a whole number, 1 or more (None, in a file null, is for ever), not 0"),
        ({"after": -1}, "after is a whole number, 0 or more, not -1"),
        ({"probability": 2}, "probability is above 0 and at most 1, not 2"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_criteria_that_mean_nothing_are_refused(
    triton: Session, options: dict[str, object], text: str
) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  (the whole text is compared)
        triton.inject(fault.delay(0), **options)  # type: ignore[arg-type]
    assert str(refused.value) == text


def test_a_fault_that_says_how_long_it_lasts_takes_no_times(triton: Session) -> None:
    with pytest.raises(ValueError, match="says how long it lasts; leave `times` out"):
        triton.inject(fault.not_ready(requests=2), times=3)


def test_what_is_no_fault_is_refused(triton: Session) -> None:
    with pytest.raises(
        TypeError, match=r"a fault is made by triton_emulator.fault, for example fault.error\(503\)"
    ):
        triton.inject(503)  # type: ignore[arg-type]


def test_a_fault_reads_as_it_was_written() -> None:
    wrong = fault.delay(0.5) + fault.error(503, "overloaded")
    assert repr(wrong) == "fault.delay(0.5) + fault.error(503, 'overloaded')"
