"""Servers for these clients: the emulator and the real tritonserver over one repository, each started once."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from triton_contract.reference.pytest_support import RERUN, require_reference, telling_deaths
from triton_contract.targets import Target, TargetUnavailable, TritonTarget, emulator_command, target_of

MODELS = Path(__file__).parents[2] / "triton_contract" / "models"
#: the repository of an emulator without --model-repository; the real server can load it too
BUILTIN = Path(__file__).parents[3] / "emulator" / "triton_emulator" / "builtin" / "models"
CHOSEN = (
    *("datatypes/*", "http/echo", "http/labels", "http/err", "http/dec", "http/two"),
    *("explicit/versions", "schedulers/seq"),
)
TARGETS = ("emulator", "triton")


def pytest_itemcollected(item: pytest.Item) -> None:
    callspec = getattr(item, "callspec", None)
    if callspec is not None and "triton" in callspec.params.values():
        item.add_marker(RERUN)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Raise ReferenceDied for a failed test whose real server has died."""
    targets = [each for each in getattr(item, "funcargs", {}).values() if isinstance(each, TritonTarget)]
    with telling_deaths(*targets):
        return (yield)


@pytest.fixture(autouse=True)
def alive(request: pytest.FixtureRequest) -> None:
    """Restart a real server that has died."""
    for name in {"server", "builtin_server"} & set(request.fixturenames):
        target = request.getfixturevalue(name)
        if isinstance(target, TritonTarget) and target.death() is not None:
            target.restart()


@contextmanager
def serving(name: str, repository: Path, *flags: str) -> Iterator[Target]:
    """Run one target. Where the real server is not available, the test is skipped (in CI it fails)."""
    if name == "triton":
        require_reference()
    else:
        try:
            emulator_command()
        except TargetUnavailable as unavailable:
            pytest.skip(str(unavailable))
    target = target_of(name)
    target.start(repository, flags)
    try:
        with telling_deaths(*([target] if isinstance(target, TritonTarget) else [])):
            yield target
    finally:
        target.stop()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of some of the contract's models. Loading and unloading them affects no other test."""
    folder = tmp_path_factory.mktemp("models")
    for pattern in CHOSEN:
        for model in MODELS.glob(pattern):
            shutil.copytree(model, folder / model.name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module", params=TARGETS)
def server(request: pytest.FixtureRequest, repository: Path) -> Iterator[Target]:
    """Each target in turn, with every model of `repository` loaded; tests may unload them."""
    flags = ("--model-control-mode=explicit", "--load-model=*", "--exit-on-error=false")
    with serving(request.param, repository, *flags) as target:
        yield target


@pytest.fixture(scope="module", params=TARGETS)
def builtin_server(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Each target in turn, with the emulator's built-in models."""
    with serving(request.param, BUILTIN) as target:
        yield target
