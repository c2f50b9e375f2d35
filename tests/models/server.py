"""A small OpenAI-compatible server in a thread, which misbehaves as told: one entry of `plan` a request, then as `then` says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# A status with headers and body, or the name of a way to fail below HTTP.
Step = tuple[int, dict[str, str], str] | str


def completion(content: str | None = "fine", finish: str = "stop", **usage: int) -> dict[str, Any]:
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}],
        "usage": usage or {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


class Server(ThreadingHTTPServer):
    """requests: (body, headers, time) of each request, in order of arrival; most: how many were under way at once.

    then: what is done with a request once the plan is done; it is told how many are under way. say: what a "fine" answer
    says, by the request's body.
    """

    daemon_threads = True
    request_queue_size = 128  # with fewer, the kernel lets those who knock at once wait for a second

    def __init__(self, plan: list[Step], port: int = 0, then: Callable[[int], Step] = lambda here: "fine") -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.plan = list(plan)
        self.then = then
        self.dead = False
        self.say: Callable[[dict[str, Any]], str] = lambda body: f"to: {body['messages'][-1]['content']}"
        self.requests: list[tuple[dict[str, Any], dict[str, str], float]] = []
        self.lock = threading.Lock()
        self.here = self.most = 0
        self.delay = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def asked(self) -> list[str]:
        """The last message of each request, in order of arrival."""
        return [body["messages"][-1]["content"] for body, _, _ in self.requests]

    def die(self) -> None:
        """Stop listening, and cut off who is being served."""
        self.dead = True
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append((body, {k.lower(): v for k, v in self.headers.items()}, time.monotonic()))
            self.server.here += 1
            step = self.server.plan.pop(0) if self.server.plan else self.server.then(self.server.here)
            self.server.most = max(self.server.most, self.server.here)
        try:
            time.sleep(self.server.delay)
            self._answer("hang up" if self.server.dead else step, body)
        finally:
            with self.server.lock:
                self.server.here -= 1

    def _answer(self, step: Step, body: dict[str, Any]) -> None:
        if step == "fine":
            step = (200, {}, json.dumps(completion(self.server.say(body))))
        if step == "hang":
            time.sleep(2)
            return
        if step == "hang up":
            self.connection.close()
            return
        if step == "cut off":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "10000")
            self.end_headers()
            self.wfile.write(json.dumps(completion())[:40].encode())
            self.wfile.flush()
            self.connection.close()
            return
        status, headers, text = step
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(*plan: Step, **how: Any) -> Iterator[Server]:
    server = Server(list(plan), **how)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        if not server.dead:
            server.shutdown()
            server.server_close()
