"""A server on this machine that speaks the protocol and says what a test tells it to."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Answer = Callable[[dict[str, Any]], "str | tuple[int, dict[str, str], Any]"]


def completion(text: str | None, **changes: Any) -> dict[str, Any]:
    """What a server sends."""
    message = {"role": "assistant", "content": text} | changes.pop("message", {})
    choice = {"index": 0, "finish_reason": "stop", "message": message} | changes
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
    facts = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
    return facts | {"choices": [choice], "usage": usage}


class Server:
    """Answers are given in order; the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.url = ""

    def answer(self, body: dict[str, Any]) -> Any:
        """The next one: a text, a function of the question, or (status, headers, body)."""
        self.asked.append(body)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return found(body) if callable(found) else found


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A running server; OPENAI_API_KEY is a secret that must not show up anywhere."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.keys.append(self.headers.get("Authorization"))
            found = state.answer(body)
            if found == "sleep":
                time.sleep(0.5)
            status, headers, sent = (
                found if isinstance(found, tuple) else (200, {}, completion(found))
            )
            data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
            self.send_response(status)
            for name, value in ({"Content-Type": "application/json"} | headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *args: Any) -> None:
            """A client that went away after its time-out is no fault."""

    with Quiet(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}).start()
        state.url = f"http://127.0.0.1:{running.server_address[1]}/v1"
        monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
        yield state
        running.shutdown()
