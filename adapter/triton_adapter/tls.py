"""TLS to Triton, by LiteLLM's settings `ssl_verify` and `ssl_certificate`, and what its failures mean."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from triton_adapter.errors import AdapterError, APIConnectionError, BadRequestError


@dataclass(frozen=True, slots=True)
class Tls:
    """What is verified and sent. `verify` is a flag, or the path of a PEM file with the authorities to trust.

    `certificate` is the path of a PEM file with the client's certificate; its key is there too, or in `key`.
    """

    verify: bool | str = True
    certificate: str | None = None
    key: str | None = None


# OpenSSL's reasons to refuse a certificate that another authority would not mend.
_FIXES = {
    9: "it is not valid yet; is the clock of this machine right?",
    10: "it must be renewed",
    62: "the name in api_base must be one of the certificate's",
    64: "the address in api_base must be one of the certificate's",
}
_Stamp = tuple[tuple[int, int, int] | None, ...]
# Contexts by their settings, each with the state of its files when it was made.
_made: dict[Tls | None, tuple[_Stamp, ssl.SSLContext]] = {}
MOST = 64


def context(tls: Tls | None) -> ssl.SSLContext:
    """Return the context of a connection. Without settings it trusts the system's authorities.

    It is made again when one of its files has changed, as certificates are renewed while programs run. BadRequestError
    names the setting whose file cannot be used; if an older context exists, that is returned instead.
    """
    paths = (tls.verify, tls.certificate, tls.key) if tls is not None else ()
    stamp = tuple(_stamp(path) for path in paths)
    known = _made.get(tls)
    if known is not None and known[0] == stamp:
        return known[1]
    try:
        made = _context(tls)
    except BadRequestError:
        if known is None:
            raise
        return known[1]  # the files are being replaced; the next connection tries again
    if len(_made) >= MOST:
        _made.clear()
    _made[tls] = stamp, made
    return made


def _stamp(path: str | bool | None) -> tuple[int, int, int] | None:
    if not isinstance(path, str):
        return None
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _context(tls: Tls | None) -> ssl.SSLContext:
    if tls is None:
        return ssl.create_default_context()
    try:
        made = ssl.create_default_context(cafile=tls.verify if isinstance(tls.verify, str) else None)
    except OSError as error:  # SSLError is a subclass
        raise BadRequestError(
            "ssl_verify must be true, false or the path of a PEM file with certificates", param="ssl_verify"
        ) from error
    if tls.verify is False:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if tls.certificate is not None:
        try:
            # An encrypted key is refused: no one can be asked for its password.
            made.load_cert_chain(tls.certificate, tls.key, password="")
        except OSError as error:
            raise BadRequestError(
                "ssl_certificate must be the path of a PEM file with a certificate and its key, unless ssl_key names "
                "the key's own file",
                param="ssl_certificate",
            ) from error
    return made


def refusal(error: BaseException | None, *, secure: bool, shown: bool, agreed: bool) -> AdapterError | None:
    """Return the error if TLS is why a connection ended before any answer; None if it is not.

    `shown` says that a client certificate was sent, `agreed` that the handshake had ended on this side. In TLS 1.3 a
    server that requires a certificate refuses only after that, with an alert or by closing the connection.
    """
    if not secure:
        return None
    if isinstance(error, ssl.SSLCertVerificationError):
        # Python adds the name that was asked for, which is an address.
        why = error.verify_message.partition(", certificate is not valid for ")[0].rstrip(".")
        fix = _FIXES.get(error.verify_code, "set ssl_verify to the file of its authority")
        return APIConnectionError(
            f"Triton's certificate is not trusted ({why}): {fix}", code="upstream_certificate"
        )
    hint = "" if shown else "; if the server requires a client certificate, set ssl_certificate"
    if isinstance(error, ssl.SSLError) and error.reason:
        reason = error.reason.lower().replace("_", " ")
        if reason in ("wrong version number", "record layer failure"):
            hint = ": the server does not speak TLS there"
        return APIConnectionError(f"TLS with Triton failed ({reason}){hint}", code="upstream_tls")
    if isinstance(error, ConnectionResetError) and not agreed:
        return APIConnectionError(
            "the server closed the connection during the TLS handshake: does it speak plain http on this port?",
            code="upstream_tls",
            retryable=True,
        )
    if error is None or agreed or isinstance(error, ssl.SSLError):
        return APIConnectionError(f"the connection to Triton broke{hint}", retryable=True)
    return None
