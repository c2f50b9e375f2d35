"""A real Chromium, driven over its debugging pipe: no driver program, no websocket, no other package."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--remote-debugging-pipe",
)


def found() -> str | None:
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )


class Chromium:
    """One browser with one page. Use as a context manager."""

    def __init__(self, seconds: float = 60.0) -> None:
        program = found()
        assert program is not None
        self.seconds = seconds
        self.profile = tempfile.mkdtemp(prefix="chromium-")
        read_there, self.write_here = os.pipe()
        self.read_here, write_there = os.pipe()
        self.process = subprocess.Popen(
            # the browser reads its commands from descriptor 3 and answers on 4
            [
                "bash",
                "-c",
                'exec "$@" 3<&"$0" 4>&"$OUT"',
                str(read_there),
                program,
                *FLAGS,
                f"--user-data-dir={self.profile}",
            ],
            pass_fds=(read_there, write_there),
            env={**os.environ, "OUT": str(write_there)},
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read_there)
        os.close(write_there)
        self.buffer = b""
        self.number = 0
        self.events: list[dict[str, Any]] = []
        self.session: str | None = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the debugging protocol and return its result."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.write_here, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive(time.monotonic() + self.seconds)
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def receive(self, until: float) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.read_here], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser did not answer")
            data = os.read(self.read_here, 1 << 20)
            if not data:
                raise RuntimeError(f"the browser ended ({self.process.poll()})")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message

    def open(self, address: str, width: int, height: int = 800, dark: bool = False) -> None:
        """Open a page at a size and wait until it is loaded; the events of its loading are in `events`."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.send("Page.navigate", url=address)
        until = time.monotonic() + self.seconds
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.receive(until)

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def requests(self) -> list[str]:
        """Return the addresses asked for since the page was opened."""
        self.settle()
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def settle(self, seconds: float = 0.3) -> None:
        """Take in what the browser says for a moment."""
        until = time.monotonic() + seconds
        while True:
            try:
                self.receive(until)
            except TimeoutError:
                return

    def screenshot(self, path: Path, whole: bool = False) -> Path:
        """Write a picture of the page as PNG."""
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=whole, format="png")
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.write_here)
        os.close(self.read_here)
        shutil.rmtree(self.profile, ignore_errors=True)

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
