"""The proxy calls of LiteLLM's Triton page: its config, its clients and its curl commands, unchanged.

Only the address of Triton, the port and the key are replaced by those of the test.
"""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI, OpenAI

from adapter.tests.proxy.serving import MASTER
from triton_adapter.cli import main
from triton_adapter.proxy import ProxyServer, read_config
from triton_emulator.emulator import Emulator

PAGE = """\
model_list:
  - model_name: my-triton-model
    litellm_params:
      model: triton/<your-triton-model>"
      api_base: https://your-triton-api-base/triton/{operation}
"""


def started(triton: str, operation: str, model: str) -> ProxyServer:
    """A proxy with the page's config, whose two mistakes are corrected, and with LiteLLM's example master key."""
    text = PAGE.format(operation=operation).replace('<your-triton-model>"', model)
    text = text.replace("https://your-triton-api-base/triton", triton)
    return ProxyServer(read_config(text + "general_settings: {master_key: sk-1234}\n", {}), host="0.0.0.0")


@pytest.fixture(params=["generate", "infer"])
def chatting(request: pytest.FixtureRequest, triton: str) -> Iterator[ProxyServer]:
    with started(triton, request.param, "llama-3-8b-instruct") as server:
        yield server


@pytest.fixture
def embedding(triton: str) -> Iterator[ProxyServer]:
    with started(triton, "embeddings", "embed") as server:
        yield server


def address(proxy: ProxyServer) -> str:
    url = proxy.url
    assert url.startswith("http://0.0.0.0:")
    return url


def test_the_chat_example_of_the_openai_client(chatting: ProxyServer) -> None:
    # set base_url to your proxy server
    # set api_key to send to proxy server
    client = OpenAI(api_key="sk-1234", base_url=address(chatting))

    response = client.chat.completions.create(
        model="my-triton-model",
        messages=[{"role": "user", "content": "who are u?"}],
        max_tokens=10,
    )

    assert response.choices[0].message.content == "You said: who are u?"
    assert response.model == "my-triton-model"
    client.close()


def curl(address: str, data: str) -> dict[str, object]:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("there is no curl")
    command = [
        program,
        "--silent",
        "--location",
        address,
        "--header",
        "Content-Type: application/json",
        "--header",
        "Authorization: Bearer sk-1234",
        "--data",
        data,
    ]
    found: dict[str, object] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def test_the_chat_example_of_curl(chatting: ProxyServer) -> None:
    data = """ {
    "model": "my-triton-model",
    "messages": [{"role": "user", "content": "who are u?"}]
    }"""
    reply = curl(f"{address(chatting)}/chat/completions", data)
    assert reply["object"] == "chat.completion"
    assert reply["choices"][0]["message"]["content"] == "You said: who are u?"  # type: ignore[index]


def test_the_embedding_example_of_the_openai_client(embedding: ProxyServer) -> None:
    client = OpenAI(api_key="sk-1234", base_url=address(embedding))

    response = client.embeddings.create(input=["hello from litellm"], model="my-triton-model")

    assert response.data[0].embedding == [18, 1, 0, -1]
    client.close()


def test_the_embedding_example_of_curl(embedding: ProxyServer) -> None:
    data = """ {
    "model": "my-triton-model",
    "input": ["write a litellm poem"]
    }"""
    reply = curl(f"{address(embedding)}/embeddings", data)
    assert reply["data"][0]["embedding"] == [20, 1, 0, -1]  # type: ignore[index]


@pytest.mark.parametrize("operation", ["generate", "infer", "embeddings"])
def test_the_examples_with_the_pages_own_path_and_an_emulator_of_defaults(operation: str) -> None:
    with Emulator() as emulator:
        text = PAGE.format(operation=operation).replace('<your-triton-model>"', "llama-3-8b-instruct")
        text = text.replace("https://your-triton-api-base", emulator.url)
        assert f"{emulator.url}/triton/{operation}" in text

        async def call(address: str) -> None:
            async with AsyncOpenAI(api_key="sk-1234", base_url=address) as client:
                if operation == "embeddings":
                    found = await client.embeddings.create(
                        input=["hello from litellm"], model="my-triton-model"
                    )
                    assert len(found.data[0].embedding) > 1
                    return
                response = await client.chat.completions.create(
                    model="my-triton-model",
                    messages=[{"role": "user", "content": "who are u?"}],
                    max_tokens=10,
                )
                assert response.choices[0].message.content

        with ProxyServer(read_config(text + "general_settings: {master_key: sk-1234}\n", {})) as server:
            asyncio.run(call(server.url))


def test_the_mistakes_of_the_unchanged_config_of_the_page_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(PAGE.format(operation="generate"))
    assert main(["--check", str(path)]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith(f"{path}:4: model_list[0].litellm_params.model: a stray quote: write model: ")
    assert "placeholder" in told[1]


def test_the_examples_master_key_is_refused_with_the_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        PAGE.format(operation="generate").replace('<your-triton-model>"', "m")
        + "general_settings:\n  master_key: sk-1234\n"
    )
    assert main(["--check", str(path)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(
        f"{path}:7: general_settings.master_key: the master key is a publicly known default: "
    )
    assert "secrets.token_urlsafe(32)" in told
    assert "--allow-weak-master-key" in told
    assert "sk-1234" not in told
    assert main(["--check", str(path), "--allow-weak-master-key"]) == 0
    assert capsys.readouterr().out == f"{path}: 1 model, keys are required\n"
    assert MASTER not in told
