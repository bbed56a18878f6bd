"""The SDK calls of LiteLLM's Triton page, unchanged."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from triton_adapter import aembedding, completion


@pytest.fixture(scope="module")
def built_in() -> Iterator[str]:
    """An emulator with default options."""
    from triton_emulator.emulator import Emulator

    with Emulator() as emulator:
        yield emulator.url


def test_the_generate_example(triton: str) -> None:
    response = completion(
        model="triton/llama-3-8b-instruct",
        messages=[{"role": "user", "content": "who are u?"}],
        max_tokens=10,
        api_base=f"{triton}/generate",
    )
    assert response.choices[0].message.content == "You said: who are u?"


def test_the_infer_example(triton: str) -> None:
    response = completion(
        model="triton/llama-3-8b-instruct",
        messages=[{"role": "user", "content": "who are u?"}],
        max_tokens=10,
        api_base=f"{triton}/infer",
    )
    assert response["choices"][0]["message"]["content"] == "You said: who are u?"


def test_the_embeddings_example(triton: str) -> None:
    async def call() -> Any:
        return await aembedding(
            model="triton/embed",
            api_base=f"{triton}/embeddings",
            input=["good morning from litellm"],
        )

    response = asyncio.run(call())
    assert response.data[0].embedding == [25, 1, 0, -1]
    assert response["data"][0]["embedding"] == [25, 1, 0, -1]


@pytest.mark.parametrize("operation", ["generate", "infer"])
def test_the_examples_answer_from_an_emulator_with_its_defaults(built_in: str, operation: str) -> None:
    response: Any = completion(
        model="triton/llama-3-8b-instruct",
        messages=[{"role": "user", "content": "who are u?"}],
        max_tokens=10,
        api_base=f"{built_in}/{operation}",
    )
    assert response.choices[0].message.content
    assert response.model == "llama-3-8b-instruct"


def test_the_embeddings_example_answers_from_an_emulator_with_its_defaults(built_in: str) -> None:
    async def call() -> Any:
        return await aembedding(
            model="triton/my-embedder", api_base=f"{built_in}/embeddings", input=["good morning from litellm"]
        )

    assert len(asyncio.run(call()).data[0].embedding) > 1
