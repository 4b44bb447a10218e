"""`Request`: what is asked, split into the text that is matched by meaning and the context that is not.

Earlier turns, system prompt, tools, response format, sampling parameters, model, and every field that this
version has never heard of belong to the context, which must be equal for an answer to be shared: the last
message alone is no key, since most follow-ups ("and in Spain?") read alike in different conversations.

Left out are only `stream` and `stream_options`, which say how the answer travels, and Anthropic's
`cache_control` markers, which say what the provider should keep. What does not change the request does not
change the context: order of keys, JSON whitespace, the spelling of numbers, and a string written as a list
of one plain text part.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError
from binary_semantic_cache.text.canonical import JSON, encode, kind_of, parse_json
from binary_semantic_cache.text.turns import (
    ANTHROPIC,
    CHAT,
    RESPONSES,
    Dialect,
    ExactOnly,
    Turns,
    checked_text,
    plain,
    read,
)

__all__ = ["Body", "ExactOnly", "Request"]

Body: TypeAlias = Mapping[str, JSON] | str | bytes | bytearray
"""A request's body: a mapping, or the JSON text of one."""

_TRAVEL = ("stream", "stream_options")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. Made by the `from_` constructors; equal requests may share an answer."""

    text: str
    """Text of the user's last turn, without outer whitespace; empty where there is none."""
    context: bytes
    """Canonical bytes (`canonical.encode`) of all else that shapes the answer, the kind of API included."""
    exact_only: ExactOnly | None = None
    """Why this is never matched by meaning; `None` where it may be."""
    model: str | None = None
    """The model asked, for prices; it is part of the context too."""
    is_repeatable: bool = True
    """Whether the same request, sent again, asks the same. False where it adds to a conversation that the
    provider keeps, or starts work there: such a request is never answered from a cache, nor its answer kept."""

    @classmethod
    def from_prompt(
        cls, text: str, *, model: str | None = None, system: str | None = None, **parameters: JSON
    ) -> "Request":
        """A bare prompt.

        Args:
            text: the prompt.
            model: the model that answers.
            system: the system prompt.
            parameters: whatever else shapes the answer, JSON-like: `temperature=0.2`, `language="de"`.

        Raises:
            InvalidTypeError: a string is none, or a parameter is not JSON-like.
            InvalidValueError: a parameter holds NaN, infinity or a lone surrogate, or nests too deep.
        """
        asked = checked_text(text, "text")
        if system is not None and not isinstance(system, str):
            raise InvalidTypeError(f"system: expected a string, got {kind_of(system)}")
        # The parameters are encoded apart, so that none of them can pass for the model or the system prompt.
        context = encode(["prompt", _checked_model(model), system]) + encode(parameters, "parameters")
        return cls(asked, context, None if asked else ExactOnly.NO_TEXT, model)

    @classmethod
    def from_openai_chat(cls, body: Body) -> "Request":
        """A body of OpenAI's `chat/completions`, or of an API that speaks the same.

        Raises:
            InvalidTypeError: a field has the wrong type; the message names its path, never its content.
            InvalidValueError: the body is not JSON, has no messages, or holds what JSON cannot say.
        """
        rest = _opened(body)
        turns = _turns(rest, CHAT)
        return _request("openai.chat", rest, turns.text, turns.reasons)

    @classmethod
    def from_openai_responses(cls, body: Body) -> "Request":
        """A body of OpenAI's `responses`. Raises as `from_openai_chat`.

        With `conversation` or `background` it is not repeatable: the turns before stand on the provider's
        server and are others each time, or the answer is a job that the caller waits for there.
        """
        rest = _opened(body)
        is_repeatable = rest.get("conversation") is None and not rest.get("background")
        state = any(rest.get(name) is not None for name in ("previous_response_id", "conversation", "prompt"))
        reasons = {ExactOnly.STATE} if state else set()
        if isinstance(rest.get("input"), str):
            rest["input"] = [{"role": "user", "content": rest["input"]}]
        if rest.get("input") is None and state:
            asked = _request("openai.responses", rest, "", reasons)
        else:
            turns = _turns(rest, RESPONSES)
            asked = _request("openai.responses", rest, turns.text, turns.reasons | reasons)
        return asked if is_repeatable else replace(asked, is_repeatable=False)

    @classmethod
    def from_openai_completion(cls, body: Body) -> "Request":
        """A body of OpenAI's older `completions`. Raises as `from_openai_chat`.

        Several prompts at once, and prompts given as token numbers, are answered from exact repeats alone.
        """
        rest = _opened(body)
        prompt = rest.get("prompt")
        if isinstance(prompt, list | tuple) and len(prompt) == 1 and isinstance(prompt[0], str):
            prompt = prompt[0]
        if isinstance(prompt, str):
            text = checked_text(prompt, "prompt")
            rest["prompt"] = None
            return _request("openai.completion", rest, text, set() if text else {ExactOnly.NO_TEXT})
        if not isinstance(prompt, list | tuple):
            raise InvalidTypeError(f"prompt: expected a string or a list, got {kind_of(prompt)}")
        if not prompt:
            raise InvalidValueError("prompt: expected at least one, got none")
        return _request("openai.completion", rest, "", {ExactOnly.NO_TEXT})

    @classmethod
    def from_openai_embedding(cls, body: Body) -> "Request":
        """A body of OpenAI's `embeddings`. Raises as `from_openai_chat`.

        Answered from exact repeats alone: the embedding of a similar text is another embedding.
        """
        rest = _opened(body)
        asked = rest.get("input")
        if not isinstance(asked, str | list | tuple):
            raise InvalidTypeError(f"input: expected a string or a list, got {kind_of(asked)}")
        if not asked:
            raise InvalidValueError("input: expected text or at least one, got none")
        return _request("openai.embedding", rest, "", {ExactOnly.NO_TEXT})

    @classmethod
    def from_anthropic(cls, body: Body) -> "Request":
        """A body of Anthropic's `messages`. Raises as `from_openai_chat`.

        With `thread`, which has the provider hold the conversation, it is not repeatable.
        """
        rest = _opened(body)
        is_repeatable = rest.get("thread") is None
        rest.pop("cache_control", None)
        reasons: set[ExactOnly] = set()
        if rest.get("container") is not None:
            reasons.add(ExactOnly.STATE)
        if "system" in rest:
            rest["system"] = plain(rest["system"], "system", ANTHROPIC, reasons)
        if "tools" in rest:
            rest["tools"] = _unmarked(rest["tools"])
        turns = _turns(rest, ANTHROPIC)
        asked = _request("anthropic.messages", rest, turns.text, turns.reasons | reasons)
        return asked if is_repeatable else replace(asked, is_repeatable=False)


def _opened(body: Body) -> dict[str, JSON]:
    """A copy of the body's top level, to take apart, without what says how the answer travels."""
    content: object = body
    if isinstance(body, str | bytes | bytearray):
        content = parse_json(body, "body")
    if not isinstance(content, Mapping):
        # A repeated key at the top is found here, before there is a path to name.
        encode(content, "body")
        raise InvalidTypeError(f"body: expected a mapping, got {kind_of(content)}")
    return {key: value for key, value in content.items() if key not in _TRAVEL}


def _turns(rest: dict[str, JSON], dialect: Dialect) -> Turns:
    name = dialect.list_name
    if name not in rest:
        raise InvalidValueError(f"{name}: expected a list, got no such field")
    turns = read(rest[name], dialect)
    rest[name] = turns.rest
    return turns


def _unmarked(tools: JSON) -> JSON:
    """The tools without their own markers; a property of that name in a tool's schema stays."""
    if not isinstance(tools, list | tuple):
        return tools
    return [
        {key: value for key, value in tool.items() if key not in ANTHROPIC.markers}
        if isinstance(tool, Mapping)
        else tool
        for tool in tools
    ]


def _request(kind: str, rest: dict[str, JSON], text: str, reasons: set[ExactOnly]) -> Request:
    model = _checked_model(rest.get("model"))
    reason = next((reason for reason in ExactOnly if reason in reasons), None)
    return Request(text, encode(kind) + encode(rest), reason, model)


def _checked_model(model: object) -> str | None:
    if model is not None and not isinstance(model, str):
        raise InvalidTypeError(f"model: expected a string or nothing, got {kind_of(model)}")
    return model
