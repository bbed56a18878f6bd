"""A client that disconnects cancels its request: the proxy closes the connection to Triton."""

import gc
import json
import socket
import time
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from adapter.tests.proxy.serving import MASTER, entry, get, post, serve
from adapter.tests.upstream import Answer, Upstream, chunked, endless, event
from triton_adapter.client import AsyncChunks
from triton_adapter.proxy import ProxyServer

VECTOR = {"name": "embedding", "datatype": "FP32", "shape": [2]}


def connect(proxy: ProxyServer) -> socket.socket:
    host, port = proxy.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def ask(connection: socket.socket, *, stream: bool, key: str = MASTER) -> None:
    """Send a chat request without waiting for its answer."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream})
    head = f"POST /chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())


def test_a_client_that_leaves_before_its_answer_cancels_the_request(whole_upstream: Upstream) -> None:
    whole_upstream.answer(then="hang")
    with serve(entry("m", whole_upstream.url)) as proxy:
        connection = connect(proxy)
        whole_upstream.on_post = connection.close
        ask(connection, stream=False)
        assert whole_upstream.left.wait(60)


def test_a_client_that_leaves_before_a_streams_first_text_cancels_it(upstream: Upstream) -> None:
    upstream.answer(then="hang")
    with serve(entry("m", upstream.url)) as proxy:
        connection = connect(proxy)
        upstream.on_post = connection.close
        ask(connection, stream=True)
        assert upstream.left.wait(60)


def test_a_client_that_leaves_in_mid_stream_cancels_it(upstream: Upstream) -> None:
    upstream.answer(*chunked(event(text_output="a"), end=False), then="hang")
    with serve(entry("m", upstream.url)) as proxy:
        with connect(proxy) as connection:
            ask(connection, stream=True)
            seen = b""
            while b'"content":"a"' not in seen:
                seen += connection.recv(4096)
        assert upstream.left.wait(60)


def test_a_client_that_leaves_ends_its_stream_although_its_tokens_cannot_be_counted(
    upstream: Upstream, tmp_path: Path
) -> None:
    tokenizer = str(tmp_path / "tokenizer.json")
    Tokenizer(models.WordLevel({"hi": 0})).save(tokenizer)  # an error for every other word
    upstream.answers.append(Answer(endless(event(text_output="x" * 65536))))
    with serve(entry("m", upstream.url, tokenizer=tokenizer)) as proxy:
        with connect(proxy) as connection:
            ask(connection, stream=True)
            deadline = time.monotonic() + 60
            while "client does not read" not in repr(list(proxy._server.server_state.connections)):
                assert time.monotonic() < deadline
            # While something refers to the stream, no finalizer closes it.
            streams = [one for one in gc.get_objects() if isinstance(one, AsyncChunks)]
        assert upstream.left.wait(60)
    assert streams


def test_a_client_that_left_is_counted_and_the_deployment_is_free_again(upstream: Upstream) -> None:
    upstream.answer(then="hang")
    with serve(entry("m", upstream.url, max_parallel_requests=1)) as proxy:
        connection = connect(proxy)
        upstream.on_post = connection.close
        ask(connection, stream=False)
        assert upstream.left.wait(60)
        upstream.on_post = lambda: None
        upstream.answer(*chunked(event(text_output="a")))
        with connect(proxy) as again:
            ask(again, stream=True)
            assert again.recv(100).startswith(b"HTTP/1.1 200 OK")
        left = 'triton_proxy_requests_total{route="chat/completions",model="m",status="499"} 1'
        assert left in get(proxy, "/metrics").text


@pytest.mark.parametrize("budget", ["request_budget", "token_budget"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_before_its_answer_has_used_its_budget(
    upstream: Upstream, budget: str, stream: bool
) -> None:
    upstream.answer(then="hang")
    with serve(entry("m", upstream.url)) as proxy:
        made = post(proxy, "/key/generate", {budget: 1}).json()
        connection = connect(proxy)
        upstream.on_post = connection.close
        ask(connection, stream=stream, key=made["key"])
        assert upstream.left.wait(60)
        left = 'triton_proxy_requests_total{route="chat/completions",model="m",status="499"} 1'
        while left not in get(proxy, "/metrics").text:
            pass
        used = get(proxy, f"/key/info?key={made['key']}").json()["info"]
        assert used["requests_used"] == 1
        assert used["tokens_used"] == -(-len(upstream.posts[0].json()["text_input"]) // 4)
        assert (
            f'triton_proxy_tokens_total{{model="m",kind="prompt"}} {used["tokens_used"]}'
            in get(proxy, "/metrics").text
        )
        with connect(proxy) as again:
            ask(again, stream=stream, key=made["key"])
            assert again.recv(100).startswith(b"HTTP/1.1 429 ")
        assert len(upstream.posts) == 1


def test_a_client_that_leaves_an_embedding_has_used_the_tokens_of_its_input(upstream: Upstream) -> None:
    upstream.answer(then="hang")
    upstream.metadata = {**upstream.metadata, "outputs": [VECTOR]} if upstream.metadata else None
    upstream.config["model_transaction_policy"]["decoupled"] = False
    with serve(entry("m", upstream.url)) as proxy:
        made = post(proxy, "/key/generate", {"token_budget": 1}).json()
        connection = connect(proxy)
        upstream.on_post = connection.close
        body = b'{"model":"m","input":"four, and five"}'
        head = f"POST /embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {made['key']}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert upstream.left.wait(60)
        while 'route="embeddings",model="m",status="499"} 1' not in get(proxy, "/metrics").text:
            pass
        used = get(proxy, f"/key/info?key={made['key']}").json()["info"]
        assert (used["requests_used"], used["tokens_used"]) == (1, 4)
