"""Authentication: the master key is accepted in any of three headers, and weak master keys are refused."""

import httpx
import pytest

from adapter.tests.proxy.serving import MASTER, entry, error_of, serve
from triton_adapter.proxy import ProxyServer
from triton_adapter.proxy.keys.auth import weakness

ROUTES = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/completions"),
    ("POST", "/engines/flat/embeddings"),
    ("GET", "/v1/models"),
    ("GET", "/models/flat"),
    ("GET", "/model/info"),
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/key/info"),
    ("GET", "/key/list"),
    ("POST", "/key/generate"),
    ("POST", "/key/delete"),
]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {MASTER}"},
        {"Authorization": f"bearer {MASTER}"},
        {"x-api-key": MASTER},
        {"api-key": MASTER},
    ],
    ids=["Authorization: Bearer", "Authorization: bearer", "x-api-key", "api-key"],
)
def test_the_master_key_is_taken_from_any_of_its_headers(proxy: ProxyServer, headers: dict[str, str]) -> None:
    assert httpx.get(f"{proxy.url}/v1/models", headers=headers).status_code == 200
    body = {"messages": [{"role": "user", "content": "SAY hi"}]}
    assert httpx.post(f"{proxy.url}/chat/completions", headers=headers, json=body).status_code == 200


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer sk-wrong-wrong-wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic c2s6c2s="},
        {"Authorization": MASTER},
        {"api-key": "my-secret-openai-key"},
    ],
    ids=["no key", "a wrong key", "an empty key", "another scheme", "no scheme", "a wrong api-key"],
)
def test_a_request_without_a_right_key_is_refused(
    proxy: ProxyServer, method: str, path: str, headers: dict[str, str]
) -> None:
    reply = httpx.request(method, proxy.url + path, headers=headers, content=b"{oops")
    status, param, code = error_of(reply)
    assert (status, param) == (401, None)
    assert code == "invalid_api_key"
    assert reply.headers["www-authenticate"] == "Bearer"
    assert "wrong" not in reply.text.replace("Incorrect", "")
    assert "my-secret" not in reply.text


@pytest.mark.parametrize("path", ["/health/liveliness", "/health/liveness", "/health/readiness"])
def test_health_needs_no_key(proxy: ProxyServer, path: str) -> None:
    assert httpx.get(proxy.url + path).status_code == 200


def test_without_a_master_key_requests_need_no_key_and_keys_cannot_be_managed() -> None:
    with serve(entry("m", "http://127.0.0.1:9"), general_settings={}) as proxy:
        for headers in ({}, {"Authorization": "Bearer whatever"}):
            assert httpx.get(f"{proxy.url}/v1/models", headers=headers).status_code == 200
            assert httpx.get(f"{proxy.url}/metrics", headers=headers).status_code == 200
            reply = httpx.post(f"{proxy.url}/key/generate", headers=headers, json={})
            assert error_of(reply) == (403, None, "permission_denied")
            assert "master_key" in reply.text


def test_the_metrics_can_be_set_to_need_no_key() -> None:
    settings = {"require_auth_for_metrics_endpoint": False}
    with serve(entry("m", "http://127.0.0.1:9"), litellm_settings=settings) as proxy:
        assert httpx.get(f"{proxy.url}/metrics").status_code == 200


@pytest.mark.parametrize(
    "key",
    [
        "sk-1234",
        "SK-1234",
        "sk-12345678",
        "sk-short",
        "sk-aaaaaaaaaaaaaaaaaaaaaaaa",
        "sk-my-master-key-2026",
        "sk-changeme-changeme-1",
        "a-password-that-is-long",
    ],
)
def test_a_master_key_that_can_be_guessed_is_weak(key: str) -> None:
    assert weakness(key)


@pytest.mark.parametrize("key", [MASTER, "sk-3fVQ9mB2xkT7", "0f4c9a8e7b6d5c3a2f1e0d9c8b7a6f5e"])
def test_a_master_key_of_random_letters_is_strong(key: str) -> None:
    assert (weakness(key) is None) == (len(key) >= 16)
