"""Ask a model on any server that speaks OpenAI's protocol: cached, counted, retried."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from utils import files

Messages = list[dict[str, str]]
SECRETS = ("OPENAI_API_KEY",)
NO_KEY = "none"  # local servers ask for no key, but the client wants one


class EndpointError(RuntimeError):
    """What went wrong with a server, and what to do about it."""


class NoEndpoint(EndpointError):
    """No question will be answered: no server, no key, no such model."""


class ReplyError(ValueError):
    """A reply that cannot be read; the sentence says what was expected."""


@dataclass
class Usage:
    """What was asked, and what it cost."""

    asked: int = 0  # requests that reached the server and were answered
    cached: int = 0  # answered from the disk
    tokens_in: int = 0
    tokens_out: int = 0

    def cost(self, per_million_in: float, per_million_out: float) -> float:
        """In the currency of the prices, which are per million tokens."""
        return (self.tokens_in * per_million_in + self.tokens_out * per_million_out) / 1e6


@dataclass(frozen=True)
class Endpoint:
    """A model on a server. The key is read from OPENAI_API_KEY when it is needed, and kept nowhere.

    An answer is kept in `cache` under a digest of everything that decides it, so the same question
    is paid for once. Busy servers (429, with their retry-after), errors on their side and
    time-outs are tried again up to `retries` times.
    """

    model: str
    base_url: str | None = None  # None: OPENAI_BASE_URL, else OpenAI's own
    cache: Path | None = None
    timeout: float = 60.0  # seconds for one answer
    retries: int = 4
    temperature: float = 0.0
    max_tokens: int = 500
    price: tuple[float, float] = (0.0, 0.0)  # of a million tokens read, and written
    usage: Usage = field(default_factory=Usage, compare=False)

    @property
    def cost(self) -> float:
        """What was spent so far, by the prices given."""
        return self.usage.cost(*self.price)

    @property
    def home(self) -> str | None:
        """The server's address; None for OpenAI's own."""
        return self.base_url or os.environ.get("OPENAI_BASE_URL")

    @cached_property
    def client(self) -> Any:
        """The library's client."""
        try:
            import openai
        except ImportError as error:
            raise NoEndpoint("an endpoint needs the package openai: pip install openai") from error
        key = os.environ.get("OPENAI_API_KEY") or (NO_KEY if self.home else None)
        if key is None:
            raise NoEndpoint(
                "OPENAI_API_KEY is not set: set it, or give base_url, the address of a server of "
                "your own (such as http://localhost:11434/v1)"
            )
        return openai.OpenAI(
            api_key=key, base_url=self.home, timeout=self.timeout, max_retries=self.retries
        )

    def ask(self, messages: Messages) -> str:
        """The model's answer."""
        file = self.file(messages)
        if file is not None and file.exists():
            self.usage.cached += 1
            return str(json.loads(file.read_text())["reply"])
        reply = self.request(messages)
        if file is not None:
            told = {"model": self.model, "messages": messages, "reply": reply}
            files.write(file, json.dumps(told, ensure_ascii=False, indent=1) + "\n")
        return reply

    def file(self, messages: Messages) -> Path | None:
        """Where this answer is kept."""
        if self.cache is None:
            return None
        what = [self.home, self.model, self.temperature, self.max_tokens, messages]
        return self.cache / f"{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]}.json"

    def request(self, messages: Messages) -> str:
        """Ask the server; EndpointError where there is no answer to be had."""
        client = self.client  # it says so where the package is missing
        import openai

        try:
            answer = client.chat.completions.create(
                model=self.model,
                messages=messages,
                temperature=self.temperature,
                max_tokens=self.max_tokens,
            )
        except openai.OpenAIError as error:
            # `from None`: the library's own traceback shows the request, key and all
            raise self.kind(error)(self.told(error)) from None
        except ValueError as error:
            raise NoEndpoint(self.foreign(str(error))) from None
        if not hasattr(answer, "choices"):  # a page of HTML comes through as a string
            raise NoEndpoint(self.foreign(str(answer)))
        if answer.usage is not None:
            self.usage.tokens_in += answer.usage.prompt_tokens
            self.usage.tokens_out += answer.usage.completion_tokens
        self.usage.asked += 1
        return self.text_of(answer)

    def text_of(self, answer: Any) -> str:
        """What it says; an error where it says nothing."""
        if not answer.choices:
            raise EndpointError(f"{self.model} sent no answer: does the server know this model?")
        choice = answer.choices[0]
        if getattr(choice.message, "refusal", None) or choice.finish_reason == "content_filter":
            raise EndpointError(
                f"{self.model} refused to answer: leave this text out, or ask another model"
            )
        text = (choice.message.content or "").strip()
        if not text and choice.finish_reason == "length":
            raise EndpointError(
                f"{self.model} used its {self.max_tokens} tokens before it said anything: raise "
                "max_tokens"
            )
        if not text:
            raise EndpointError(f"{self.model} sent an empty answer: ask again, or another model")
        return text

    def kind(self, error: Exception) -> type[EndpointError]:
        """Whether another question may fare better."""
        import openai

        denied = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)
        away = isinstance(error, openai.APIConnectionError)
        slow = isinstance(error, openai.APITimeoutError)
        gone = isinstance(error, denied) or (away and not slow)
        return NoEndpoint if gone else EndpointError

    def foreign(self, what: str) -> str:
        """A sentence about a server that speaks something else."""
        where = self.home or "the server"
        return f"{where} sent no JSON ({what[:40]!r}): is this address an OpenAI-compatible one?"

    def told(self, error: Exception) -> str:
        """A library's error as a sentence with a cure."""
        import openai

        where = self.home or "the server"
        if isinstance(error, openai.APITimeoutError):
            times = "once" if self.retries == 0 else f"{self.retries + 1} times"
            return f"{where} did not answer within {self.timeout:g} s, {times}: raise timeout"
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return f"{where} did not accept the key: is OPENAI_API_KEY the one for this server?"
        if isinstance(error, openai.NotFoundError):
            return f"{where} knows no model {self.model!r} (or is no OpenAI-compatible address)"
        if isinstance(error, openai.RateLimitError):
            return (
                f"{where} was still busy, or your quota used up, after {self.retries} more tries: "
                "wait and go on, all answers so far are kept"
            )
        if isinstance(error, openai.APIStatusError):
            return without_secrets(f"{where} answered {error.status_code}: {error.message}")
        if isinstance(error, openai.APIConnectionError):
            return f"{where} cannot be reached: is the address right, and the server running?"
        return without_secrets(f"{where}: {type(error).__name__}: {error}")


def without_secrets(text: str) -> str:
    """A text without the keys that the environment holds."""
    for name in SECRETS:
        if key := os.environ.get(name):
            text = text.replace(key, "…")
    return text
