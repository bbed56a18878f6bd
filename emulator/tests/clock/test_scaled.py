"""Scaled and real clocks: latencies are waited for, and shown as they were modelled."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from triton_emulator import Emulator, Session, fault
from triton_emulator.cli.command_line import UsageError, parse

SETTINGS = (
    "models: {vllm: {behaviour: text, length: 4, time_to_first_token_ms: 20000, time_per_token_ms: 2000}}"
)


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session in which a second takes a millisecond."""
    path = tmp_path_factory.mktemp("settings") / "emulator.yaml"
    path.write_text(SETTINGS)
    with Emulator(emulator_config=path) as emulator, emulator.session(clock=0.001) as session:
        yield session


def test_a_stream_takes_as_long_as_its_latencies_say(timed: Session) -> None:
    request = {"text_input": "hi", "stream": True}
    httpx.post(f"{timed.http_url}/v2/models/vllm/generate_stream", json=request)
    entry = timed.requests.last
    # uvloop's timers count milliseconds, and may end one early: a second here
    assert [event.seconds >= least for event, least in zip(entry.events, (19, 20, 21, 22), strict=True)] == [
        True,
        True,
        True,
        True,
    ]
    (found,) = httpx.get(f"{timed.http_url}/v2/models/vllm/stats").json()["model_stats"]
    assert found["inference_stats"]["compute_infer"]["ns"] >= 22_000_000_000


def test_a_fault_takes_as_long_as_it_says(timed: Session) -> None:
    timed.inject(fault.delay(30), operation="server_ready")
    assert httpx.get(f"{timed.http_url}/v2/health/ready").status_code == 200
    assert timed.requests.last.seconds >= 29


@pytest.mark.parametrize(
    ("text", "value"), [("real", "real"), ("virtual", "virtual"), ("0.01", 0.01), ("2", 2.0)]
)
def test_the_command_has_the_option_as_a_flag(text: str, value: str | float) -> None:
    assert parse([f"--clock={text}"]).settings.clock == value


@pytest.mark.parametrize("text", ["fast", "0", "-1", "nan", "inf", "1e999", ""])
def test_a_flag_that_is_no_clock_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--clock takes real, virtual or a number above 0, such as 0\.01"):
        parse([f"--clock={text}"])


def test_the_repr_of_a_clock_names_it(tmp_path: Path, timed: Session) -> None:
    assert repr(timed.clock).startswith("<ScaledClock 0.001, ")
