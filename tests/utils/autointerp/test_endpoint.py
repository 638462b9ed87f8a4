"""A server's answers, good and bad; what is kept, what is counted, what is never shown."""

import logging
import sys
import traceback
from typing import Any

import pytest

from utils.autointerp import Endpoint, EndpointError, NoEndpoint

QUESTION = [{"role": "user", "content": "what?"}]


def sent(text: str | None, **changes: Any) -> tuple[int, dict[str, str], Any]:
    """A whole body, where a test needs more than the text."""
    message = {"role": "assistant", "content": text} | changes.pop("message", {})
    choice = {"index": 0, "finish_reason": "stop", "message": message} | changes
    return 200, {}, {"id": "x", "object": "chat.completion", "created": 0, "choices": [choice]}


def error(status: int, text: str = "no", **headers: str) -> tuple[int, dict[str, str], Any]:
    return (
        status,
        {k.replace("_", "-"): v for k, v in headers.items()},
        {"error": {"message": text}},
    )


def test_an_answer_is_counted_and_paid_for(server):
    server.answers = ["  it is so \n"]
    endpoint = Endpoint("m", server.url, price=(2.0, 10.0))
    assert endpoint.ask(QUESTION) == "it is so"
    assert (endpoint.usage.tokens_in, endpoint.usage.tokens_out) == (100, 7)
    assert endpoint.cost == pytest.approx((100 * 2 + 7 * 10) / 1e6)
    assert server.asked[0]["temperature"] == 0 and server.asked[0]["model"] == "m"


def test_a_question_is_asked_once(server, tmp_path):
    server.answers = ["one", "two"]
    for expected, asked, cached in [("one", 1, 0), ("one", 0, 1)]:
        endpoint = Endpoint("m", server.url, cache=tmp_path)
        assert endpoint.ask(QUESTION) == expected
        assert (endpoint.usage.asked, endpoint.usage.cached) == (asked, cached)
    assert endpoint.cost == 0 and len(server.asked) == 1


@pytest.mark.parametrize("other", [{"model": "n"}, {"temperature": 1.0}, {"max_tokens": 9}])
def test_another_setting_is_another_question(server, tmp_path, other):
    server.answers = ["one", "two"]
    same = {"model": "m", "base_url": server.url, "cache": tmp_path}
    first, second = Endpoint(**same), Endpoint(**(same | other))
    assert (first.ask(QUESTION), second.ask(QUESTION)) == ("one", "two")


def test_another_server_is_another_question(tmp_path, monkeypatch):
    """also where the environment names it"""
    files = set()
    for address in ("http://a/v1", "http://b/v1"):
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        files |= {Endpoint("m", url, cache=tmp_path).file(QUESTION) for url in (None, address)}
    assert len(files) == 2


def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(NoEndpoint, match="pip install openai"):
        Endpoint("m", "http://localhost:1/v1").ask(QUESTION)


def test_a_busy_server_is_asked_again_when_it_says(server):
    server.answers = [error(429, retry_after="0.05"), error(500, retry_after="0.05"), "now"]
    endpoint = Endpoint("m", server.url)
    assert endpoint.ask(QUESTION) == "now"
    assert len(server.asked) == 3 and endpoint.usage.asked == 1


@pytest.mark.parametrize(
    ("answer", "says", "times"),
    [
        (error(429, retry_after="0.01"), "still busy, or your quota used up, after 1 more", 2),
        (error(401), "is OPENAI_API_KEY the one", 1),
        (error(404), "knows no model 'm'", 1),
        (error(400, "too long"), "answered 400: .*too long", 1),
        (sent("I", message={"refusal": "I won't"}), "refused to answer", 1),
        (sent("I", finish_reason="content_filter"), "refused to answer", 1),
        (sent(""), "empty answer", 1),
        (sent(None), "empty answer", 1),
        (sent(" ", finish_reason="length"), "raise max_tokens", 1),
        ((200, {}, {"id": "x", "object": "chat.completion", "choices": []}), "sent no answer", 1),
    ],
)
def test_each_way_to_fail_has_a_cure_and_is_not_kept(server, tmp_path, answer, says, times):
    server.answers = [answer]
    endpoint = Endpoint("m", server.url, cache=tmp_path, retries=1)
    with pytest.raises(EndpointError, match=says):
        endpoint.ask(QUESTION)
    assert len(server.asked) == times
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["text/html", "application/json"])
def test_what_is_no_json_is_an_error(server, kind):
    server.answers = [(200, {"Content-Type": kind}, b"<html>hello</html>")]
    with pytest.raises(EndpointError, match="sent no JSON"):
        Endpoint("m", server.url, retries=0).ask(QUESTION)


def test_a_slow_server_times_out(server):
    server.answers = ["sleep"]
    with pytest.raises(EndpointError, match=r"within 0\.1 s, once: raise timeout"):
        Endpoint("m", server.url, timeout=0.1, retries=0).ask(QUESTION)


def test_no_server_is_told_apart():
    with pytest.raises(EndpointError, match="cannot be reached"):
        Endpoint("m", "http://127.0.0.1:9/v1", retries=0).ask(QUESTION)


def test_no_key_and_no_address_is_an_error(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(EndpointError, match=r"OPENAI_API_KEY is not set: .*base_url"):
        Endpoint("m").ask(QUESTION)


def test_a_server_of_ones_own_needs_no_key(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    server.answers = ["yes"]
    assert Endpoint("m", server.url).ask(QUESTION) == "yes"


def test_the_key_is_sent_and_shown_nowhere(server, tmp_path, caplog):
    server.answers = ["yes", error(400, "your key sk-very-secret is odd")]
    caplog.set_level(logging.DEBUG)
    endpoint = Endpoint("m", server.url, cache=tmp_path, retries=0)
    endpoint.ask(QUESTION)
    assert server.keys[0] == "Bearer sk-very-secret"
    with pytest.raises(EndpointError) as caught:
        endpoint.ask([{"role": "user", "content": "else"}])
    shown = "".join(traceback.format_exception(caught.value))
    kept = "".join(file.read_text() for file in tmp_path.iterdir())
    for text in (shown, kept, repr(endpoint), caplog.text):
        assert "very-secret" not in text
