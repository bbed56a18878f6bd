"""`ci/repeat` reports each run correctly. It is used to find tests that fail by chance."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def repeat(folder: Path, test: str, *options: str) -> tuple[int, list[str]]:
    """Its exit status and lines, for a suite of one test."""
    (folder / "test_it.py").write_text(f"def test_it():\n{test}")
    (folder / "pytest.ini").write_text("[pytest]\n")
    suite = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", folder / "pytest.ini", folder)
    run = subprocess.run(
        [sys.executable, ROOT / "ci" / "repeat", "--logs", folder / "logs", *options, *suite],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # a suite of one test starts at once
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, [line.replace(str(folder), "FOLDER") for line in run.stdout.splitlines()]


def test_runs_that_pass_are_counted_and_leave_no_log(tmp_path: Path) -> None:
    status, lines = repeat(tmp_path, "    pass\n", "--runs", "2")
    assert status == 0
    assert [line.partition(": ")[0].partition(",")[0] for line in lines] == [
        "run 1 of 2",
        "run 2 of 2",
        "0 of 2 runs failed",
    ]
    assert all(line.endswith("s, 1 passed: passed") for line in lines[:2])
    assert "cores kept busy" not in lines[0]
    assert "cores kept busy" in lines[1]
    assert list((tmp_path / "logs").iterdir()) == []


def test_it_stops_at_the_first_failure_and_keeps_its_output(tmp_path: Path) -> None:
    status, lines = repeat(tmp_path, "    assert 1 == 2\n", "--runs", "3")
    assert status == 1
    assert lines[0].startswith("run 1 of 3: ")
    assert lines[0].endswith("s, 1 failed: FAILED (exit status 1), see FOLDER/logs/run-1.log")
    assert lines[1:] == ["1 of 1 runs failed"]
    assert "assert 1 == 2" in (tmp_path / "logs" / "run-1.log").read_text()


def test_one_failure_among_many_runs_is_a_failure(tmp_path: Path) -> None:
    once = "    from pathlib import Path\n    with open(Path(__file__).with_name('ran'), 'a+') as ran:\n"
    once += "        ran.write('.')\n        ran.seek(0)\n        assert ran.read() != '..'\n"
    status, lines = repeat(tmp_path, once, "--runs", "3", "--keep-going")
    assert status == 1
    assert [line.endswith(": passed") for line in lines[:3]] == [True, False, True]
    assert lines[3:] == ["1 of 3 runs failed"]


def test_a_suite_that_cannot_start_is_a_failure(tmp_path: Path) -> None:
    status, lines = repeat(tmp_path, "  indented badly\n    too\n", "--runs", "1")
    assert status == 1
    assert lines[0].endswith("s, 1 error: FAILED (exit status 2), see FOLDER/logs/run-1.log")
