"""The command `triton-proxy`, with LiteLLM's flags and LiteLLM's `config.yaml`."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from triton_adapter.extras import MissingExtra, needing

if TYPE_CHECKING:
    from triton_adapter.proxy.config.values import Config

ALLOW_WEAK = ("TRITON_PROXY_ALLOW_WEAK_MASTER_KEY", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY")
LOCAL, EVERYWHERE = "127.0.0.1", "0.0.0.0"  # noqa: S104 - what LiteLLM listens on


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(
        prog="triton-proxy", description="An OpenAI-compatible proxy in front of Triton Inference Server."
    )
    made.add_argument("--config", "-c", metavar="FILE", help="LiteLLM's config.yaml")
    made.add_argument("--check", metavar="FILE", help="report the mistakes in a config and exit")
    made.add_argument("--host", help=f"default: {EVERYWHERE} with a strong master key, {LOCAL} without one")
    made.add_argument("--port", type=_port, default=4000, help="default: 4000; 0 takes a free port")
    made.add_argument(
        "--allow-weak-master-key",
        action="store_true",
        help="for local use: accept a weak master key such as sk-1234, or none at all on any --host",
    )
    made.add_argument("--ssl_keyfile_path", metavar="FILE", help="serve HTTPS with this key")
    made.add_argument("--ssl_certfile_path", metavar="FILE", help="serve HTTPS with this certificate")
    made.add_argument(
        "--debug", action="store_true", help="log every request: its status, route, model and time"
    )
    made.add_argument(
        "--detailed_debug", action="store_true", help="log more; never a key, message or address"
    )
    made.add_argument("--version", action="store_true", help="print the version and exit")
    return made


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port: 0 to 65535")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    0; 1 for a config that cannot be used, or a package that is missing; 2 for a wrong command line.
    """
    made = parser()
    given = made.parse_args(argv)
    if given.version:
        print(f"triton-proxy {version('triton-emulator')}")
        return 0
    file = given.check or given.config
    if file is None:
        made.error("--config FILE is required (or --check FILE)")
    try:
        with needing("proxy", "triton-proxy", "fastapi"):
            from triton_adapter.proxy.config.reader import read_file
            from triton_adapter.proxy.config.values import ConfigError
            from triton_adapter.proxy.keys.auth import check_master_key
    except MissingExtra as error:
        print(error, file=sys.stderr)
        return 1
    weak = given.allow_weak_master_key or any(
        os.environ.get(name, "").lower() in ("1", "true", "yes") for name in ALLOW_WEAK
    )
    try:
        config = read_file(file)
        mistake = check_master_key(config)
        if mistake is not None and not weak:
            raise ConfigError([mistake], file)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if given.check:
        print(f"{file}: {_summary(config)}")
        return 0
    secured = config.master_key is not None and mistake is None
    host = given.host or (EVERYWHERE if secured else LOCAL)
    if config.master_key is None and not weak and host not in (LOCAL, "localhost", "::1"):
        print(
            f"{file}: without general_settings.master_key anyone who can reach {host} could call the models:"
            " set one, or start with --allow-weak-master-key",
            file=sys.stderr,
        )
        return 1
    if told := _tls_mistake(given.ssl_certfile_path, given.ssl_keyfile_path):
        print(f"triton-proxy: {told}", file=sys.stderr)
        return 1
    return _serve(replace(config, database=config.database or _database(file)), host, given)


def _tls_mistake(certificate: str | None, key: str | None) -> str | None:
    """Return why HTTPS cannot be served with these files, or None."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        return "HTTPS needs both --ssl_certfile_path and --ssl_keyfile_path"
    import ssl

    for file in (certificate, key):
        try:
            open(file, "rb").close()  # noqa: PTH123 - nothing is read
        except OSError as error:
            return f"{file} cannot be read: {error.strerror}"
    try:
        # An encrypted key is refused: there may be no one to ask for its password.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or "they are not a certificate and key in PEM"
        return f"{certificate} and {key} cannot be used: {str(reason).replace('_', ' ').lower()}"
    return None


def _serve(config: "Config", host: str, given: argparse.Namespace) -> int:
    from triton_adapter.proxy.keys.file import StoreError
    from triton_adapter.proxy.server import serve

    level = logging.DEBUG if given.detailed_debug else logging.INFO if given.debug else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # The detailed logs of libraries may hold addresses and headers.
    for name in ("asyncio", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)

    def ready(url: str) -> None:
        print(f"triton-proxy: {_summary(config)} on {url}", flush=True)

    keyfile, certfile = given.ssl_keyfile_path, given.ssl_certfile_path
    try:
        serve(config, host, given.port, ready, ssl_keyfile=keyfile, ssl_certfile=certfile)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]
        print(f"triton-proxy: cannot listen on {host}:{given.port}: {reason}", file=sys.stderr)
        return 1
    except StoreError as error:
        print(f"triton-proxy: {config.database}: {error}", file=sys.stderr)
        return 1
    return 0


def _summary(config: "Config") -> str:
    count = len({entry.name for entry in config.models})
    access = "keys are required" if config.master_key else "no master key: anybody may call"
    return f"{count} model{'s' * (count != 1)}, {access}"


def _database(file: str) -> str:
    """Return the default path of the file of keys: next to the config."""
    return f"{os.path.splitext(file)[0]}.keys.db"  # noqa: PTH122 - a str is what SQLite takes


if __name__ == "__main__":
    sys.exit(main())
