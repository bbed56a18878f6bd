"""The pytest plugin: the fixtures `triton_emulator` (one for the whole run) and `triton` (a session for each test).

    def test_my_gateway(triton):
        gateway = Gateway(upstream=triton.http_url)

The option `--triton-model-repository` or the ini setting `triton_model_repository` names the models that they serve;
without it, they serve the built-in ones. The marker `triton` gives the session of one test its models and options.

`--triton=wheel`, `container` or the URL of a server lets the fixtures stand in front of a real server. The marker
`triton_cassette` records what it answers when a test runs for the first time, and replays that afterwards.

A test that has passed fails if a plan of its session did not fire or complete, if a stub was not used, if a request
came for a path or a model that is not there, or if a handler failed. `triton.allow(...)`, the marker's `allow` and the
ini setting `triton_allow` each turn one of these off. `--triton-verdict` reports what the client did wrong.
"""

import argparse
import json
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from triton_emulator.emulator import Emulator, Session

_MARKER = (
    "triton(*model_repository, allow=(), **options): the models and the options (of Emulator.session) of the fixture "
    "`triton`; `allow` names what does not fail the test at its end: unfired, unused, unknown, exceptions"
)
_CASSETTE_MARKER = (
    "triton_cassette(path=None, **options): record what the server answers to this test when it first passes, and "
    "replay that afterwards; `path` is relative to the test's file, `options` are replay_timing and on_miss"
)
#: the target that is no real server
EMULATOR = "emulator"
#: Triton's own image of the version that the emulator acts as
IMAGE = "nvcr.io/nvidia/tritonserver:24.10-py3"
_PASSED: "pytest.StashKey[bool]" = pytest.StashKey()
_SESSION: "pytest.StashKey[Session]" = pytest.StashKey()
#: flags and the targets that have them
_FLAGS_OF = {
    "--triton-model-repository": (EMULATOR, "wheel", "container"),
    "--triton-grpc": ("the URL of a server",),
    "--triton-metrics": ("the URL of a server",),
    "--triton-image": ("container",),
}
#: what a flag asks for. Each is a flag without a value: one whose value may be missing takes the path of the tests that
#: follows it for its value. argparse knows a flag with a `=` in it before it looks for a value.
_VERDICT_FLAGS = {
    "--triton-verdict": "report",
    "--triton-verdict=report": "report",
    "--triton-verdict=fail": "fail",
}
#: the fixtures
_USED = {"triton", "triton_emulator"}
#: the property of a report that says what a test has recorded
_RECORDED = "triton_recorded"
#: the property of a report that has a verdict
_VERDICT = "triton_verdict"
_HELP = "model repository of the `triton` and `triton_emulator` fixtures; may be given several times"


class _StoreVerdict(argparse.Action):
    """Stores which of `_VERDICT_FLAGS` was given."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, **options)

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: object, option_string: str | None = None
    ) -> None:
        setattr(namespace, self.dest, _VERDICT_FLAGS[option_string or ""])


def _verdict_file(text: str) -> str:
    """The FILE of --triton-verdict-json. What pytest could take for tests is refused: it would be written over."""
    path = Path(text)
    if path.is_dir() or path.suffix == ".py" or "::" in text:
        raise argparse.ArgumentTypeError(
            f"{text!r} are tests; name a file for the verdict, such as --triton-verdict-json=verdict.json {text}"
        )
    return text


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("triton", "Triton emulator")
    group.addoption("--triton-model-repository", action="append", default=[], metavar="DIR", help=_HELP)
    parser.addini("triton_model_repository", _HELP.partition(";")[0], type="paths", default=[])
    parser.addini(
        "triton_allow",
        "what does not fail a test at its end: unfired, unused, unknown, exceptions",
        type="args",
        default=[],
    )

    for name, default, meaning in (
        (
            "triton",
            "emulator",
            "what the fixtures stand for: emulator, wheel, container, or the URL of a real server",
        ),
        ("triton-grpc", "", "host:port of the gRPC port of the server that --triton names by its URL"),
        ("triton-metrics", "", "the URL of the metrics of the server that --triton names by its URL"),
        ("triton-image", IMAGE, "the image of --triton=container"),
    ):
        group.addoption(f"--{name}", metavar="TARGET" if name == "triton" else "VALUE", help=meaning)
        parser.addini(name.replace("-", "_"), meaning, default=default)
    group.addoption(
        *_VERDICT_FLAGS,
        dest="triton_verdict",
        action=_StoreVerdict,
        help="report what clients did wrong in the tests with the fixture `triton`, or fail these tests for it",
    )
    group.addoption(
        "--triton-verdict-json",
        metavar="FILE",
        type=_verdict_file,
        help="write what clients did wrong into a file, as well as --triton-verdict=report",
    )
    parser.addini(
        "triton_verdict_ignore", "rules of --triton-verdict that are not wanted", type="args", default=[]
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)
    config.addinivalue_line("markers", _CASSETTE_MARKER)


def _asked(config: pytest.Config, name: str) -> str:
    """The value of an option, else of the ini setting."""
    return str(config.getoption(f"--{name}") or config.getini(name.replace("-", "_")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Skip a test whose fixtures ask what the target cannot do."""
    try:
        return (yield)
    except Exception as fault:
        _skip_for(item, fault)
        raise


def _skip_for(item: pytest.Item, fault: BaseException) -> None:
    """Skip a test that has asked what its target, or the replay of its cassette, cannot do."""
    if not _USED & set(getattr(item, "fixturenames", ())):
        return
    from triton_emulator.harness.errors import NeedsModels, NeedsServer

    target, replays = _asked(item.config, "triton"), item.get_closest_marker("triton_cassette") is not None
    # one that a file or a flag gives has the error that the command tells as its face
    for cause in (fault, fault.__cause__):
        if (isinstance(cause, NeedsModels) and (target != EMULATOR or replays)) or (
            isinstance(cause, NeedsServer)
        ):
            name = f"--triton={target}" if target != EMULATOR or not replays else "triton_cassette"
            pytest.skip(f"{name}: {cause}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that has passed if its session has problems. With one that has failed, show what came wrongly."""
    try:
        result = yield
    except (Exception, pytest.fail.Exception) as fault:
        _skip_for(item, fault)
        if (session := item.stash.get(_SESSION, None)) is None:
            raise
        session.allow("unfired", "unused")  # what a test that has not come to its end may leave
        if problems := session.problems():  # they may be why it failed
            item.add_report_section("call", "triton", "\n".join(problems))
        raise
    if (session := item.stash.get(_SESSION, None)) is not None:
        if problems := session.problems():
            pytest.fail("\n".join(problems), pytrace=False)
        if wanted := _verdict(item.config):
            _judge(item, session, fails=wanted == "fail")
        item.stash[_PASSED] = True
    return result


def _verdict(config: pytest.Config) -> str | None:
    """What becomes of the verdict: "report", "fail", or nothing. A file that is asked for needs a report."""
    wanted: str | None = config.getoption("triton_verdict")
    return wanted or ("report" if config.getoption("--triton-verdict-json") else None)


def _judge(item: pytest.Item, session: "Session", *, fails: bool) -> None:
    """Keep the verdict on the client with the report of the test, which xdist passes on."""
    try:
        verdict = session.verdict(ignore=item.config.getini("triton_verdict_ignore"))
    except ValueError as error:
        pytest.fail(f"the ini setting triton_verdict_ignore: {error}", pytrace=False)
    if verdict.findings:
        item.user_properties.append((_VERDICT, verdict.json()))
        if fails:
            pytest.fail(str(verdict), pytrace=False)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show what was recorded and the findings of each test, and write these into the file that is asked for."""
    if recorded := _properties(terminalreporter, "teardown", _RECORDED):
        terminalreporter.section("recordings of Triton")
        for test, told in recorded.items():
            terminalreporter.write_line(f"{test}: {told}")
    if _verdict(config) is None:
        return
    found = {
        test: json.loads(value) for test, value in _properties(terminalreporter, "call", _VERDICT).items()
    }
    terminalreporter.section("verdict on the clients of Triton")
    for test, verdict in found.items():
        terminalreporter.write_line(test)
        for finding in verdict["findings"]:
            numbers = ", ".join(map(str, finding["requests"]))
            terminalreporter.write_line(
                f"  {finding['rule']} ({finding['level']}): {finding['client']}, requests {numbers}: {finding['text']}"
            )
    if not found:
        terminalreporter.write_line("no findings")
    if path := config.getoption("--triton-verdict-json"):
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        except OSError as fault:
            terminalreporter.write_line(f"--triton-verdict-json: {fault}", red=True)


def _properties(terminalreporter: Any, when: str, wanted: str) -> Mapping[str, str]:
    """A property of the reports of a phase, by their tests."""
    return {
        report.nodeid: value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == when
        for name, value in report.user_properties
        if name == wanted
    }


def _repositories(config: pytest.Config) -> Sequence[str | Path]:
    """The folders of the option, else of the ini setting. Fails the test if one is no folder."""
    for name, paths in (
        ("--triton-model-repository", config.getoption("--triton-model-repository")),
        ("the ini setting triton_model_repository", config.getini("triton_model_repository")),
    ):
        for path in paths:
            if not Path(path).is_dir():
                pytest.fail(f"{name} names '{path}', which is no folder", pytrace=False)
        if paths:
            return list(paths)
    return []


def _refuse_vain_flags(config: pytest.Config, target: str) -> None:
    """Fail the test for a flag that another target has. Ini settings may be there for other runs."""
    kind = "the URL of a server" if "://" in target else target
    for name, kinds in _FLAGS_OF.items():
        if config.getoption(name) and kind not in kinds:
            pytest.fail(
                f"--triton={target}: {name} is for --triton={', '.join(kinds)}; leave it out", pytrace=False
            )


@pytest.fixture(scope="session")
def triton_emulator(request: pytest.FixtureRequest) -> Iterator["Emulator"]:
    """One emulator for the whole run. All tests share it, so what one test changes the next one sees."""
    # imported here, so that a run that does not use it does not pay
    from triton_emulator.emulator import Emulator
    from triton_emulator.pytest_targets import InFrontOfTarget, TargetUnavailable, addresses_of

    config = request.config
    repositories, target = _repositories(config), _asked(config, "triton")
    _refuse_vain_flags(config, target)
    if target == EMULATOR:
        with Emulator(*repositories) as emulator:
            yield emulator
        return
    grpc, metrics, image = (_asked(config, f"triton-{name}") for name in ("grpc", "metrics", "image"))
    with ExitStack() as stack:
        try:
            found = stack.enter_context(
                addresses_of(target, repositories, grpc=grpc, metrics=metrics, image=image)
            )
            emulator = InFrontOfTarget(found)
        except (TargetUnavailable, ValueError) as fault:
            pytest.fail(f"--triton={target}: {fault}", pytrace=False)
        yield stack.enter_context(emulator)


@pytest.fixture
def triton(triton_emulator: "Emulator", request: pytest.FixtureRequest) -> Iterator["Session"]:
    """A session of this test alone: its own models, statistics, shared memory regions, plans and journal."""
    marker = request.node.get_closest_marker("triton")
    repositories, options = ((), {}) if marker is None else (marker.args, dict(marker.kwargs))
    allowed = options.pop("allow", ())
    if not isinstance(allowed, str | list | tuple | set | frozenset):
        pytest.fail(f"the marker's `allow` is a word or a list of words, not {allowed!r}", pytrace=False)
    target = _asked(request.config, "triton")
    cassette = _Cassette.of(request, target)
    if cassette is not None:
        options |= cassette.options
    with triton_emulator.session(*repositories, **options) as session:
        session.allow(
            *request.config.getini("triton_allow"), *((allowed,) if isinstance(allowed, str) else allowed)
        )
        request.node.stash[_SESSION] = session
        yield session
        # pytest keeps the items of all tests to its end, and the session has a journal
        del request.node.stash[_SESSION]
    passed = request.node.stash.get(_PASSED, False)
    if cassette is not None and passed and (told := cassette.keep(session)):
        request.node.user_properties.append((_RECORDED, told))


@dataclass(frozen=True, slots=True)
class _Cassette:
    """The cassette of a test. It is recorded beside, and moved to its place when the test has passed."""

    place: Path
    recording: Path | None
    options: Mapping[str, Any]

    @classmethod
    def of(cls, request: pytest.FixtureRequest, target: str) -> "_Cassette | None":
        marker = request.node.get_closest_marker("triton_cassette")
        if marker is None:
            return None
        named = (
            marker.args[0]
            if marker.args
            else Path("cassettes", request.path.stem, _file_name(request.node.name))
        )
        place = request.path.parent / named
        if place.exists():
            return cls(place, None, {"replay": place, **marker.kwargs})
        if target == EMULATOR:
            pytest.fail(
                f"there is no cassette {place}; run the test once with --triton=wheel, container or a URL to record it",
                pytrace=False,
            )
        folder = request.getfixturevalue("tmp_path_factory").mktemp("cassette") / "recorded"
        return cls(place, folder, {"record": folder})

    def keep(self, session: "Session") -> str:
        """The test has passed. Returns what was recorded, "" where the cassette is replayed."""
        recorder = session._state.recorder  # noqa: SLF001  (closed, so all is written)
        if self.recording is None or recorder is None:
            return ""
        if not self.recording.exists():
            return "no exchange, so there is no cassette"
        self.place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(self.recording, self.place)
        return f"{recorder.told()} into {self.place}"


def _file_name(test: str) -> str:
    """A test's name, which may have any characters, as the name of a folder."""
    plain = "".join(character if character.isalnum() or character in "-_." else "_" for character in test)
    return plain if plain == test else f"{plain[:80]}-{sha256(test.encode()).hexdigest()[:8]}"
