"""triton-contract serve: the real server, or the emulator, in the foreground."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from triton_contract.process import Ports
from triton_contract.reference.frontends import ended, queue_of_ends
from triton_contract.targets import is_url, target_of

from .options import version_option

_KNOWN = ("--model-repository", "--http-port", "--grpc-port", "--metrics-port")
_ALIASES = {"--model-store": "--model-repository"}


@click.command()
@click.option(
    "--target",
    "name",
    default="triton",
    show_default=True,
    help="triton or emulator, maybe with a version: triton==2.72.0.",
)
@version_option
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def serve(name: str, version: str, flags: tuple[str, ...]) -> None:
    r"""Run a server in the foreground, until Ctrl-C or SIGTERM.

    FLAGS, after `--`, are tritonserver's own. For ports that they do not set, free ports are taken.

    \b
      triton-contract serve --target triton -- --model-repository=models --http-port=8000
      triton-contract serve --target triton==2.72.0 -- --model-repository=models --model-control-mode=explicit
    """
    options, rest = split_flags(flags)
    repository = options.get("--model-repository")
    if repository is None:
        raise click.UsageError("give --model-repository=DIR after `--`")
    if is_url(name):
        raise click.UsageError(f"--target is triton or emulator, maybe with a version, not {name!r}")
    ports = _ports(options)
    ends = queue_of_ends()
    server = target_of(name, version=version, ports=ports)
    try:
        server.start(Path(repository).resolve(), rest)
        click.echo(f"{name} is ready: http 127.0.0.1:{ports.http}, grpc {ports.grpc_url}, ", nl=False)
        click.echo(f"metrics {ports.metrics_url}")
        sys.stdout.flush()
        while not ended(ends, within=0.2):
            if death := server.death():
                raise click.ClickException(f"{name} ended: {death}")
    finally:
        server.stop()


def _ports(options: dict[str, str]) -> Ports:
    free = Ports.free()
    return Ports(
        http=int(options.get("--http-port", free.http)),
        grpc=int(options.get("--grpc-port", free.grpc)),
        metrics=int(options.get("--metrics-port", free.metrics)),
    )


def split_flags(flags: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Separate the flags that we need to know, by name with their values, from all others, kept as they are."""
    found: dict[str, str] = {}
    rest: list[str] = []
    words = iter(flags)
    for word in words:
        name, equals, value = word.partition("=")
        name = _ALIASES.get(name, name)
        if name in _KNOWN:
            found[name] = value if equals else next(words, "")
        else:
            rest.append(word)
    return found, rest
