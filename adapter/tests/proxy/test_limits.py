"""Meters: the arithmetic of limits, with a clock that the test sets."""

from triton_adapter.proxy.limits import Meter


def test_a_minute_begins_with_its_first_request_and_refuses_when_it_is_full() -> None:
    meter = Meter(rpm=2)
    for now in (100.0, 130.0):
        assert meter.refusal(now) is None
        meter.begin(now)
    assert meter.refusal(140.0) == ("2 requests per minute", 20.0)
    assert meter.refusal(160.0) is None
    meter.begin(160.0)
    assert meter.requests == 1


def test_tokens_are_counted_when_an_answer_ends() -> None:
    meter = Meter(tpm=10)
    meter.begin(0.0)
    meter.end(9)
    assert meter.refusal(1.0) is None
    meter.begin(1.0)
    meter.end(9)
    assert meter.refusal(2.0) == ("10 tokens per minute", 58.0)
    assert (meter.used(2.0), meter.used(60.0)) == (18, 0)


def test_requests_at_a_time_are_freed_as_they_end() -> None:
    meter = Meter(parallel=1)
    meter.begin(0.0)
    assert meter.refusal(0.0) == ("1 requests at a time", 1.0)
    meter.end(0)
    assert meter.refusal(0.0) is None


def test_the_headers_are_openais() -> None:
    meter = Meter(rpm=3, tpm=100)
    meter.begin(0.0)
    meter.end(40)
    assert dict(meter.headers(30.0)) == {
        b"x-ratelimit-limit-requests": b"3",
        b"x-ratelimit-remaining-requests": b"2",
        b"x-ratelimit-reset-requests": b"30s",
        b"x-ratelimit-limit-tokens": b"100",
        b"x-ratelimit-remaining-tokens": b"60",
        b"x-ratelimit-reset-tokens": b"30s",
    }
    assert dict(meter.headers(90.0))[b"x-ratelimit-remaining-tokens"] == b"100"
    assert Meter().headers(0.0) == []
