"""Health: the proxy requests Triton's readiness, and its answers hold no address."""

from typing import Any

import httpx
import pytest

from adapter.tests.proxy.serving import entry, get, serve
from adapter.tests.upstream import Upstream, http
from triton_adapter.proxy import ProxyServer, health


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the time limit, so that a busy machine does not make a Triton look unhealthy."""
    monkeypatch.setattr(health, "PATIENCE", 60.0)


def test_it_is_alive(proxy: ProxyServer) -> None:
    assert get(proxy, "/health/liveliness").json() == "I'm alive!"


def test_url_is_the_older_name_of_http_url(proxy: ProxyServer) -> None:
    assert proxy.url == proxy.http_url
    assert httpx.get(f"{proxy.http_url}/health/liveliness").json() == "I'm alive!"


@pytest.mark.parametrize("path", ["liveliness", "liveness", "readiness"])
def test_a_load_balancer_may_ask_for_the_head_alone(proxy: ProxyServer, path: str) -> None:
    reply = httpx.head(f"{proxy.url}/health/{path}")
    assert (reply.status_code, reply.content) == (200, b"")


def test_it_is_ready_when_triton_is(proxy: ProxyServer) -> None:
    reply = get(proxy, "/health/readiness")
    found = reply.json()
    assert (reply.status_code, found["status"]) == (200, "healthy")
    assert found["deployments"]["not_ready"] == 0
    assert found["deployments"]["ready"] > 10


def test_every_deployment_is_listed_by_name(proxy: ProxyServer, triton: str) -> None:
    reply = get(proxy, "/health")
    found = reply.json()
    assert found["unhealthy_endpoints"] == []
    assert found["healthy_count"] == len(found["healthy_endpoints"]) > 10
    assert {"flat", "vllm", "wild/*"} <= {one["model_name"] for one in found["healthy_endpoints"]}
    assert triton.removeprefix("http://") not in reply.text


def test_one_model_can_be_asked_about(proxy: ProxyServer) -> None:
    found = get(proxy, "/health?model=flat").json()
    assert [one["model"] for one in found["healthy_endpoints"]] == ["triton/flat"]


def test_a_model_that_triton_has_not_loaded_is_not_ready_and_the_rest_is(triton: str) -> None:
    with serve(entry("here", triton, "flat"), entry("gone", triton, "nobody")) as proxy:
        ready = httpx.get(f"{proxy.url}/health/readiness")
        found = get(proxy, "/health").json()
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["deployments"] == {"ready": 1, "not_ready": 1}
    assert [one["model_name"] for one in found["unhealthy_endpoints"]] == ["gone"]
    assert found["unhealthy_endpoints"][0]["error"] == "Request for unknown model: 'nobody' is not found"


def test_it_is_not_ready_when_no_triton_is() -> None:
    with serve(entry("m", "http://127.0.0.1:9"), entry("w/*", "http://127.0.0.1:9", "*")) as proxy:
        reply = httpx.get(f"{proxy.url}/health/readiness")
        found = get(proxy, "/health")
    assert (reply.status_code, reply.json()["status"]) == (503, "unhealthy")
    assert reply.headers["retry-after"] == "1"
    assert "127.0.0.1" not in found.text
    assert found.json()["unhealthy_count"] == 2


@pytest.mark.parametrize("model", ["m", "*"])
def test_triton_is_asked_once_however_often_the_proxy_is(
    upstream: Upstream, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        health, "KEPT", 3600.0
    )  # five requests may take longer than the default of one second
    with serve(entry("a/*" if model == "*" else "a", upstream.url, model)) as proxy:
        for _ in range(5):
            httpx.get(f"{proxy.url}/health/readiness")
    asked = [request.path for request in upstream.received]
    assert asked == ["/v2/health/ready" if model == "*" else "/v2/models/m/ready"]


def test_a_gateway_without_v2_is_ready_if_it_answers(upstream: Upstream) -> None:
    upstream.metadata = None
    with serve(entry("m", f"{upstream.url}/triton/generate")) as proxy:
        assert httpx.get(f"{proxy.url}/health/readiness").json()["status"] == "healthy"


def reasons(*entries: dict[str, Any]) -> list[str]:
    with serve(*entries) as proxy:
        return [one["error"] for one in get(proxy, "/health").json()["unhealthy_endpoints"]]


def test_a_wrong_path_in_api_base_is_told(triton: str) -> None:
    base = f"{triton}/wrong/path"
    assert reasons(entry("m", base, "flat"), entry("w/*", base, "*")) == [
        "no /v2/models is served there: is the path of api_base right?",
        "no /v2/health is served there: is the path of api_base right?",
    ]


def test_a_server_that_is_no_triton_is_told_apart_from_one_that_is_not_ready(upstream: Upstream) -> None:
    upstream.metadata = None
    upstream.refusal = http(b"<html>nothing here</html>", status="404 Not Found", kind="text/html")
    assert reasons(entry("m", upstream.url)) == ["the upstream answered 404 without an error from Triton"]


def test_the_reason_hides_the_credentials_that_triton_quotes(upstream: Upstream) -> None:
    upstream.metadata = None
    upstream.refusal = http(b'{"error":"nobody has the key k3y-0123456789"}', status="400 Bad Request")
    assert reasons(entry("m", upstream.url, api_key="k3y-0123456789")) == ["nobody has the key ***"]


def test_the_version_of_the_config_is_asked_about(triton: str) -> None:
    assert reasons(entry("m", triton, "flat", model_version="9")) == [
        "Request for unknown model: 'flat' version 9 is not found"
    ]
