"""`Request`: what is asked, split into the text that is matched by meaning and the context that is not.

Earlier turns, system prompt, tools, response format, sampling parameters, model, and every field that this
version has never heard of belong to the context, which must be equal for an answer to be shared: the last
message alone is no key, since most follow-ups ("and in Spain?") read alike in different conversations.

Left out are only `stream` and `stream_options`, which say how the answer travels, and Anthropic's
`cache_control` markers, which say what the provider should keep. What does not change the request does not
change the context: order of keys, JSON whitespace, the spelling of numbers, and a string written as a list
of one plain text part. One order counts, that of the `properties` of a schema: models write in it, so that
reasons come before the result or after it. Source: OpenAI's guide to structured outputs, "Key ordering", read
in 2026.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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
_SAID = ("messages", "input", "prompt")
"""What is said, in which no schema stands."""


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
    """Whether the same again asks for the same: not where each answer changes what the next one continues, a
    conversation or a container on the provider's server. Such a request is neither answered nor kept."""

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
        """A body of OpenAI's `responses`. Raises as `from_openai_chat`."""
        rest = _opened(body)
        grows = rest.get("conversation") is not None
        # What a response was given to never changes; what a prompt's template says, seldom.
        state = grows or any(rest.get(name) is not None for name in ("previous_response_id", "prompt"))
        changes = grows or _uses_container(rest.get("tools"))
        reasons = {ExactOnly.STATE} if state or changes else set()
        if isinstance(rest.get("input"), str):
            rest["input"] = [{"role": "user", "content": rest["input"]}]
        if rest.get("input") is None and state:
            return _request("openai.responses", rest, "", reasons, is_repeatable=not changes)
        turns = _turns(rest, RESPONSES)
        found = turns.reasons | reasons
        return _request("openai.responses", rest, turns.text, found, is_repeatable=not changes)

    @classmethod
    def from_openai_completion(cls, body: Body) -> "Request":
        """A body of OpenAI's older `completions`. Raises as `from_openai_chat`.

        Several prompts at once, and prompts given as token numbers, are answered from exact repeats alone; so
        is what has its prompt in its answer (`echo`) or something behind it (`suffix`). A prompt is continued
        letter by letter, so that its outer whitespace counts: after an indentation comes another text.
        """
        rest = _opened(body)
        prompt = rest.get("prompt")
        if isinstance(prompt, list | tuple) and len(prompt) == 1 and isinstance(prompt[0], str):
            prompt = prompt[0]
        if isinstance(prompt, str):
            text = checked_text(prompt, "prompt")
            before, _, after = prompt.partition(text) if text else (prompt, "", "")
            rest["prompt"] = [before, after] if before or after else None
            reasons = set() if text else {ExactOnly.NO_TEXT}
            if rest.get("echo") or rest.get("suffix"):
                reasons.add(ExactOnly.PREFILL)
            return _request("openai.completion", rest, text, reasons)
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
        """A body of Anthropic's `messages`. Raises as `from_openai_chat`."""
        rest = _opened(body)
        rest.pop("cache_control", None)
        reasons: set[ExactOnly] = set()
        container = rest.get("container")
        if container is not None:
            reasons.add(ExactOnly.STATE)
        # One that is named has what earlier answers wrote; without an id a new one is made.
        changes = isinstance(container.get("id") if isinstance(container, Mapping) else container, str)
        if "system" in rest:
            rest["system"] = plain(rest["system"], "system", ANTHROPIC, reasons)
        if "tools" in rest:
            rest["tools"] = _unmarked(rest["tools"])
        turns = _turns(rest, ANTHROPIC)
        found = turns.reasons | reasons
        return _request("anthropic.messages", rest, turns.text, found, is_repeatable=not changes)


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


def _uses_container(tools: JSON) -> bool:
    """Whether a tool of the responses API runs in a container that is named, with what it has been left."""
    for tool in tools if isinstance(tools, list | tuple) else ():
        if isinstance(tool, Mapping):
            environment = tool.get("environment")
            named = environment.get("container_id") if isinstance(environment, Mapping) else None
            if isinstance(tool.get("container"), str) or named is not None:
                return True
    return False


def _request(
    kind: str, rest: dict[str, JSON], text: str, reasons: set[ExactOnly], *, is_repeatable: bool = True
) -> Request:
    model = _checked_model(rest.get("model"))
    reason = next((reason for reason in ExactOnly if reason in reasons), None)
    context = encode(kind) + encode(rest)
    orders: list[JSON] = []
    for name in sorted(rest):
        if name not in _SAID:
            _read_orders(rest[name], orders)
    if orders:
        # A list, where nothing or a mapping may follow: no other context is these very bytes.
        context += encode(orders)
    return Request(text, context, reason, model, is_repeatable)


def _read_orders(value: JSON, orders: list[JSON]) -> None:
    """Adds the names of each schema's properties, in their order; the schemas in that of the context.

    Of equal values this reads the same schemas in the same order.
    """
    if isinstance(value, list | tuple):
        for member in value:
            _read_orders(member, orders)
    elif isinstance(value, Mapping):
        for name in sorted(value):
            member = value[name]
            if name == "properties" and isinstance(member, Mapping) and len(member) > 1:
                orders.append([*member])
            _read_orders(member, orders)


def _checked_model(model: object) -> str | None:
    if model is not None and not isinstance(model, str):
        raise InvalidTypeError(f"model: expected a string or nothing, got {kind_of(model)}")
    return model
