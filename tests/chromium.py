"""A headless Chromium that tests drive: its DevTools protocol over a web socket."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from documents import browser


class Refused(AssertionError):
    """The browser did not do what it was asked for: while a page is loading, it runs no script."""


class Tab:
    """One page of it."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.numbers = socket, itertools.count(1)

    def send(self, method: str, **given: Any) -> dict[str, Any]:
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": given}))
        while True:
            said = json.loads(self.socket.recv(timeout=300))
            if said.get("id") == number:
                if "error" in said:
                    raise Refused(said["error"])
                return said["result"]

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 600) -> Any:
        """The value of an expression, once it is true, on a page that may still be loading."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(Refused):
                if value := self.run(script):
                    return value
            assert time.monotonic() < end, f"not within {seconds} s: {script}"
            time.sleep(0.2)

    def choose(self, selector: str, path: Path) -> None:
        """Put a file into an input of files."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def picture(self, path: Path) -> None:
        """What is seen, as a file."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def tab(address: str, scratch: Path, size: tuple[int, int] = (1400, 1200)) -> Iterator[Tab]:
    """A page at an address; the browser ends with the block."""
    from websockets.sync.client import connect

    command = [browser(), "--headless=new", "--no-sandbox", "--remote-debugging-port=0"]
    command += [f"--user-data-dir={scratch}", f"--window-size={size[0]},{size[1]}"]
    command += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    running = subprocess.Popen(
        [*command, "about:blank"], stderr=subprocess.PIPE, env={**os.environ, "HOME": str(scratch)}
    )
    try:
        where = next(
            found[1]
            for line in running.stderr
            if (found := re.search(rb"DevTools listening on (ws://\S+)", line))
        ).decode()
        host = where.split("/")[2]
        with connect(where, max_size=None) as top:
            page = Tab(top).send("Target.createTarget", url=address)["targetId"]
            with connect(f"ws://{host}/devtools/page/{page}", max_size=None) as socket:
                yield Tab(socket)
    finally:
        running.kill()
        running.wait()
