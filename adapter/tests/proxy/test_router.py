"""The router: weights, order, strategies, retries, fallbacks, cool-downs. Upstreams are real sockets."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from adapter.tests.proxy.serving import chat, entry, error_of, events, get, serve
from adapter.tests.upstream import Upstream, chunked, event, http
from triton_adapter.errors import BadRequestError, ServiceUnavailableError
from triton_adapter.proxy import read_config
from triton_adapter.proxy.deployments import Catalog, Deployment, Group
from triton_adapter.proxy.metrics import Metrics
from triton_adapter.proxy.router import Router

ANSWER = http(b'{"model_name":"m","model_version":"1","text_output":"ok"}')
DOWN = http(b'{"error":"no capacity"}', status="503 Service Unavailable")
BROKEN = http(b'{"error":"out of memory"}', status="500 Internal Server Error")
REFUSED = http(b'{"error":"that is no good"}', status="400 Bad Request")
LIMITED = http(b'{"error":"slow down"}', status="429 Too Many Requests", extra="Retry-After: 9\r\n")
FAST = {"num_retries": 2}


@pytest.fixture
def pair() -> Iterator[tuple[Upstream, Upstream]]:
    with Upstream(decoupled=False) as one, Upstream(decoupled=False) as other:
        yield one, other


def address(upstream: Upstream) -> str:
    return f"{upstream.url}/v2/models/m/generate"


def fill(upstream: Upstream, answer: bytes, times: int = 8) -> None:
    for _ in range(times):
        upstream.answer(answer)


def routed(strategy: str, *params: dict[str, Any]) -> tuple[Router, Group]:
    """A router and its group `m` with one deployment for each set of parameters. It sends nothing."""
    models = [
        f"- {{model_name: m, litellm_params: {{model: triton/m{at}, api_base: 'http://t', "
        + ", ".join(f"{name}: {value}" for name, value in one.items())
        + "}}"
        for at, one in enumerate(params)
    ]
    text = "model_list:\n" + "\n".join(models) + f"\nrouter_settings: {{routing_strategy: {strategy}}}\n"
    config = read_config(text, {})
    catalog = Catalog(config)
    return Router(config.router, catalog, Metrics()), catalog.find("m")


def chosen(router: Router, group: Group, times: int = 400) -> Counter[str]:
    return Counter(router.pick(group, 0.0, []).target.model for _ in range(times))


def test_a_shuffle_is_even_where_nothing_is_said() -> None:
    assert min(chosen(*routed("simple-shuffle", {}, {})).values()) > 120


@pytest.mark.parametrize("name", ["weight", "rpm", "tpm"])
def test_a_shuffle_goes_by_weight_or_by_limits(name: str) -> None:
    found = chosen(*routed("simple-shuffle", {name: 1000000}, {name: 9000000}))
    assert found["m0"] < 120
    assert found["m1"] > 280


def test_a_weight_of_nothing_is_never_drawn() -> None:
    assert chosen(*routed("simple-shuffle", {"weight": 0}, {"weight": 1}))["m0"] == 0


def test_the_lowest_order_comes_first_and_the_next_when_it_fails() -> None:
    router, group = routed("simple-shuffle", {"order": 2}, {"order": 1})
    assert set(chosen(router, group)) == {"m1"}
    assert router.pick(group, 0.0, [group.deployments[1]]).target.model == "m0"
    group.deployments[1].cooled_until = 5.0
    assert router.pick(group, 0.0, []).target.model == "m0"
    assert router.pick(group, 5.0, []).target.model == "m1"


def test_the_least_busy_is_the_one_with_the_fewest_requests_under_way() -> None:
    router, group = routed("least-busy", {}, {}, {})
    for busy, deployment in zip((2, 0, 1), group.deployments, strict=True):
        deployment.meter.running = busy
    assert set(chosen(router, group, 20)) == {"m1"}


def test_the_fastest_is_the_one_that_answered_soonest_and_the_untried_is_tried() -> None:
    router, group = routed("latency-based-routing", {}, {}, {})
    for latency, deployment in zip((0.3, 0.1, None), group.deployments, strict=True):
        deployment.latency = latency
    assert set(chosen(router, group, 20)) == {"m2"}
    group.deployments[2].latency = 0.2
    assert set(chosen(router, group, 20)) == {"m1"}


def test_the_least_used_is_the_one_with_the_fewest_tokens_this_minute() -> None:
    router, group = routed("usage-based-routing-v2", {}, {})
    for tokens, deployment in zip((50, 40), group.deployments, strict=True):
        deployment.meter.begin(0.0)
        deployment.meter.end(tokens)
    assert set(chosen(router, group, 20)) == {"m1"}


def test_a_deployment_at_its_limit_is_passed_over() -> None:
    router, group = routed("simple-shuffle", {"rpm": 1}, {})
    group.deployments[0].meter.begin(0.0)
    assert set(chosen(router, group, 20)) == {"m1"}


def failing(router: Router, group: Group, deployment: Deployment, error: Any, times: int) -> float:
    for _ in range(times):
        router.failed(group, deployment, error, 100.0)
    return deployment.cooled_until


def test_too_many_failures_in_a_row_cool_a_deployment_down() -> None:
    router, group = routed("simple-shuffle", {}, {})
    one = group.deployments[0]
    assert failing(router, group, one, ServiceUnavailableError("down"), 3) == float("-inf")
    assert failing(router, group, one, ServiceUnavailableError("down"), 1) == 105.0


def test_a_callers_mistakes_cool_no_deployment_down() -> None:
    router, group = routed("simple-shuffle", {}, {})
    assert failing(router, group, group.deployments[0], BadRequestError("no"), 9) == float("-inf")


def test_a_deployment_that_asks_for_a_pause_cools_down_at_once() -> None:
    router, group = routed("simple-shuffle", {}, {})
    error = ServiceUnavailableError("later", retry_after=30)
    assert failing(router, group, group.deployments[0], error, 1) == 130.0


def test_where_all_cool_down_the_deployment_that_is_back_first_is_asked() -> None:
    router, group = routed("simple-shuffle", {}, {})
    group.deployments[0].cooled_until, group.deployments[1].cooled_until = 9.0, 7.0
    assert router.pick(group, 0.0, []).target.model == "m1"


def test_another_deployment_answers_for_one_that_fails(pair: tuple[Upstream, Upstream]) -> None:
    one, other = pair
    fill(one, BROKEN)
    fill(other, ANSWER)
    settings = {"cooldown_time": 3600}
    pair_of_entries = entry("m", address(one), order=1), entry("m", address(other), order=2)
    with serve(*pair_of_entries, router_settings=settings) as proxy:
        replies = [chat(proxy) for _ in range(6)]
        metrics = get(proxy, "/metrics").text
    assert [reply.status_code for reply in replies] == [200] * 6
    # After four failures in a row the deployment cools down.
    assert [reply.headers["x-litellm-attempted-retries"] for reply in replies] == list("111100")
    assert (len(one.posts), len(other.posts)) == (4, 6)
    assert 'triton_proxy_retries_total{model="m"} 4' in metrics
    assert metrics.count('triton_proxy_deployment_cooling_down{model="m"') == 2
    assert len({reply.headers["x-litellm-model-id"] for reply in replies}) == 1


def test_the_same_deployment_is_asked_again_after_the_pause_it_asked_for(whole_upstream: Upstream) -> None:
    whole_upstream.answer(http(b'{"error":"busy"}', status="503 Busy", extra="Retry-After: 0\r\n"))
    whole_upstream.answer(ANSWER)
    with serve(entry("m", address(whole_upstream))) as proxy:
        reply = chat(proxy)
    assert (reply.status_code, reply.headers["x-litellm-attempted-retries"]) == (200, "1")


def test_a_pause_that_is_too_long_is_left_to_the_client(whole_upstream: Upstream) -> None:
    whole_upstream.answer(http(b'{"error":"busy"}', status="503 Busy", extra="Retry-After: 600\r\n"))
    with serve(entry("m", address(whole_upstream))) as proxy:
        reply = chat(proxy)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "600")
    assert len(whole_upstream.posts) == 1


@pytest.mark.parametrize("answer", [REFUSED, BROKEN], ids=["400", "500"])
def test_what_would_fail_again_is_not_asked_again(whole_upstream: Upstream, answer: bytes) -> None:
    fill(whole_upstream, answer)
    with serve(entry("m", address(whole_upstream))) as proxy:
        assert chat(proxy).status_code in (400, 500)
    assert len(whole_upstream.posts) == 1


def test_a_retry_policy_counts_by_the_kind_of_failure(whole_upstream: Upstream) -> None:
    fill(whole_upstream, http(b'{"error":"busy"}', status="429 Busy", extra="Retry-After: 0\r\n"), 3)
    whole_upstream.answer(ANSWER)
    settings = {"num_retries": 0, "retry_policy": {"RateLimitErrorRetries": 3}}
    with serve(entry("m", address(whole_upstream)), router_settings=settings) as proxy:
        reply = chat(proxy)
    assert (reply.status_code, reply.headers["x-litellm-attempted-retries"]) == (200, "3")


def test_a_deployments_own_max_retries_wins(whole_upstream: Upstream) -> None:
    fill(whole_upstream, http(b'{"error":"busy"}', status="503 Busy", extra="Retry-After: 0\r\n"))
    with serve(entry("m", address(whole_upstream), max_retries=1), router_settings=FAST) as proxy:
        assert chat(proxy).status_code == 503
    assert len(whole_upstream.posts) == 2


def test_a_fallback_answers_for_a_group_that_cannot(pair: tuple[Upstream, Upstream]) -> None:
    one, other = pair
    fill(one, BROKEN)
    other.answer(ANSWER)
    settings = {"fallbacks": [{"m": ["gone", "n"]}], "model_group_alias": {"gone": "m"}, "num_retries": 0}
    with serve(entry("m", address(one)), entry("n", address(other)), router_settings=settings) as proxy:
        reply = chat(proxy)
    assert reply.status_code == 200
    assert reply.json()["model"] == "m"
    assert reply.headers["x-litellm-attempted-fallbacks"] == "2"


def test_where_the_fallback_fails_too_the_first_failure_is_reported(pair: tuple[Upstream, Upstream]) -> None:
    one, other = pair
    fill(one, BROKEN)
    fill(other, DOWN)
    settings = {"fallbacks": [{"*": ["n"]}], "num_retries": 0}
    with serve(entry("m", address(one)), entry("n", address(other)), router_settings=settings) as proxy:
        reply = chat(proxy)
    assert reply.json()["error"]["message"] == "out of memory"
    assert len(other.posts) == 1


def test_a_callers_mistake_needs_no_fallback(pair: tuple[Upstream, Upstream]) -> None:
    one, other = pair
    fill(one, REFUSED)
    settings = {"default_fallbacks": ["n"]}
    with serve(entry("m", address(one)), entry("n", address(other)), litellm_settings=settings) as proxy:
        assert error_of(chat(proxy))[0] == 400
    assert other.posts == []


def test_a_prompt_that_is_too_long_has_fallbacks_of_its_own(pair: tuple[Upstream, Upstream]) -> None:
    one, other = pair
    fill(one, http(b'{"error":"Prompt length (9000) exceeds maximum input length (4096)"}', status="400 No"))
    other.answer(ANSWER)
    settings = {"context_window_fallbacks": [{"m": ["n"]}]}
    with serve(entry("m", address(one)), entry("n", address(other)), router_settings=settings) as proxy:
        assert chat(proxy).status_code == 200


def test_a_refusal_at_a_deployments_limit_has_a_retry_after(whole_upstream: Upstream) -> None:
    fill(whole_upstream, ANSWER)
    with serve(entry("m", address(whole_upstream), rpm=1)) as proxy:
        assert chat(proxy).status_code == 200
        reply = chat(proxy)
    assert error_of(reply) == (429, None, "rate_limit_exceeded")
    assert 0 < int(reply.headers["retry-after"]) <= 60
    assert len(whole_upstream.posts) == 1


def test_a_stream_turns_to_another_deployment_only_before_its_first_byte() -> None:
    with Upstream() as one, Upstream() as other:
        one.answer(*chunked(b'data: {"error":"not today"}\n\n'))
        other.answer(*chunked(event(text_output="a"), b'data: {"error":"broken"}\n\n'))
        with serve(entry("m", one.url, order=1), entry("m", other.url, order=2)) as proxy:
            reply = chat(proxy, stream=True)
        assert reply.headers["x-litellm-attempted-retries"] == "1"
        told = events(reply.text)
        assert told[1]["choices"][0]["delta"] == {"content": "a"}
        assert told[-1]["error"]["message"] == "broken"
        assert (len(one.posts), len(other.posts)) == (1, 1)


def test_the_proxy_itself_takes_so_many_requests_at_a_time(whole_upstream: Upstream) -> None:
    fill(whole_upstream, ANSWER)
    refused = []
    general = {"global_max_parallel_requests": 1}
    with serve(entry("m", address(whole_upstream)), general_settings=general) as proxy:

        def meanwhile() -> None:
            whole_upstream.on_post = lambda: None
            refused.append(chat(proxy))

        whole_upstream.on_post = meanwhile
        assert chat(proxy).status_code == 200
    assert error_of(refused[0])[0] == 503
    assert refused[0].headers["retry-after"] == "1"


def test_defaults_of_the_config_are_sent_unless_the_client_says_otherwise(whole_upstream: Upstream) -> None:
    fill(whole_upstream, ANSWER)
    with serve(entry("m", address(whole_upstream), max_tokens=7)) as proxy:
        assert chat(proxy).status_code == 200
        assert chat(proxy, max_tokens=3).status_code == 200
    assert [post.json()["max_tokens"] for post in whole_upstream.posts] == [7, 3]


def test_the_upstream_gets_its_own_key_and_never_the_clients(whole_upstream: Upstream) -> None:
    whole_upstream.answer(ANSWER)
    with serve(entry("m", address(whole_upstream), api_key="up-key", extra_headers={"x-t": "1"})) as proxy:
        assert chat(proxy).status_code == 200
    for request in whole_upstream.received:
        assert request.headers["Authorization"] == "Bearer up-key"
        assert request.headers["x-t"] == "1"


def test_a_wildcard_passes_the_rest_of_the_name_on() -> None:
    config = read_config(
        "model_list:\n"
        "- {model_name: 'triton/*', litellm_params: {model: 'triton/*', api_base: 'http://t'}}\n"
        "- {model_name: 'triton/llama-*', litellm_params: {model: 'triton/l_*_x', api_base: 'http://t'}}\n"
        "- {model_name: '*-fixed', litellm_params: {model: triton/one, api_base: 'http://t'}}\n",
        {},
    )
    catalog = Catalog(config)

    def model(name: str) -> str:
        return catalog.find(name).deployments[0].target.model

    assert model("triton/abc") == "abc"
    assert model("triton/llama-3") == "l_3_x"
    assert model("any-fixed") == "one"
    assert catalog.find("triton/abc") is catalog.find("triton/abc")
    assert catalog.find("triton/abc").label == "triton/*"


def test_names_that_clients_make_up_are_not_kept_for_ever() -> None:
    config = read_config(
        "model_list:\n- {model_name: '*', litellm_params: {model: 'triton/*', api_base: 'http://t'}}\n", {}
    )
    catalog = Catalog(config)
    for at in range(1500):
        catalog.find(f"m{at}")
    assert len(catalog._matched) == 1024


@pytest.mark.parametrize(
    "name",
    ["..", ".", "..%2f..%2fother", "..\\other", "a\tb", "a\u0001", "a b", "a/b", "a?b", "a#b", "a%62"],
    ids=repr,
)
def test_a_wildcard_reaches_only_models(whole_upstream: Upstream, name: str) -> None:
    with serve(entry("wild/*", whole_upstream.url, "*")) as proxy:
        assert error_of(chat(proxy, f"wild/{name}")) == (404, "model", "model_not_found")
    assert whole_upstream.received == []


def test_a_deployment_and_its_router_say_how_they_are_without_addresses_and_keys() -> None:
    router, group = routed("least-busy", {"api_key": "sk-secret"}, {})
    one = group.deployments[0]
    assert repr(one) == f"<Deployment {one.id} of m [UP, 0 running, 0 failed in a row]>"
    assert repr(router) == "<Router least-busy [2 deployments, 0 cooling down, 0 requests running]>"
    assert repr(router.catalog) == "<Catalog of m>"
    one.meter.begin(0.0)
    one.latency = 0.0125
    one.fails, one.cooled_until = 4, float("inf")
    assert repr(one) == f"<Deployment {one.id} of m [COOLING DOWN, 1 running, 4 failed in a row, 12 ms]>"
    assert repr(router) == "<Router least-busy [2 deployments, 1 cooling down, 1 requests running]>"


def test_the_log_names_the_kind_of_an_error_without_a_code(
    whole_upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    whole_upstream.answer(http(b'{"error":"the model refuses this"}', status="400 Bad Request"))
    with caplog.at_level("DEBUG", "triton_proxy"), serve(entry("m", whole_upstream.url)) as proxy:
        assert chat(proxy).status_code == 400
    lines = [record.getMessage().partition(" at deployment ")[0] for record in caplog.records]
    assert "400 invalid_request_error" in lines
