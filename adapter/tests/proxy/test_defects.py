# ruff: noqa: N802 - the numbers are names
"""The defects that were found in LiteLLM's proxy for Triton, by number. This proxy has none of them."""

import json
import subprocess
import sys
from typing import Any

import httpx
import openai
import pytest

from adapter.tests.proxy.serving import BEARER, HELLO, MASTER, chat, entry, error_of, events, get, post, serve
from adapter.tests.upstream import Upstream, http
from triton_adapter.proxy import ProxyServer


def test_D1_an_error_in_mid_stream_is_an_event_and_no_stop(proxy: ProxyServer) -> None:
    told = events(chat(proxy, "vllm", "BREAK 2 one two three", stream=True).text)
    assert told[-1]["error"]["message"] == "the engine broke in the middle"
    assert "[DONE]" not in told
    assert not any(choice["finish_reason"] for one in told[:-1] for choice in one["choices"])


def test_D2_a_stream_of_a_model_called_by_infer_has_its_text(triton: str) -> None:
    with serve(entry("m", f"{triton}/v2/models/flat/infer", "flat")) as proxy:
        told = events(chat(proxy, content="SAY one two", stream=True).text)
    text = "".join(choice["delta"].get("content", "") for one in told[:-1] for choice in one["choices"])
    assert (text, told[-1]) == ("one two", "[DONE]")


def test_D3_the_users_question_is_sent_with_the_system_prompt(triton: str) -> None:
    messages = [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "Who are you?"}]
    with serve(entry("m", f"{triton}/v2/models/flat/infer", "flat")) as proxy:
        reply = post(proxy, "/chat/completions", {"model": "m", "messages": messages})
    assert "Who are you?" in reply.json()["choices"][0]["message"]["content"]
    assert "Be terse." in reply.json()["choices"][0]["message"]["content"]


def test_D4_the_configs_chat_template_is_used(triton: str) -> None:
    with serve(entry("m", triton, "flat", chat_template="chatml")) as proxy:
        said = chat(proxy, content="Hi").json()["choices"][0]["message"]["content"]
    assert said == "You said: <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_D5_n_choices_are_n_choices_whole_and_streamed(proxy: ProxyServer) -> None:
    whole = chat(proxy, "vllm", "SAY hi", n=2).json()
    assert [choice["index"] for choice in whole["choices"]] == [0, 1]
    told = events(chat(proxy, "vllm", "SAY hi", n=2, stream=True).text)
    ended = {choice["index"] for one in told[:-1] for choice in one["choices"] if choice["finish_reason"]}
    assert ended == {0, 1}


def test_D6_the_prompt_is_not_part_of_the_answer(proxy: ProxyServer) -> None:
    assert chat(proxy, "vllm", "SAY hi").json()["choices"][0]["message"]["content"] == "hi"


def test_D7_each_prompt_has_its_choice_and_a_suffix_is_refused(proxy: ProxyServer) -> None:
    reply = post(proxy, "/v1/completions", {"model": "flat", "prompt": ["SAY a", "SAY b"]}).json()
    assert [choice["text"] for choice in reply["choices"]] == ["a", "b"]
    refused = post(proxy, "/v1/completions", {"model": "flat", "prompt": "SAY a", "suffix": "."})
    assert error_of(refused) == (400, "suffix", "unsupported_parameter")


def test_D8_what_is_dropped_is_listed_in_a_header(triton: str) -> None:
    asked: dict[str, Any] = {"temperature": 0.5, "n": 3, "response_format": {"type": "json_object"}}
    with serve(entry("m", triton, "flat")) as proxy:
        assert error_of(chat(proxy, **asked))[2] == "unsupported_parameter"
        wanted = chat(proxy, **asked, drop_params=True)
    with serve(entry("m", triton, "flat"), litellm_settings={"drop_params": True}) as proxy:
        told = chat(proxy, **asked)
    for reply in (wanted, told):
        assert len(reply.json()["choices"]) == 3
        dropped = reply.headers["x-litellm-dropped-params"].split(",")
        assert sorted(dropped) == ["response_format", "temperature"]
    assert "x-litellm-dropped-params" not in chat_headers(triton)


def chat_headers(triton: str) -> httpx.Headers:
    with serve(entry("m", triton, "flat")) as proxy:
        return chat(proxy).headers


def test_D9_one_embedding_for_each_input_however_many_outputs_there_are(proxy: ProxyServer) -> None:
    reply = post(proxy, "/embeddings", {"model": "embed", "input": ["a", "b"]}).json()
    assert [item["index"] for item in reply["data"]] == [0, 1]


def test_D11_the_clients_default_encoding_is_answered(proxy: ProxyServer) -> None:
    with openai.OpenAI(api_key=MASTER, base_url=proxy.url) as client:
        reply = client.embeddings.create(input=["hello from litellm"], model="embed")
    assert len(reply.data[0].embedding) == 4


def test_D12_an_embedding_takes_a_string_and_refuses_nothing(proxy: ProxyServer) -> None:
    assert len(post(proxy, "/embeddings", {"model": "embed", "input": "one"}).json()["data"]) == 1
    empty = post(proxy, "/embeddings", {"model": "embed", "input": []})
    assert error_of(empty)[:2] == (400, "input")


def test_D13_a_model_with_a_batch_dimension_works(proxy: ProxyServer) -> None:
    assert chat(proxy, "trtllm", "SAY hi").json()["choices"][0]["message"]["content"] == "hi"


def test_D14_a_decoupled_model_at_an_infer_address_is_called_by_generate(triton: str) -> None:
    with serve(entry("m", f"{triton}/v2/models/vllm/infer", "vllm")) as proxy:
        assert chat(proxy, content="SAY hi").json()["choices"][0]["message"]["content"] == "hi"


def test_D15_max_completion_tokens_is_the_limit(proxy: ProxyServer) -> None:
    reply = chat(proxy, "vllm", "SAY a b c d", max_completion_tokens=2).json()
    assert reply["choices"][0]["message"]["content"] == "a b"


def test_D16_a_whole_number_is_a_temperature(proxy: ProxyServer) -> None:
    assert chat(proxy, "trtllm", "SAY hi", temperature=1).status_code == 200


def test_D17_the_reason_of_the_end_and_the_usage_are_the_backends(proxy: ProxyServer) -> None:
    reply = chat(proxy, "vllm", "SAY a b c d", max_tokens=2).json()
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 2
    assert "estimated" not in reply["usage"]


def test_D18_triton_gets_its_key_and_headers(whole_upstream: Upstream) -> None:
    whole_upstream.answer(http(b'{"text_output":"ok"}'))
    params: dict[str, Any] = {"api_key": "gate", "extra_headers": {"x-team": "t"}}
    with serve(entry("m", f"{whole_upstream.url}/v2/models/m/generate", **params)) as proxy:
        assert chat(proxy).status_code == 200
    assert whole_upstream.posts[0].headers["Authorization"] == "Bearer gate"
    assert whole_upstream.posts[0].headers["x-team"] == "t"


def test_D19_text_parts_are_text_and_tool_messages_are_no_crash(proxy: ProxyServer) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "SAY hi"}]}]
    reply = post(proxy, "/chat/completions", {"model": "flat", "messages": parts})
    assert reply.json()["choices"][0]["message"]["content"] == "hi"
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]
    reply = post(proxy, "/chat/completions", {"model": "flat", "messages": messages})
    assert reply.status_code in (200, 400)
    assert "Traceback" not in reply.text


def test_D20_a_tensor_of_any_name_can_be_named_in_the_config(triton: str) -> None:
    names: dict[str, Any] = {
        "prompt_input": "QUERY",
        "text_output": "REPLY",
        "fixed_inputs": {"STYLE": "plain"},
    }
    with serve(entry("m", triton, "renamed", **names)) as proxy:
        assert chat(proxy, content="SAY hi").json()["choices"][0]["message"]["content"] == "hi"


@pytest.mark.parametrize("form", ["", "/", "/generate", "/infer", "/v2", "/generate/", "/generate_stream"])
def test_D21_every_form_of_api_base_works(triton: str, form: str) -> None:
    with serve(entry("m", triton + form, "flat")) as proxy:
        assert chat(proxy, content="SAY hi").json()["choices"][0]["message"]["content"] == "hi"


def test_D21_a_wildcard_sends_each_model_to_its_own_address(proxy: ProxyServer) -> None:
    for model in ("wild/flat", "wild/vllm", "wild/trtllm"):
        reply = chat(proxy, model, "SAY hi").json()
        assert (reply["model"], reply["choices"][0]["message"]["content"]) == (model, "hi")


def test_D22_an_error_in_a_200_is_a_gateways_error(proxy: ProxyServer, whole_upstream: Upstream) -> None:
    for _ in range(3):
        whole_upstream.answer(http(b'{"error":"generate expects model to produce exactly 1 response"}'))
    with serve(entry("m", whole_upstream.url)) as broken:
        reply = chat(broken)
    assert error_of(reply)[0] == 502
    assert reply.json()["error"]["message"].startswith("generate expects model")


def test_D23_a_model_that_raises_is_reported_in_its_own_words(proxy: ProxyServer) -> None:
    reply = chat(proxy, "vllm", "FAIL")
    assert error_of(reply)[0] in (400, 500)
    message = reply.json()["error"]["message"]
    assert '{"error"' not in message
    assert "Traceback" not in message


def test_D24_a_server_that_is_down_is_503_and_a_late_one_504(whole_upstream: Upstream) -> None:
    settings = {"num_retries": 0}
    with serve(entry("m", "http://127.0.0.1:9"), router_settings=settings) as proxy:
        assert error_of(chat(proxy)) == (503, None, "upstream_unavailable")
    whole_upstream.answer(then="hang")
    with serve(entry("m", whole_upstream.url, timeout=0.2), router_settings=settings) as proxy:
        assert error_of(chat(proxy)) == (504, None, "upstream_timeout")


def test_D25_only_triton_is_contacted_and_its_metadata_is_read_once(whole_upstream: Upstream) -> None:
    for _ in range(2):
        whole_upstream.answer(http(b'{"text_output":"ok"}'), then="keep")
    with serve(entry("m", f"{whole_upstream.url}/v2/models/m/generate")) as proxy:
        assert [chat(proxy).status_code for _ in range(2)] == [200, 200]
    asked = [(request.method, request.path) for request in whole_upstream.received]
    assert asked == [
        ("GET", "/v2/models/m"),
        ("GET", "/v2/models/m/config"),
        ("POST", "/v2/models/m/generate"),
        ("POST", "/v2/models/m/generate"),
    ]


def test_D26_a_reply_is_waited_for_ten_minutes_at_most() -> None:
    with serve(entry("m", "http://127.0.0.1:9")) as proxy:
        assert proxy.proxy.catalog.find("m").deployments[0].target.timeout == 600


def test_D27_the_command_imports_nothing_heavy_to_check_a_config() -> None:
    program = (
        "import sys, triton_adapter.cli as cli\n"
        "heavy = {'aiohttp', 'fastapi', 'uvicorn', 'numpy', 'litellm'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_readiness_and_health_never_generate(whole_upstream: Upstream) -> None:
    with serve(entry("m", whole_upstream.url)) as proxy:
        get(proxy, "/health/readiness")
        get(proxy, "/health")
    assert whole_upstream.posts == []


def test_the_metrics_hold_no_credential(proxy: ProxyServer) -> None:
    bad = {"Authorization": "Bearer my-secret-openai-key"}
    assert httpx.post(f"{proxy.url}/chat/completions", headers=bad, content=b"{}").status_code == 401
    text = get(proxy, "/metrics").text
    assert "my-secret" not in text
    assert MASTER not in text


def test_an_unknown_model_tells_nothing_of_the_config(proxy: ProxyServer) -> None:
    message = chat(proxy, "nope").json()["error"]["message"]
    assert message == "The model 'nope' does not exist"


def test_every_reply_names_its_model_however_it_was_asked(triton: str) -> None:
    settings = {"fallbacks": [{"m": ["n"]}], "num_retries": 0}
    models = entry("m", "http://127.0.0.1:9", "flat"), entry("n", triton, "flat")
    with serve(*models, router_settings=settings) as proxy:
        for path in (
            "/chat/completions",
            "/engines/m/chat/completions",
            "/openai/deployments/m/chat/completions",
        ):
            assert post(proxy, path, {"model": "m", "messages": HELLO}).json()["model"] == "m"


def test_the_chunks_of_a_stream_are_whole(proxy: ProxyServer) -> None:
    told: list[Any] = events(chat(proxy, "vllm", "SAY a b", stream=True).text)
    for one in told[:-1]:
        assert set(one) == {"id", "object", "created", "model", "choices"}
        assert set(one["choices"][0]) == {"index", "delta", "logprobs", "finish_reason"}


def test_headers_tell_no_address(proxy: ProxyServer, triton: str) -> None:
    reply = chat(proxy, "flat")
    assert triton.removeprefix("http://") not in json.dumps(dict(reply.headers))
    assert httpx.get(f"{proxy.url}/model/info", headers=BEARER).text.count(triton) == 0
