"""Virtual keys: how they are created, changed, blocked and deleted, what each allows, and that none is stored."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapter.tests.proxy.serving import MASTER, chat, entry, error_of, get, post, serve
from adapter.tests.upstream import Upstream, http
from triton_adapter.proxy import ProxyServer
from triton_adapter.proxy.keys.key import seconds_of, token_id
from triton_adapter.proxy.keys.operations import run
from triton_adapter.proxy.keys.store import KeyStore

DOLLARS = "costs in dollars are not counted; write request_budget or token_budget"
ANSWER = http(b'{"model_name":"m","model_version":"1","text_output":"one two three"}')


@pytest.fixture
def keyed(whole_upstream: Upstream, tmp_path: Path) -> Iterator[ProxyServer]:
    """A proxy of `a`, `b` and `lab/*`. One upstream serves them all and answers every request."""
    for _ in range(20):
        whole_upstream.answer(ANSWER, then="keep")
    address = f"{whole_upstream.url}/v2/models/m/generate"
    with serve(
        entry("a", address),
        entry("b", address),
        entry("lab/*", address, "*"),
        general_settings={"master_key": MASTER, "database_url": f"sqlite:///{tmp_path / 'keys.db'}"},
    ) as server:
        yield server


def generate(proxy: ProxyServer, **given: Any) -> dict[str, Any]:
    reply = post(proxy, "/key/generate", given)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def ask(proxy: ProxyServer, key: str, model: str = "a") -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    return httpx.post(f"{proxy.url}/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"})


def test_a_new_key_may_ask_and_is_shown_once(keyed: ProxyServer) -> None:
    made = generate(keyed, key_alias="team-a", duration="30d", metadata={"cost": 7})
    assert made["key"].startswith("sk-")
    assert made["key_name"] == f"sk-...{made['key'][-4:]}"
    assert made["token_id"] == token_id(made["key"])
    assert ask(keyed, made["key"]).status_code == 200
    info = get(keyed, f"/key/info?key={made['key']}").json()
    assert info["key"] == made["token_id"]
    assert info["info"]["key_alias"] == "team-a"
    assert info["info"]["metadata"] == {"cost": 7}
    assert made["key"] not in str(info)


def test_a_key_may_be_chosen_if_it_is_long_enough(keyed: ProxyServer) -> None:
    assert generate(keyed, key="sk-chosen-0123456789")["key"] == "sk-chosen-0123456789"
    assert ask(keyed, "sk-chosen-0123456789").status_code == 200
    again = post(keyed, "/key/generate", {"key": "sk-chosen-0123456789"})
    assert error_of(again) == (400, "key", "already_exists")
    assert error_of(post(keyed, "/key/generate", {"key": "sk-1"})) == (400, "key", "invalid_value")


def test_a_key_asks_about_itself_and_about_no_other(keyed: ProxyServer) -> None:
    one, other = generate(keyed), generate(keyed)
    headers = {"Authorization": f"Bearer {one['key']}"}
    assert httpx.get(f"{keyed.url}/key/info", headers=headers).json()["key"] == one["token_id"]
    for path in (f"/key/info?key={other['key']}", "/key/list"):
        assert error_of(httpx.get(keyed.url + path, headers=headers))[0] == 403
    for path in ("generate", "update", "regenerate", "delete", "block", "unblock"):
        reply = httpx.post(f"{keyed.url}/key/{path}", headers=headers, json={"key": "x"})
        assert error_of(reply) == (403, None, "permission_denied")
    assert error_of(httpx.get(f"{keyed.url}/health", headers=headers))[0] == 403
    assert error_of(httpx.get(f"{keyed.url}/metrics", headers=headers))[0] == 403


def test_keys_are_listed_by_token_id_in_pages(keyed: ProxyServer) -> None:
    made = [generate(keyed, team_id="t")["token_id"] for _ in range(3)]
    generate(keyed, user_id="u")
    listed = get(keyed, "/key/list?team_id=t&size=2&page=2").json()
    assert listed == {"keys": [made[2]], "total_count": 3, "current_page": 2, "total_pages": 2}
    whole = get(keyed, "/key/list?user_id=u&return_full_object=true").json()
    assert whole["keys"][0]["user_id"] == "u"


def test_a_blocked_key_is_refused_until_it_is_unblocked(keyed: ProxyServer) -> None:
    key = generate(keyed)["key"]
    assert post(keyed, "/key/block", {"key": key}).json()["blocked"] is True
    assert error_of(ask(keyed, key)) == (401, None, "key_blocked")
    assert post(keyed, "/key/unblock", {"key": token_id(key)}).json()["blocked"] is False
    assert ask(keyed, key).status_code == 200


def test_a_key_gets_a_new_secret_and_stays_what_it_is(keyed: ProxyServer, tmp_path: Path) -> None:
    made = generate(keyed, key_alias="x", models=["a"], request_budget=2)
    assert ask(keyed, made["key"]).status_code == 200
    renewed = post(keyed, "/key/regenerate", {"key": made["key"], "rpm_limit": 9}).json()
    assert renewed["key"] != made["key"]
    assert renewed["token_id"] == token_id(renewed["key"])
    kept = {name: renewed[name] for name in ("key_alias", "models", "requests_used", "rpm_limit")}
    assert kept == {"key_alias": "x", "models": ["a"], "requests_used": 1, "rpm_limit": 9}
    assert error_of(ask(keyed, made["key"])) == (401, None, "invalid_api_key")
    assert ask(keyed, renewed["key"]).status_code == 200
    assert error_of(ask(keyed, renewed["key"]))[2] == "insufficient_quota"
    again = post(keyed, "/key/regenerate", {"key": renewed["token_id"], "new_key": "sk-chosen-9876543210"})
    assert again.json()["key"] == "sk-chosen-9876543210"
    # The next reader of the file finds the key under its new token id, with its usage.
    run(keyed.proxy.store.syncing())
    stored = KeyStore(str(tmp_path / "keys.db"))
    assert stored.keys[token_id("sk-chosen-9876543210")].requests_used == 2
    assert len(stored.keys) == 1
    stored.close()


def test_a_new_secret_must_not_belong_to_another_key(keyed: ProxyServer) -> None:
    one, other = generate(keyed), generate(keyed, key="sk-chosen-0123456789")
    reply = post(keyed, "/key/regenerate", {"key": one["key"], "new_key": other["key"]})
    assert error_of(reply) == (400, "key", "already_exists")
    assert ask(keyed, one["key"]).status_code == 200


@pytest.mark.parametrize(
    "given", [{"new_key": "sk-chosen-0123456789"}, {"new_key": "sk-chosen-9876543210", "key_alias": "taken"}]
)
def test_a_new_secret_that_is_refused_changes_nothing(keyed: ProxyServer, given: dict[str, Any]) -> None:
    one = generate(keyed, request_budget=9)
    generate(keyed, key="sk-chosen-0123456789", key_alias="taken")
    changes = {"key": one["key"], "request_budget": None, "blocked": True, **given}
    assert error_of(post(keyed, "/key/regenerate", changes))[0] == 400
    info = get(keyed, f"/key/info?key={one['key']}").json()["info"]
    assert (info["request_budget"], info["blocked"]) == (9, False)
    assert ask(keyed, one["key"]).status_code == 200


def test_a_deleted_key_is_unknown(keyed: ProxyServer) -> None:
    one, other = generate(keyed), generate(keyed, key_alias="other")
    reply = post(keyed, "/key/delete", {"keys": [one["key"]], "key_aliases": ["other"]})
    assert reply.json() == {"deleted_keys": [one["token_id"], other["token_id"]]}
    assert error_of(ask(keyed, one["key"])) == (401, None, "invalid_api_key")
    assert error_of(post(keyed, "/key/delete", {"keys": [one["key"]]})) == (404, "keys", "key_not_found")


def test_a_key_that_is_named_twice_is_deleted_once(keyed: ProxyServer) -> None:
    one = generate(keyed, key_alias="one")
    given = {"keys": [one["key"], one["token_id"]], "key_aliases": ["one"]}
    assert post(keyed, "/key/delete", given).json() == {"deleted_keys": [one["token_id"]]}


def test_an_expired_key_is_refused(keyed: ProxyServer) -> None:
    made = generate(keyed, duration="1s")
    keyed.proxy.store.keys[made["token_id"]].expires = time.time() - 1
    assert error_of(ask(keyed, made["key"])) == (401, None, "expired_key")
    post(keyed, "/key/update", {"key": made["key"], "duration": "1h"})
    assert ask(keyed, made["key"]).status_code == 200


def test_a_key_may_use_the_models_of_its_list_only(keyed: ProxyServer) -> None:
    key = generate(keyed, models=["a", "lab/m*"])["key"]
    assert ask(keyed, key, "a").status_code == 200
    assert ask(keyed, key, "lab/m").status_code == 200
    for model in ("b", "lab/x"):
        assert error_of(ask(keyed, key, model)) == (403, "model", "model_not_allowed")
    headers = {"Authorization": f"Bearer {key}"}
    listed = httpx.get(f"{keyed.url}/v1/models", headers=headers).json()
    assert [model["id"] for model in listed["data"]] == ["a"]
    assert error_of(httpx.get(f"{keyed.url}/v1/models/b", headers=headers))[0] == 404
    infos = httpx.get(f"{keyed.url}/model/info", headers=headers).json()["data"]
    assert [info["model_name"] for info in infos] == ["a"]


def test_a_key_may_have_names_of_its_own_for_models(keyed: ProxyServer) -> None:
    key = generate(keyed, aliases={"gpt-4": "b"}, models=["b"])["key"]
    reply = ask(keyed, key, "gpt-4")
    assert (reply.status_code, reply.json()["model"]) == (200, "gpt-4")


def test_a_budget_of_requests_ends(keyed: ProxyServer) -> None:
    key = generate(keyed, request_budget=2)["key"]
    assert [ask(keyed, key).status_code for _ in range(2)] == [200, 200]
    reply = ask(keyed, key)
    assert error_of(reply) == (429, None, "insufficient_quota")
    assert reply.headers["x-should-retry"] == "false"
    assert reply.json()["error"]["type"] == "insufficient_quota"


def test_a_budget_of_tokens_ends_and_begins_anew(keyed: ProxyServer) -> None:
    made = generate(keyed, token_budget=3, budget_duration="1h")
    first = ask(keyed, made["key"])
    assert first.json()["usage"]["total_tokens"] >= 3
    reply = ask(keyed, made["key"])
    assert error_of(reply) == (429, None, "insufficient_quota")
    assert 0 < int(reply.headers["retry-after"]) <= 3600
    keyed.proxy.store.keys[made["token_id"]].budget_reset_at = time.time() - 1
    assert ask(keyed, made["key"]).status_code == 200


def test_a_request_that_comes_to_nothing_costs_nothing(keyed: ProxyServer, whole_upstream: Upstream) -> None:
    made = generate(keyed, request_budget=1)
    whole_upstream.answers.clear()
    whole_upstream.answer(http(b'{"error":"no"}', status="400 No"), then="keep")
    assert ask(keyed, made["key"]).status_code == 400
    whole_upstream.answer(ANSWER, then="keep")
    assert ask(keyed, made["key"]).status_code == 200
    used = get(keyed, f"/key/info?key={made['key']}").json()["info"]
    assert used["requests_used"] == 1
    assert used["tokens_used"] > 0


def test_requests_per_minute_are_limited_and_the_headers_say_so(keyed: ProxyServer) -> None:
    key = generate(keyed, rpm_limit=2)["key"]
    first = ask(keyed, key)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert ask(keyed, key).status_code == 200
    reply = ask(keyed, key)
    assert error_of(reply) == (429, None, "rate_limit_exceeded")
    assert 0 < int(reply.headers["retry-after"]) <= 60


def test_tokens_per_minute_are_limited(keyed: ProxyServer) -> None:
    key = generate(keyed, tpm_limit=1)["key"]
    assert ask(keyed, key).status_code == 200
    assert error_of(ask(keyed, key)) == (429, None, "rate_limit_exceeded")


def test_requests_at_a_time_are_limited(keyed: ProxyServer, whole_upstream: Upstream) -> None:
    key = generate(keyed, max_parallel_requests=1)["key"]
    refused: list[httpx.Response] = []

    def meanwhile() -> None:
        whole_upstream.on_post = lambda: None
        refused.append(ask(keyed, key))

    whole_upstream.on_post = meanwhile
    assert ask(keyed, key).status_code == 200
    assert error_of(refused[0]) == (429, None, "rate_limit_exceeded")
    assert ask(keyed, key).status_code == 200


def test_limits_can_be_changed_and_taken_away(keyed: ProxyServer) -> None:
    key = generate(keyed, rpm_limit=1, models=["b"], key_alias="x")["key"]
    changed = post(keyed, "/key/update", {"key": key, "rpm_limit": None, "models": None}).json()
    assert (changed["rpm_limit"], changed["models"], changed["key_alias"]) == (None, [], "x")
    assert [ask(keyed, key).status_code for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize(
    ("given", "param", "code"),
    [
        ({"max_budget": 10}, "max_budget", "unsupported_parameter"),
        ({"rpm_limit": 0}, "rpm_limit", "invalid_value"),
        ({"rpm_limit": "9"}, "rpm_limit", "invalid_value"),
        ({"duration": "soon"}, "duration", "invalid_value"),
        ({"models": "a"}, "models", "invalid_value"),
        ({"models": [1]}, "models.0", "invalid_value"),
        ({"blocked": "no"}, "blocked", "invalid_value"),
        (b"{oops", None, "invalid_json"),
        (b"[]", None, "invalid_json"),
        (b"", None, "invalid_json"),
        (b"[" * 100_000, None, "invalid_json"),
        (b"\xff\xfe{}", None, "invalid_json"),
        (b'{"metadata":{"a":NaN}}', None, "invalid_json"),
        (b'{"metadata":{"a":1e999}}', None, "invalid_json"),
        (b'{"metadata":{"a":"\\ud800"}}', None, "invalid_json"),
        (b'{"metadata":' + b'{"a":' * 200 + b"1" + b"}" * 201, "metadata", "invalid_value"),
        ({"rpm_limit": 2**63}, "rpm_limit", "invalid_value"),
        ({"token_budget": 10**40}, "token_budget", "invalid_value"),
        ({"tpm_limit": True}, "tpm_limit", "invalid_value"),
        ({"duration": "999999999mo"}, "duration", "invalid_value"),
        ({"budget_duration": "101000w"}, "budget_duration", "invalid_value"),
        ({"aliases": {"a": 1}}, "aliases.a", "invalid_value"),
        (
            {
                "key": "sk-\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"
            },
            "key",
            "invalid_value",
        ),
    ],
)
def test_a_key_that_makes_no_sense_is_a_bad_request(
    keyed: ProxyServer, given: Any, param: str | None, code: str
) -> None:
    assert error_of(post(keyed, "/key/generate", given)) == (400, param, code)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_budget": 10}, f"'max_budget' is not supported here: {DOLLARS}"),
        ({"budget": 10}, f"'budget' is not supported here: {DOLLARS}"),
        ({"duration": "3 days"}, "'duration': a duration is a number and s, m, h, d, w or mo, such as 30d"),
        (
            {"key": "sk-with blanks 0123456789"},
            "'key': a key holds ASCII letters, digits and signs, and no blanks",
        ),
    ],
)
def test_a_refusal_says_what_to_write_instead(keyed: ProxyServer, given: Any, message: str) -> None:
    assert post(keyed, "/key/generate", given).json()["error"]["message"] == message


@pytest.mark.parametrize("path", ["update", "regenerate", "block", "unblock", "info"])
def test_a_key_that_is_not_there_is_not_found(keyed: ProxyServer, path: str) -> None:
    unknown = "sk-nobody-has-this-key"
    if path == "info":
        reply = get(keyed, f"/key/info?key={unknown}")
    else:
        reply = post(keyed, f"/key/{path}", {"key": unknown})
    assert error_of(reply) == (404, "key", "key_not_found")
    assert unknown not in reply.text


def test_an_alias_is_one_keys_alone(keyed: ProxyServer) -> None:
    generate(keyed, key_alias="x")
    other = generate(keyed)["key"]
    assert error_of(post(keyed, "/key/generate", {"key_alias": "x"})) == (400, "key_alias", "already_exists")
    reply = post(keyed, "/key/update", {"key": other, "key_alias": "x"})
    assert error_of(reply) == (400, "key_alias", "already_exists")


def test_keys_and_what_they_used_outlive_the_proxy(whole_upstream: Upstream, tmp_path: Path) -> None:
    general = {"master_key": MASTER, "database_url": f"sqlite:///{tmp_path / 'keys.db'}"}
    whole_upstream.answer(ANSWER)
    model = entry("a", f"{whole_upstream.url}/v2/models/m/generate")
    with serve(model, general_settings=general) as proxy:
        key = generate(proxy, request_budget=1)["key"]
        assert ask(proxy, key).status_code == 200
    with serve(model, general_settings=general) as proxy:
        assert error_of(ask(proxy, key)) == (429, None, "insufficient_quota")


def test_the_file_holds_no_key(whole_upstream: Upstream, tmp_path: Path) -> None:
    general = {"master_key": MASTER, "database_url": f"sqlite:///{tmp_path / 'keys.db'}"}
    with serve(entry("a", whole_upstream.url), general_settings=general) as proxy:
        key = generate(proxy)["key"]
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert token_id(key).encode() in written
    assert key.encode() not in written
    assert MASTER.encode() not in written


def test_a_store_that_cannot_be_written_says_where_to_look(tmp_path: Path) -> None:
    general = {"master_key": MASTER, "database_url": f"sqlite:///{tmp_path / 'keys.db'}"}
    with serve(entry("a", "http://127.0.0.1:9"), general_settings=general) as proxy:
        (tmp_path / "keys.db").mkdir()
        reply = post(proxy, "/key/generate", {})
        assert error_of(reply)[0] == 500
        assert "database_url" in reply.json()["error"]["message"]
        assert str(tmp_path) not in reply.text
        assert chat(proxy, "nobody").status_code == 404  # the proxy still answers other requests


def test_a_damaged_file_is_reported_and_other_requests_are_answered(
    keyed: ProxyServer, tmp_path: Path
) -> None:
    key = generate(keyed)["key"]
    run(keyed.proxy.store.syncing())
    with sqlite3.connect(tmp_path / "keys.db") as database:
        database.execute("UPDATE keys SET metadata='{oops'")
    database.close()
    reply = post(keyed, "/key/update", {"key": key, "rpm_limit": 9})
    assert error_of(reply)[0] == 500
    assert "the key store cannot be used" in reply.json()["error"]["message"]
    assert ask(keyed, key).status_code == 200
    with sqlite3.connect(tmp_path / "keys.db") as database:
        database.execute("UPDATE keys SET metadata='{}'")
    database.close()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("2h", 7200), ("30d", 2592000), ("2w", 1209600), ("1mo", 2592000)],
)
def test_durations_are_litellms(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "0s", "-1d", "1.5h", "1y"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 30d"):
        seconds_of(text)
