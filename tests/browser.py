"""Chromium without a window, driven by its DevTools protocol over two pipes: no driver, no library.

Source: the Chrome DevTools Protocol, https://chromedevtools.github.io/devtools-protocol/, and Chromium's
`--remote-debugging-pipe`, which reads messages from descriptor 3 and writes them to 4, each ended by a zero
byte.
"""

import base64
import fcntl
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

__all__ = ["Browser", "Page", "chromium"]

SECONDS = 30

# The two ends become descriptors 3 and 4 of the browser, which `pass_fds` alone cannot do.
_LAUNCH = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])"""


def chromium() -> str | None:
    """The program, if it is installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One browser: `with Browser(folder) as browser: page = browser.page()`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._answers: dict[int, queue.Queue[dict[str, Any]]] = {}
        self._last = 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> "Browser":
        program = chromium()
        assert program is not None
        to_browser, self._to = os.pipe()
        self._from, from_browser = os.pipe()
        # Away from 3 and 4, which they would overwrite before they are copied.
        ends = [_moved_up(to_browser), _moved_up(from_browser)]
        command = [
            sys.executable, "-c", _LAUNCH, *map(str, ends), program,
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio",
            "--hide-scrollbars", "--no-proxy-server", "--force-color-profile=srgb",
            f"--user-data-dir={self._folder}", "--remote-debugging-pipe",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for end in ends:
            os.close(end)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.send("Browser.close")
        finally:
            try:
                self._process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            os.close(self._to)
            self._reader.join(SECONDS)

    def send(
        self, method: str, session: str | None = None, seconds: float = SECONDS, **parameters: Any
    ) -> dict[str, Any]:
        """Asks and waits for the answer."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        answer = self._answers[self._last] = queue.Queue()
        os.write(self._to, json.dumps(message).encode() + b"\0")
        answered = answer.get(timeout=seconds)
        if "error" in answered:
            raise RuntimeError(f"{method}: {answered['error']}")
        return answered["result"]

    def page(self, width: int = 1280, height: int = 900) -> "Page":
        """A new page in a context of its own: no cookies, no storage of others."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{domain}.enable")
        page.resize(width, height)
        return page

    def _read(self) -> None:
        rest = b""
        with os.fdopen(self._from, "rb", buffering=0) as pipe:
            while chunk := pipe.read(65536):
                *messages, rest = (rest + chunk).split(b"\0")
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._answers.pop(message["id"]).put(message)
                    else:
                        self.events.append(message)


class Page:
    """One page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.send(method, self._session, **parameters)

    def resize(self, width: int, height: int) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        """`light` or `dark`, as the system would say."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url: str) -> None:
        self.send("Page.navigate", url=url)
        self.until(f"location.href.startsWith({url.rstrip('/')!r}) && document.readyState === 'complete'")

    def value(self, expression: str, seconds: float = SECONDS) -> Any:
        """What a JavaScript expression says; promises are awaited."""
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True, "userGesture": True}
        found = self._browser.send("Runtime.evaluate", self._session, seconds, **asked)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"])
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Waits in the page until an expression is true there; across a navigation too."""
        look = f"""new Promise((done) => {{
            const ends = Date.now() + 200;
            const look = () => {{
                let ok = false;
                try {{ ok = Boolean({condition}); }} catch {{}}
                if (ok || Date.now() > ends) done(ok);
                else setTimeout(look, 10);
            }};
            look();
        }})"""
        deadline = monotonic() + SECONDS
        while monotonic() < deadline:
            # A page that is left in the middle of it answers with an error, or not at all.
            with suppress(RuntimeError, queue.Empty):
                if self.value(look, seconds=2):
                    return
        raise AssertionError(f"never: {condition}")

    def press(self, key: str, *, text: str = "", shift: bool = False) -> None:
        """A key, down and up: `Tab`, `Enter`, `Escape`, ..."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowDown": 40}[key]
        text = text or {"Enter": "\r", " ": " "}.get(key, "")
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Types into what has the focus."""
        self.send("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Scrolls there and presses the mouse in the middle of it."""
        x, y = self.value(
            f"""(() => {{ const e = document.querySelector({selector!r});
            e.scrollIntoView({{block: "center"}});
            const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path: Path) -> None:
        """All of the page as a PNG."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def problems(self) -> list[str]:
        """What this page complained about: exceptions, console errors, violations of its policy."""
        found = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            given = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(given["exceptionDetails"].get("exception", given)))
            elif event["method"] == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning"):
                found.append(str(given["args"]))
            elif event["method"] == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
                found.append(given["entry"]["text"])
        return found


def _moved_up(descriptor: int) -> int:
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10)
    os.close(descriptor)
    return moved
