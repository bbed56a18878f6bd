"""An https address: which servers are trusted, which client certificate is sent, and the errors if one is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapter.tests.driving import Sdk, ask, failure, text_of
from adapter.tests.gateway import AUTHORITY, CLIENT, CLIENT_ALONE, CLIENT_KEY, TlsGateway
from adapter.tests.upstream import Upstream
from triton_adapter import errors


@pytest.fixture
def gateway(triton: str) -> Iterator[str]:
    """Each Triton, reached over TLS."""
    with TlsGateway(triton) as running:
        yield running.url


@pytest.fixture
def strict_gateway(triton: str) -> Iterator[str]:
    """Each Triton, reached over TLS that requires a client certificate."""
    with TlsGateway(triton, ask_client=True) as running:
        yield running.url


@pytest.mark.parametrize("verify", [AUTHORITY, False], ids=["its authority is named", "nothing is verified"])
def test_an_https_address_is_called(sdk: Sdk, gateway: str, verify: bool | str) -> None:
    reply = sdk.completion("vllm", ask("SAY one two"), api_base=gateway, ssl_verify=verify)
    assert reply.choices[0].message.content == "one two"
    chunks, error = sdk.collect("vllm", ask("SAY one two"), api_base=gateway, ssl_verify=verify, n=2)
    assert error is None
    assert text_of(chunks, 0) == "one two"
    assert sdk.embedding("embed", "abc", api_base=gateway, ssl_verify=verify).data[0].embedding[0] == 3


def test_an_untrusted_certificate_is_refused_with_the_fix(sdk: Sdk, gateway: str) -> None:
    error = failure(lambda: sdk.completion("flat", ask("x"), api_base=gateway))
    assert isinstance(error, errors.APIConnectionError)
    assert (error.status_code, error.code, error.retryable) == (502, "upstream_certificate", False)
    assert error.message.startswith("Triton's certificate is not trusted (")
    assert error.message.endswith("): set ssl_verify to the file of its authority")


@pytest.mark.parametrize(
    "shown",
    [{"ssl_certificate": CLIENT}, {"ssl_certificate": CLIENT_ALONE, "ssl_key": CLIENT_KEY}],
    ids=["one file", "two files"],
)
def test_a_client_shows_its_certificate(sdk: Sdk, strict_gateway: str, shown: dict[str, str]) -> None:
    reply = sdk.completion("flat", ask("SAY hi"), api_base=strict_gateway, ssl_verify=AUTHORITY, **shown)
    assert reply.choices[0].message.content == "hi"


def test_a_client_without_a_certificate_is_told_that_it_needs_one(sdk: Sdk, strict_gateway: str) -> None:
    params: dict[str, Any] = {"api_base": strict_gateway, "ssl_verify": AUTHORITY, "num_retries": 0}
    error = failure(lambda: sdk.completion("flat", ask("x"), **params))
    assert isinstance(error, errors.APIConnectionError)
    assert error.message.endswith("if the server requires a client certificate, set ssl_certificate")


def test_a_certificate_that_is_renewed_is_used_by_the_next_connection(
    sdk: Sdk, gateway: str, tmp_path: Path
) -> None:
    authority = tmp_path / "authority.pem"
    authority.write_bytes(Path(CLIENT_ALONE).read_bytes())  # the only trusted certificate is unrelated
    asked = {"api_base": gateway, "ssl_verify": str(authority), "num_retries": 0}
    assert failure(lambda: sdk.completion("flat", ask("x"), **asked)).code == "upstream_certificate"
    authority.write_text("half a file")
    assert failure(lambda: sdk.completion("flat", ask("x"), **asked)).code == "upstream_certificate"
    authority.write_bytes(Path(AUTHORITY).read_bytes())
    assert sdk.completion("flat", ask("x"), **asked).choices[0].message.content


def test_https_to_an_http_port_is_reported(sdk: Sdk, triton: str) -> None:
    address = triton.replace("http:", "https:")
    error = failure(lambda: sdk.completion("flat", ask("x"), api_base=address, num_retries=0))
    assert (error.status_code, error.code) == (502, "upstream_tls")
    assert (
        error.message
        == "the server closed the connection during the TLS handshake: does it speak plain http on this port?"
    )


def test_https_to_a_port_of_another_protocol_is_reported(sdk: Sdk, upstream: Upstream) -> None:
    address = upstream.url.replace("http:", "https:")
    error = failure(lambda: sdk.completion("m", ask("x"), api_base=address, num_retries=0))
    assert (error.status_code, error.code) == (502, "upstream_tls")
    assert error.message in (
        "TLS with Triton failed (wrong version number): the server does not speak TLS there",
        "TLS with Triton failed (record layer failure): the server does not speak TLS there",
    )


@pytest.mark.parametrize(
    "given, param",
    [
        ({"ssl_verify": "/no/such/file"}, "ssl_verify"),
        ({"ssl_verify": CLIENT_KEY}, "ssl_verify"),
        ({"ssl_verify": 5}, "ssl_verify"),
        ({"ssl_certificate": "/no/such/file"}, "ssl_certificate"),
        ({"ssl_certificate": CLIENT_ALONE}, "ssl_certificate"),
        ({"ssl_certificate": True}, "ssl_certificate"),
    ],
    ids=["no file", "a file without certificates", "a number", "no certificate", "no key", "a flag"],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(
    sdk: Sdk, tmp_path: Path, given: dict[str, Any], param: str
) -> None:
    error = failure(lambda: sdk.completion("m", ask("x"), api_base="https://127.0.0.1:9", **given))
    assert isinstance(error, errors.BadRequestError)
    assert (error.status_code, error.param) == (400, param)
