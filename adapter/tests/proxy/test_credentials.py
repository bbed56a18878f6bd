"""A gateway in front of Triton quotes what it was sent. The client gets the text without the operator's credentials."""

import json
from typing import Any

import pytest

from adapter.tests.proxy.serving import chat, entry, events, serve
from adapter.tests.upstream import Upstream, chunked, event, http

LOGIN = "Basic YWRtaW5pc3RyYXRvcjpodW50ZXIyaHVudGVyMg=="  # administrator:hunter2hunter2
# The query of api_base, the other parameters of the deployment, what the gateway says, what the client reads.
QUOTED: dict[str, tuple[str, dict[str, str], str, str]] = {
    "the key": ("", {"api_key": "sk-AAAA1111BBBB"}, "bad key sk-AAAA1111BBBB", "bad key ***"),
    "the whole header": (
        "",
        {"api_key": "sk-AAAA1111BBBB"},
        "Authorization: Bearer sk-AAAA1111BBBB",
        "Authorization: ***",
    ),
    "the key in another case": ("", {"api_key": "sk-AAAA1111BBBB"}, "bad key SK-aaaa1111bbbb", "bad key ***"),
    "the key after two blanks": (
        "",
        {"Authorization": "Bearer  sk-AAAA1111BBBB"},
        "'sk-AAAA1111BBBB' is unknown",
        "'***' is unknown",
    ),
    "a query as it was sent": ("?token=ab%2FcdEF12%3D%3D", {}, "no ?token=ab%2FcdEF12%3D%3D", "no ?token=***"),
    "a query that is decoded": ("?token=ab%2FcdEF12%3D%3D", {}, "no ab/cdEF12== here", "no *** here"),
    "a query that is encoded": ("?token=ab/cdEF12==", {}, "no ab%2fcdEF12%3d%3d here", "no *** here"),
    "a query with a plus": ("?token=abcd+efgh1234", {}, "no ?token=abcd+efgh1234", "no ?token=***"),
    "a query with a plus for a blank": ("?token=abcd+efgh1234", {}, "no 'abcd efgh1234'", "no '***'"),
    "a query of any name": ("?a=b&sig=f00dfeedf00dfeed", {}, "sig=f00dfeedf00dfeed", "sig=***"),
    "a query without a name": ("?f00dfeedf00dfeed", {}, "no ?f00dfeedf00dfeed", "no ?***"),
    "a header of any name": ("", {"X-Session": "f00dfeedf00dfeed"}, "f00dfeedf00dfeed expired", "*** expired"),
    "one of two cookies": ("", {"Cookie": "theme=dark; sid=abcdef1234567"}, "abcdef1234567 expired", "*** expired"),
    "a value in quotes": (
        "",
        {"Authorization": 'Digest username="ann", response="abcdef1234567"'},
        "abcdef1234567 is wrong",
        "*** is wrong",
    ),
    "a password": ("", {"Authorization": LOGIN}, "hunter2hunter2 is wrong", "*** is wrong"),
    "a login": ("", {"Authorization": LOGIN}, "administrator:hunter2hunter2 is wrong", "*** is wrong"),
    "an encoded login": ("", {"authorization": LOGIN}, f"{LOGIN[6:]} is wrong", "*** is wrong"),
    "what is too short": ("?v=true", {"X-Tenant": "t1"}, "true for t1", "true for t1"),
    "a header that tells the kind": ("", {"User-Agent": "gateway/7.0"}, "gateway/7.0 is old", "gateway/7.0 is old"),
    "no credential": ("", {}, "no route http://10.1.2.3/v2", "no route http://10.1.2.3/v2"),
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("query, params, quoted, told", QUOTED.values(), ids=QUOTED.keys())
def test_a_credential_that_a_gateway_quotes_does_not_reach_the_client(
    query: str, params: dict[str, str], quoted: str, told: str, stream: bool
) -> None:
    given: dict[str, Any] = params if "api_key" in params else {"extra_headers": params}
    error = json.dumps({"error": quoted}).encode()
    with Upstream(decoupled=stream) as upstream:
        if stream:
            upstream.answer(*chunked(event(text_output="a"), b"data: " + error + b"\n\n"))
        else:
            upstream.answer(http(error, status="401 Unauthorized"))
        deployment = entry("m", upstream.url + query, **given)
        with serve(deployment, router_settings={"num_retries": 0}) as proxy:
            reply = chat(proxy, stream=stream)
    last = events(reply.text)[-1] if stream else reply.json()
    assert last["error"]["message"] == told
