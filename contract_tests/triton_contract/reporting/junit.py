"""JUnit XML, as GitHub, GitLab and Jenkins show it: a test suite for each operation, a test for each case."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree as ET

from triton_contract.comparing.compare import Outcome
from triton_contract.comparing.results import CaseResult, RunResult

from .words import difference_of, operations_of, reason_of, repeat, told

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SKIPPED = (Outcome.DIVERGENCE, Outcome.UNPROVEN)


def render_junit(runs: Sequence[RunResult]) -> str:
    """The document. A known divergence and an unproven case are skipped tests, with the reason.

    A run that ended early, and known failures that are stale, are tests of their own that fail. The name of a test is
    the id of its case; its class is the operation, after the version and the target where there are several runs.
    """
    root = ET.Element("testsuites", name="triton-contract")
    for number, run in enumerate(runs):
        prefix = f"run{number + 1}." if len(runs) > 1 else ""
        for operation in operations_of(run):
            members = [result for result in run.cases if result.operation == operation]
            _suite(root, run, prefix + operation, map(_test, members))
        if run.stopped:
            _suite(root, run, prefix + "run", [_failing("every case is asked", "error", told(run))])
        if run.stale:
            _suite(root, run, prefix + "baseline", (_failing(line, "failure", line) for line in run.stale))
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    root.set("time", _seconds(sum(float(suite.get("time", "0")) for suite in root)))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: ET.Element, run: RunResult, name: str, tests: Iterable[ET.Element]) -> None:
    suite = ET.SubElement(root, "testsuite", name=name, timestamp=f"{run.date}T00:00:00")
    properties = ET.SubElement(suite, "properties")
    for key, value in (("version", run.version), ("expected", run.expected), ("actual", run.actual)):
        ET.SubElement(properties, "property", name=key, value=_clean(value))
    members = list(tests)
    for test in members:
        test.set("classname", f"triton_contract.{name.replace(' ', '_').replace('/', '.')}")
        suite.append(test)
    suite.set("tests", str(len(members)))
    for kind, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(test.find(kind) is not None for test in members)))
    suite.set("time", _seconds(sum(float(test.get("time", "0")) for test in members)))


def _test(result: CaseResult) -> ET.Element:
    test = ET.Element("testcase", name=result.case, time=_seconds(result.seconds))
    if result.failed:
        said = difference_of(result)
        failure = ET.SubElement(test, "failure", type="different", message=_clean(said.split("\n")[0]))
        failure.text = _clean("\n".join([said, *_commands(result)]))
    elif result.outcome in _SKIPPED:
        ET.SubElement(test, "skipped", message=_clean(f"{result.outcome.value}: {reason_of(result)}"))
    return test


def _commands(result: CaseResult) -> list[str]:
    sent = [step.command for step in result.evidence if step.command]
    return ["", "To repeat it:", *sent, repeat(result.case)]


def _failing(name: str, kind: str, text: str) -> ET.Element:
    test = ET.Element("testcase", name=_clean(name), time=_seconds(0))
    ET.SubElement(test, kind, type=kind, message=_clean(text)).text = _clean(text)
    return test


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"


def _clean(text: str) -> str:
    """The text with escapes for characters that XML cannot hold."""
    return _NOT_XML.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
