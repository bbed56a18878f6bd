"""What the emulator's verdict says of the adapter and of the proxy, with OpenAI's client in front of it."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from adapter.tests.proxy.serving import MASTER, entry, serve
from triton_adapter import AdapterError, completion
from triton_emulator import Emulator, Session, fault

HELLO: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
def watched() -> Iterator[Session]:
    """A session with a journal."""
    with Emulator() as emulator, emulator.session() as session:
        yield session


@pytest.fixture
def client(watched: Session) -> Iterator[openai.OpenAI]:
    """OpenAI's client of a proxy in front of a session. Neither of them tries again."""
    model = entry("m", watched.http_url, "vllm", max_retries=0)
    with (
        serve(model) as proxy,
        openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=MASTER, max_retries=0, timeout=60) as client,
    ):
        yield client


def test_the_proxy_does_nothing_wrong(watched: Session, client: openai.OpenAI) -> None:
    for _ in range(3):
        client.chat.completions.create(model="m", messages=HELLO)
        list(client.chat.completions.create(model="m", messages=HELLO, stream=True))
    assert watched.requests.count >= 6
    assert watched.verdict().findings == ()


def test_a_stream_that_breaks_is_named_so_that_a_test_can_look_at_what_the_client_made_of_it(
    watched: Session, client: openai.OpenAI
) -> None:
    watched.inject(fault.cut(after_events=2), operation="generate_stream")
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="m", messages=HELLO, stream=True))
    (finding,) = watched.verdict().findings
    assert (finding.rule, finding.level) == ("cut_stream_taken_as_whole", "check")


def test_the_adapter_that_is_told_to_wait_for_nothing_is_found_out(watched: Session) -> None:
    watched.inject(fault.error(503, "overloaded"), model="custom_llm", times=20)
    answer = completion("triton/custom_llm", HELLO, api_base=watched.http_url, num_retries=20, retry_delay=0)
    assert answer.choices[0].message.content
    assert "retry_without_pause" in watched.verdict().rules


def test_the_adapter_by_itself_pauses(watched: Session) -> None:
    watched.inject(fault.error(503, "overloaded"), model="custom_llm", times=1)
    completion("triton/custom_llm", HELLO, api_base=watched.http_url, num_retries=1)
    assert watched.verdict().findings == ()


def test_the_adapter_does_not_come_before_it_is_to(watched: Session) -> None:
    watched.inject(fault.error(503, "overloaded", retry_after=1), model="custom_llm")
    completion("triton/custom_llm", HELLO, api_base=watched.http_url, num_retries=1)
    assert watched.verdict().findings == ()


def test_an_error_in_a_stream_is_named(watched: Session) -> None:
    watched.inject(fault.error_event("out of memory", after_events=2), operation="generate_stream")
    with pytest.raises(AdapterError, match="out of memory"):
        list(completion("triton/vllm", HELLO, api_base=watched.http_url, stream=True, num_retries=0))
    assert watched.verdict().rules == ("error_event_ignored",)
