"""The pytest plugin: the fixtures `triton_emulator` (one for the whole run) and `triton` (a session for each test).

    def test_my_gateway(triton):
        gateway = Gateway(upstream=triton.http_url)

The option `--triton-model-repository` or the ini setting `triton_model_repository` names the models that they serve;
without it, they serve the built-in ones. The marker `triton` gives the session of one test its models and options.

When a test has passed, it fails if a plan of its session did not fire or complete, if a stub was not used, if a request
came for a path or a model that is not there, or if a handler failed. `triton.allow(...)`, the marker's `allow` and the
ini setting `triton_allow` each turn one of these off. `--triton-verdict` reports what the client did wrong.
"""

import json
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from triton_emulator.emulator import Emulator, Session

_MARKER = (
    "triton(*model_repository, allow=(), **options): the models and the options (of Emulator.session) of the fixture "
    "`triton`; `allow` names what does not fail the test at its end: unfired, unused, unknown, exceptions"
)
_SESSION: "pytest.StashKey[Session]" = pytest.StashKey()
#: the property of a report that has a verdict
_VERDICT = "triton_verdict"
_HELP = "model repository of the `triton` and `triton_emulator` fixtures; may be given several times"


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

    group.addoption(
        "--triton-verdict",
        nargs="?",
        const="report",
        choices=("report", "fail"),
        help="report what clients did wrong in the tests with the fixture `triton`, or fail these tests for it",
    )
    group.addoption(
        "--triton-verdict-json",
        metavar="FILE",
        help="write what clients did wrong into a file, with --triton-verdict",
    )
    parser.addini(
        "triton_verdict_ignore", "rules of --triton-verdict that are not wanted", type="args", default=[]
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that has passed if its session has problems."""
    result = yield
    if (session := item.stash.get(_SESSION, None)) is not None:
        if problems := session.problems():
            pytest.fail("\n".join(problems), pytrace=False)
        if wanted := item.config.getoption("--triton-verdict"):
            _judge(item, session, fails=wanted == "fail")
    return result


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
    """Show the findings of each test, and write them into the file that is asked for."""
    if not config.getoption("--triton-verdict"):
        return
    found = {
        report.nodeid: json.loads(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == _VERDICT
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
        Path(path).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


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


@pytest.fixture(scope="session")
def triton_emulator(request: pytest.FixtureRequest) -> Iterator["Emulator"]:
    """One emulator for the whole run. All tests share it, so what one test changes the next one sees."""
    # imported here, so that a run that does not use it does not pay
    from triton_emulator.emulator import Emulator

    with Emulator(*_repositories(request.config)) as emulator:
        yield emulator


@pytest.fixture
def triton(triton_emulator: "Emulator", request: pytest.FixtureRequest) -> Iterator["Session"]:
    """A session of this test alone: its own models, statistics, shared memory regions, plans and journal."""
    marker = request.node.get_closest_marker("triton")
    repositories, options = ((), {}) if marker is None else (marker.args, dict(marker.kwargs))
    allowed = options.pop("allow", ())
    if not isinstance(allowed, str | list | tuple | set | frozenset):
        pytest.fail(f"the marker's `allow` is a word or a list of words, not {allowed!r}", pytrace=False)
    with triton_emulator.session(*repositories, **options) as session:
        session.allow(
            *request.config.getini("triton_allow"), *((allowed,) if isinstance(allowed, str) else allowed)
        )
        request.node.stash[_SESSION] = session
        yield session
        # pytest keeps the items of all tests to its end, and the session has a journal
        del request.node.stash[_SESSION]
