"""gRPC below the level of messages, equal on emulator and real server: framing, broken calls, compression, TLS."""

import gzip
import shutil
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from contract_tests.tests.witnesses.conftest import MODELS, TARGETS, serving
from contract_tests.tests.witnesses.http2 import (
    ACK,
    CANCEL,
    DATA,
    END_STREAM,
    GOAWAY,
    PING,
    RST_STREAM,
    Answer,
    call,
    connect,
    frame,
    frames,
    message,
    read,
    start,
)
from triton_contract.cases.messages import build
from triton_contract.cases.protobuf import SERVICE, message_classes
from triton_contract.targets import Target

CERTIFICATES = Path(__file__).parents[3] / "emulator" / "tests" / "frontends" / "certificates"


def infer_request(elements: int = 1) -> bytes:
    classes = message_classes(f"/{SERVICE}/ModelInfer")
    assert classes is not None
    fields = {
        "model_name": "id_fp32",
        "inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [elements]}],
        "raw_input_contents": [{"zeros": 4 * elements}],
    }
    data: bytes = build(classes[0](), fields).SerializeToString()
    return data


ONE = infer_request()
UNPARSABLE = (13, "Unable to parse request", 0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of one model, so that a server starts quickly."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(MODELS / "small" / "id_fp32", folder / "id_fp32")
    return folder


@pytest.fixture(scope="module", params=TARGETS)
def address(request: pytest.FixtureRequest, models: Path) -> Iterator[str]:
    """The gRPC address of each target in turn."""
    with serving(request.param, models) as target:
        yield grpc_address(target)


def grpc_address(target: Target) -> str:
    assert target.grpc is not None
    return target.grpc


def seen(answer: Answer) -> tuple[int | None, str, int]:
    """Status, its text, and how many bytes of messages there are."""
    return answer.status, answer.details, len(answer.data)


# --- framing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (message(ONE), (0, "", 43)),
        (message(ONE) * 2, (0, "", 43)),
        (message(ONE)[:3], UNPARSABLE),
        (message(ONE)[:-1], UNPARSABLE),
        (message(ONE, length=0x7FFFFFFF), UNPARSABLE),
        (b"", UNPARSABLE),
        (message(b""), (5, "Request for unknown model: '' is not found", 0)),
    ],
    ids=[
        "one message",
        "a second message is not looked at",
        "the prefix is cut",
        "the message is cut",
        "the prefix promises two gigabytes",
        "no message",
        "an empty message",
    ],
)
def test_a_call_that_takes_one_message(address: str, body: bytes, expected: tuple[int, str, int]) -> None:
    assert seen(call(address, "ModelInfer", body)) == expected


def test_a_method_without_fields_still_takes_a_message(address: str) -> None:
    assert seen(call(address, "ServerLive", message(b""))) == (0, "", 7)
    assert seen(call(address, "ServerLive", b"")) == UNPARSABLE


def test_a_message_comes_in_any_pieces(address: str) -> None:
    body = message(ONE)
    pieces = [body[at : at + 1] for at in range(len(body))]
    assert seen(call(address, "ModelInfer", *pieces)) == (0, "", 43)


@pytest.mark.parametrize(
    ("body", "length"),
    [(b"", 0), (message(ONE) * 2, 148), (message(ONE) + message(ONE)[:8], 74)],
    ids=["no message", "two messages", "the second is cut"],
)
def test_a_stream_answers_what_is_whole(address: str, body: bytes, length: int) -> None:
    assert seen(call(address, "ModelStreamInfer", body)) == (0, "", length)


def test_a_call_that_is_reset_half_way_does_not_end_the_connection(address: str) -> None:
    with connect(address) as connection:
        for stream, method in ((1, "ModelInfer"), (3, "ModelStreamInfer")):
            half = frame(DATA, 0, message(ONE)[:20], stream)
            connection.sendall(start(method, stream=stream) + half + frame(RST_STREAM, 0, CANCEL, stream))
        connection.sendall(start("ModelInfer", stream=5) + frame(DATA, END_STREAM, message(ONE), stream=5))
        assert seen(read(connection, stream=5)) == (0, "", 43)


def test_connections_that_break_half_way_do_not_end_the_server(address: str) -> None:
    for method in ("ModelInfer", "ModelStreamInfer"):
        for cut in (1, 5, 20):
            with connect(address) as connection:
                connection.sendall(start(method) + frame(DATA, 0, message(ONE)[:cut]))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert seen(call(address, "ModelInfer", message(ONE))) == (0, "", 43)


# --- compression ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "compressed"),
    [("gzip", gzip.compress(ONE)), ("deflate", zlib.compress(ONE))],
    ids=["gzip", "deflate"],
)
def test_requests_may_be_compressed(address: str, encoding: str, compressed: bytes) -> None:
    headers = {"grpc-encoding": encoding}
    assert seen(call(address, "ModelInfer", message(compressed, flag=1), headers=headers)) == (0, "", 43)
    assert seen(call(address, "ModelInfer", message(ONE), headers=headers)) == (0, "", 43)
    # the text differs between releases of gRPC, so only the status is compared
    assert call(address, "ModelInfer", message(compressed[:-6], flag=1), headers=headers).status == 13


ACCEPTED = ("", "identity", "gzip", "deflate", "identity, deflate, gzip")


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("low", ("none", "none", "gzip", "deflate", "gzip")),
        ("high", ("none", "none", "gzip", "deflate", "deflate")),
    ],
)
@pytest.mark.parametrize("name", TARGETS)
def test_answers_to_inferences_are_compressed_as_the_client_accepts(
    models: Path, name: str, level: str, expected: tuple[str, ...]
) -> None:
    with serving(name, models, f"--grpc-infer-response-compression-level={level}") as target:
        address = grpc_address(target)

        def compressions(method: str, data: bytes) -> tuple[str, ...]:
            return tuple(
                call(address, method, message(data), headers={"grpc-accept-encoding": accepted}).compression
                for accepted in ACCEPTED
            )

        assert compressions("ModelInfer", infer_request(1000)) == expected
        assert compressions("ModelStreamInfer", infer_request(1000)) == expected
        # a message that would not get smaller, and an answer to a call that is no inference
        assert set(compressions("ModelInfer", ONE)) == {"none"}
        assert set(compressions("ModelConfig", b"\x0a\x07id_fp32")) == {"none"}


# --- connections ----------------------------------------------------------------------------------------------------

KEEPALIVE = (
    "--grpc-keepalive-time=500",
    "--grpc-keepalive-timeout=500",
    "--grpc-keepalive-permit-without-calls=true",
    "--grpc-http2-max-pings-without-data=0",
    "--grpc-http2-max-ping-strikes=1",
)


@pytest.mark.parametrize("name", TARGETS)
def test_a_connection_that_answers_no_pings_is_closed_and_one_that_pings_too_often(
    models: Path, name: str
) -> None:
    with serving(name, models, *KEEPALIVE) as target:
        with connect(grpc_address(target)) as silent:
            kinds = [each.kind for each in frames(silent) if not each.flags & ACK]
        assert PING in kinds
        with connect(grpc_address(target)) as eager:
            eager.sendall(frame(PING, 0, bytes(8), stream=0) * 6)
            [farewell] = [each for each in frames(eager) if each.kind == GOAWAY]
        enhance_your_calm = (11).to_bytes(4, "big")
        assert farewell.payload[4:] == enhance_your_calm + b"too_many_pings"


@pytest.mark.parametrize("name", TARGETS)
def test_a_connection_beyond_its_maximum_age_is_closed(models: Path, name: str) -> None:
    flags = ("--grpc-max-connection-age=200", "--grpc-max-connection-age-grace=200")
    with serving(name, models, *flags) as target:
        with connect(grpc_address(target)) as connection:
            farewells = [each.payload for each in frames(connection) if each.kind == GOAWAY]
        # The first GOAWAY refuses new calls, the second ends the connection. Their texts depend on gRPC's release.
        assert [int.from_bytes(each[4:8], "big") for each in farewells] == [0, 2]


# --- TLS -----------------------------------------------------------------------------------------------------------

PAIR = (
    f"--grpc-server-cert={CERTIFICATES / 'server.pem'}",
    f"--grpc-server-key={CERTIFICATES / 'server.key'}",
)
AUTHORITY = str(CERTIFICATES / "authority.pem")
OWN = {
    "private_key": str(CERTIFICATES / "client.key"),
    "certificate_chain": str(CERTIFICATES / "client.pem"),
}


def is_live(address: str, **options: str) -> bool:
    """Whether the server answers a client that uses TLS with these options; without options the client uses no TLS.

    Raises InferenceServerException if they cannot connect.
    """
    url = address.replace("127.0.0.1", "localhost")  # the certificate is for localhost
    with tritonclient.grpc.InferenceServerClient(
        url, ssl=bool(options), root_certificates=options.pop("root", None), **options
    ) as client:
        return bool(client.is_server_live(client_timeout=10))


@pytest.mark.parametrize("name", TARGETS)
def test_clients_must_use_tls_where_the_server_requires_it(models: Path, name: str) -> None:
    with serving(name, models, "--grpc-use-ssl=true", *PAIR) as target:
        address = grpc_address(target)
        assert is_live(address, root=AUTHORITY)
        assert is_live(address, root=AUTHORITY, **OWN)
        with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
            is_live(address)


@pytest.mark.parametrize("name", TARGETS)
def test_clients_must_send_a_certificate_where_the_server_requires_it(models: Path, name: str) -> None:
    flags = ("--grpc-use-ssl-mutual=true", f"--grpc-root-cert={AUTHORITY}", *PAIR)
    with serving(name, models, *flags) as target:
        address = grpc_address(target)
        assert is_live(address, root=AUTHORITY, **OWN)
        for options in ({"root": AUTHORITY}, {}):
            with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
                is_live(address, **options)
