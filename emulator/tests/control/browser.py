"""A page in the distribution's Chromium, driven over the DevTools protocol through two pipes.

The protocol: https://chromedevtools.github.io/devtools-protocol/. With `--remote-debugging-pipe` a message is JSON that
ends with a zero byte; the browser reads them from descriptor 3 and writes to descriptor 4.
"""

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from triton_contract.reference.pytest_support import in_ci

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
#: seconds for the browser's start and for what a page is waited for
PATIENCE = 60
FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",  # it needs a user namespace, which containers have not
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
# A child's descriptors 3 and 4 are to be these two pipes, whatever their numbers are here.
START = """
import fcntl, os, sys
reads, writes = (fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3])
os.dup2(reads, 3)
os.dup2(writes, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
#: (code, virtual key code, text) of the keys that are not letters
KEYS = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "Space": ("Space", 32, " "),
    "End": ("End", 35, ""),
    "Home": ("Home", 36, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
}


def chromium() -> str:
    """The program. Where there is none the test is skipped, or fails if CI=true."""
    for program in PROGRAMS:
        if found := shutil.which(program):
            return found
    message = "no Chromium: install it from the distribution (chromium)"
    if in_ci():
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


class Browser:
    """A browser process. `events` are what it told without being asked."""

    def __init__(self, profile: Path) -> None:
        command = [chromium(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        from_here, self._to = os.pipe()
        self._from, to_here = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(from_here), str(to_here), *command],
            pass_fds=(from_here, to_here),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(from_here)
        os.close(to_here)
        self._asked = 0
        self._unread = b""
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """The result of a command. Raises AssertionError with its error, TimeoutError without an answer."""
        self._asked += 1
        message = {"id": self._asked, "method": method, "params": parameters}
        data = json.dumps(message if session is None else {**message, "sessionId": session}).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        deadline = monotonic() + PATIENCE
        while (answer := self._next(deadline, method)).get("id") != self._asked:
            self.events.append(answer)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def _next(self, deadline: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._from], [], [], max(0, deadline - monotonic()))
            if not ready:
                raise TimeoutError(f"{method}: no answer within {PATIENCE} s")
            data = os.read(self._from, 1 << 16)
            assert data, "the browser has ended"
            self._unread += data
        first, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(first))

    def close(self) -> None:
        """End the browser."""
        os.close(self._to)  # it ends with its pipe
        os.close(self._from)
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()


class Page:
    """One page. What is waited for is an expression of JavaScript."""

    def __init__(self, browser: Browser, address: str) -> None:
        self._browser = browser
        target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.target = target
        for domain in ("Runtime", "Log", "Page", "Audits"):
            self.ask(f"{domain}.enable")
        self.ask("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def ask(self, method: str, **parameters: Any) -> Any:
        """The result of a command to this page."""
        return self._browser.ask(method, self._session, **parameters)

    def value(self, expression: str) -> Any:
        """What an expression, or the promise that it is, gives."""
        answer = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str) -> Any:
        """Wait for a condition, which is asked anew with each frame; its value."""
        return self.value(
            "new Promise((done) => { const look = () => { const found = (() => { try { return ("
            + condition
            + ") }"
            " catch { return null } })(); found ? done(found) : requestAnimationFrame(look) }; look() })"
        )

    def text(self, selector: str) -> str:
        """The text of an element, as it is seen."""
        return str(self.until(f"document.querySelector({json.dumps(selector)})?.innerText"))

    def fill(self, selector: str, value: str) -> None:
        """Put a text into a field, as a person's input tells the page."""
        self.until(f"document.querySelector({json.dumps(selector)})")
        self.value(
            f"(() => {{ const field = document.querySelector({json.dumps(selector)});"
            f" field.value = {json.dumps(value)};"
            " for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, {bubbles: true})) })()"
        )

    def click(self, selector: str) -> None:
        """Click at an element."""
        self.until(f"document.querySelector({json.dumps(selector)})")
        self.value(f"document.querySelector({json.dumps(selector)}).click()")

    def press(self, key: str) -> None:
        """Press a key."""
        code, number, text = KEYS[key]
        name = " " if key == "Space" else key
        held = {"key": name, "code": code, "windowsVirtualKeyCode": number}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **held, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", **held)

    def tab_to(self, condition: str) -> None:
        """Press Tab until the element with the focus, `it`, is the one that is meant."""
        for _ in range(100):
            self.press("Tab")
            if self.value(f"((it) => {condition})(document.activeElement)"):
                return
        raise AssertionError(f"no Tab leads to {condition}")

    def type(self, text: str) -> None:
        """Type a text where the focus is."""
        self.ask("Input.insertText", text=text)

    def complaints(self) -> list[Any]:
        """What the browser found wrong with the page: exceptions, breaches of its policy, files that are not there."""
        self.value("1")  # what was told until now has come
        wrong = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            told = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                wrong.append(told["exceptionDetails"])
            elif event["method"] == "Log.entryAdded" and told["entry"]["level"] == "error":
                # a refusal of the API is for the person
                if "/sessions" not in told["entry"].get("url", ""):
                    wrong.append(told["entry"])
            elif event["method"] == "Audits.issueAdded" and "contentSecurityPolicy" in json.dumps(told):
                wrong.append(told)
        return wrong

    def close(self) -> None:
        """Close the page."""
        self._browser.ask("Target.closeTarget", targetId=self.target)


@contextmanager
def opened(browser: Browser, address: str) -> Iterator[Page]:
    """A page at an address, about which the browser has nothing to complain."""
    page = Page(browser, address)
    try:
        yield page
        assert page.complaints() == []
    finally:
        page.close()
