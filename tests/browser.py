"""A headless Chromium that tests talk to over a pipe, in the DevTools protocol; no driver is needed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from base64 import b64decode
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

OPTIONS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-pipe --window-size=1280,900"""


def chromium() -> str | None:
    """The browser's path, None where there is none."""
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


class Browser:
    """One page of a browser of its own.

    Attributes:
        errors: what the page threw or logged as an error.
        requests: addresses that the page asked for.
    """

    def __init__(self, address: str, profile: Path) -> None:
        read, self._out = os.pipe()
        self._in, write = os.pipe()

        def place() -> None:
            """The browser reads commands from descriptor 3 and writes answers to 4."""
            copies = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (read, write)]
            for copy, descriptor in zip(copies, (3, 4), strict=True):
                os.dup2(copy, descriptor)

        browser = chromium()
        assert browser is not None
        arguments = [*OPTIONS.split(), f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [browser, *arguments],
            preexec_fn=place,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        self._ids, self._rest, self._session = count(1), b"", ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        targets = self.send("Target.getTargets")["targetInfos"]
        target = next(each["targetId"] for each in targets if each["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Page", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.send("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a command and returns its answer."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Waits until an expression in the page is true; a test's own time limit ends a wait in vain."""
        moment = "new Promise((done) => setTimeout(done, 30))"
        while not self.run(condition):
            self.run(moment)

    def click(self, selector: str, x: float = 0.5) -> None:
        """Clicks an element, x of its width from its left edge."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            " return [b.left, b.top, b.width, b.height]; })()"
        )
        place = {"x": box[0] + x * box[2], "y": box[1] + box[3] / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, **place)

    def press(self, key: str, text: str = "") -> None:
        """Presses a key, by its name in the DOM."""
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, text=text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def screenshot(self, path: Path) -> Path:
        """Writes what the page shows to a PNG."""
        path.write_bytes(b64decode(self.send("Page.captureScreenshot")["data"]))
        return path

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._out)
        os.close(self._in)
        self._process.kill()
        self._process.wait()

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._in, 1 << 16)
            assert more, "the browser has gone"
            self._rest += more
        one, self._rest = self._rest.split(b"\0", 1)
        return json.loads(one)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif event.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
