"""How an https connection to Triton is secured, in LiteLLM's words: `ssl_verify` and `ssl_certificate`."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from triton_adapter.errors import AdapterError, APIConnectionError, BadRequestError


@dataclass(frozen=True, slots=True)
class Tls:
    """What is checked and shown. `verify` is a flag, or the path of a PEM file with the authorities to trust.

    `certificate` is the path of a PEM file with the client's certificate; its key is there too, or in `key`.
    """

    verify: bool | str = True
    certificate: str | None = None
    key: str | None = None


_Stamp = tuple[tuple[int, int, int] | None, ...]
# By its settings, each with the state of the files that it was made of.
_made: dict[Tls | None, tuple[_Stamp, ssl.SSLContext]] = {}
MOST = 64


def context(tls: Tls | None) -> ssl.SSLContext:
    """Return the context of a connection; without settings it trusts what the system trusts.

    It is made anew when a file of its settings has changed: certificates are renewed while programs run.
    BadRequestError names the setting whose file cannot be used; one that worked before goes on working.
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
        return known[1]  # the files are being replaced: looked at again by the next connection
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
    except OSError as error:  # SSLError is one
        raise BadRequestError(
            "ssl_verify must be true, false or the path of a PEM file with certificates", param="ssl_verify"
        ) from error
    if tls.verify is False:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if tls.certificate is not None:
        try:
            # A key that is locked is refused: nobody is there to be asked for its password.
            made.load_cert_chain(tls.certificate, tls.key, password="")
        except OSError as error:
            raise BadRequestError(
                "ssl_certificate must be the path of a PEM file with a certificate and its key, unless ssl_key names "
                "the key's own file",
                param="ssl_certificate",
            ) from error
    return made


def refusal(error: BaseException | None, *, secure: bool, shown: bool, agreed: bool) -> AdapterError | None:
    """Return what a connection's end before any answer means for TLS; None if that has nothing to do with it.

    `shown` says that a certificate was shown, `agreed` that the handshake was over on this side. A server that wants a
    certificate refuses only then (TLS 1.3), and may say so or just leave.
    """
    if not secure:
        return None
    if isinstance(error, ssl.SSLCertVerificationError):
        return APIConnectionError(
            f"Triton's certificate is not trusted ({error.verify_message.rstrip('.')}): name the file of its authority "
            "as ssl_verify",
            code="upstream_certificate",
        )
    hint = "" if shown else "; if the server asks for a client's certificate, name it as ssl_certificate"
    if isinstance(error, ssl.SSLError) and error.reason:
        reason = error.reason.lower().replace("_", " ")
        if reason in ("wrong version number", "record layer failure"):
            hint = ": the server speaks no TLS there"
        return APIConnectionError(f"TLS with Triton failed ({reason}){hint}", code="upstream_tls")
    if isinstance(error, ConnectionResetError) and not agreed:
        return APIConnectionError(
            "the server broke off before TLS was agreed on: does it speak http there?",
            code="upstream_tls",
            retryable=True,
        )
    if error is None or agreed or isinstance(error, ssl.SSLError):
        return APIConnectionError(f"the connection to Triton broke{hint}", retryable=True)
    return None
