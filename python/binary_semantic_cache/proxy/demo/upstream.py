"""A model's API for trying the proxy without a key: speaks OpenAI's and Anthropic's protocols, knows little.

It answers as slowly as a model does, wants a key and takes any, and counts tokens in its own way. By itself:

    python -m binary_semantic_cache.proxy.demo.upstream --port 9000
"""

import argparse
import asyncio
import base64
import hashlib
import json
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import time
from typing import Any
from uuid import uuid4

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError
from binary_semantic_cache.proxy.demo.answers import answer_to, n_tokens, pieces
from binary_semantic_cache.proxy.demo.protocols import PROTOCOLS, Protocol, Said
from binary_semantic_cache.proxy.processes.ending import Ending
from binary_semantic_cache.proxy.processes.listening import Serving, bound_socket, url_of

__all__ = ["Pace", "create_demo_upstream", "running_demo_upstream"]

MODELS = ("demo-small", "demo-large")
_MOST_DIMENSIONS = 4096


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast it answers; the defaults are those of a middling hosted model."""

    first_token_seconds: float = 0.4
    token_seconds: float = 0.02


def create_demo_upstream(pace: Pace | None = None) -> Starlette:
    """The ASGI application."""
    pace = pace or Pace()
    routes = [Route(path, _asked(protocol, pace), methods=["POST"]) for path, protocol in PROTOCOLS.items()]
    routes += [
        Route("/v1/embeddings", _embeddings, methods=["POST"]),
        Route("/v1/models", _models, methods=["GET"]),
        Route("/v1/models/{model}", _model, methods=["GET"]),
        Route("/{path:path}", _unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    ]
    return Starlette(routes=routes)


@contextmanager
def running_demo_upstream(pace: Pace | None = None) -> Iterator[str]:
    """Runs it in a thread of this process, on a free port of the loopback; gives its URL without `/v1`."""
    started: list[tuple[asyncio.AbstractEventLoop, Serving]] = []
    is_up = threading.Event()
    with bound_socket("127.0.0.1", 0, "demo") as bound:
        url = url_of(bound)

        async def serve() -> None:
            serving = Serving(create_demo_upstream(pace), bound, 0.1)
            await serving.started()
            started.append((asyncio.get_running_loop(), serving))
            is_up.set()
            await serving.ended()

        thread = threading.Thread(target=lambda: asyncio.run(serve()), name="bsc-demo-upstream", daemon=True)
        thread.start()
        is_up.wait()
        try:
            yield url
        finally:
            loop, serving = started[0]
            loop.call_soon_threadsafe(serving.end_now)
            thread.join()


def _asked(protocol: Protocol, pace: Pace) -> Callable[[HTTPRequest], Any]:
    async def answer(http: HTTPRequest) -> Response:
        body = await _body(http)
        if isinstance(body, Response):
            return body
        try:
            asked = protocol.read(body)
        except (InvalidTypeError, InvalidValueError) as error:
            return JSONResponse(protocol.error("invalid_request_error", str(error)), 400)
        said = _said(asked.text, body)
        if body.get("stream"):
            return StreamingResponse(
                _paced(protocol.events(said, body), pace), media_type="text/event-stream"
            )
        await asyncio.sleep(pace.first_token_seconds + pace.token_seconds * len(said.pieces))
        return JSONResponse(protocol.reply(said))

    return answer


def _said(question: str, body: dict[str, Any]) -> Said:
    spoken = list(pieces(answer_to(question)))
    limits = [body.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
    most = min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=len(spoken))
    # One piece counts as one token where the answer is cut, which is near enough.
    return Said(
        id=uuid4().hex[:24],
        created=int(time()),
        model=str(body.get("model") or MODELS[0]),
        pieces=spoken[:most],
        is_whole=most >= len(spoken),
        input_tokens=n_tokens(
            json.dumps(body.get("messages") or body.get("input") or body.get("prompt") or "")
        ),
    )


async def _paced(events: Iterator[tuple[bytes, bool]], pace: Pace) -> AsyncIterator[bytes]:
    """The events, each token after its time."""
    wait = pace.first_token_seconds
    for event, is_token in events:
        if is_token:
            await asyncio.sleep(wait)
            wait = pace.token_seconds
        yield event


async def _body(http: HTTPRequest) -> dict[str, Any] | Response:
    """The JSON body of a request that has a key; else what is wrong with it, in its API's own words."""
    protocol = PROTOCOLS.get(http.url.path, PROTOCOLS["/v1/chat/completions"])
    if not (http.headers.get("authorization", "").startswith("Bearer ") or http.headers.get("x-api-key")):
        return JSONResponse(
            protocol.error("authentication_error", "expected a key, got none; any will do"), 401
        )
    try:
        body = json.loads(await http.body())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return JSONResponse(protocol.error("invalid_request_error", "expected a JSON object"), 400)
    return body


async def _embeddings(http: HTTPRequest) -> Response:
    body = await _body(http)
    if isinstance(body, Response):
        return body
    texts = body.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    dimensions = body.get("dimensions", 64)
    if not isinstance(texts, list) or not texts or dimensions not in range(1, _MOST_DIMENSIONS + 1):
        error = PROTOCOLS["/v1/chat/completions"].error("invalid_request_error", "expected input to embed")
        return JSONResponse(error, 400)
    vectors = [_vector(json.dumps(text), dimensions) for text in texts]
    as_base64 = body.get("encoding_format") == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(vector.tobytes()).decode() if as_base64 else vector.tolist(),
        }
        for index, vector in enumerate(vectors)
    ]
    tokens = sum(n_tokens(json.dumps(text)) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "data": data, "model": body.get("model"), "usage": usage})


def _vector(text: str, dimensions: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(dimensions).astype("<f4")
    unit: np.ndarray[Any, np.dtype[np.float32]] = vector / np.linalg.norm(vector)
    return unit


def _listed(model: str) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": 1_767_225_600, "owned_by": "demo"}


async def _models(_: HTTPRequest) -> Response:
    return JSONResponse({"object": "list", "data": [_listed(model) for model in MODELS]})


async def _model(http: HTTPRequest) -> Response:
    return JSONResponse(_listed(http.path_params["model"]))


async def _unknown(http: HTTPRequest) -> Response:
    error = PROTOCOLS["/v1/chat/completions"].error("not_found_error", f"no such path: {http.url.path}")
    return JSONResponse(error, 404)


async def _serve(port: int, pace: Pace) -> int:
    ending = Ending()
    ending.listen()
    with bound_socket("127.0.0.1", port, "--port") as bound:
        serving = Serving(create_demo_upstream(pace), bound, 1.0)
        ending.on_end_now(serving.end_now)
        url = url_of(bound)
        await serving.started()
        print(f"listening on {url}", file=sys.stderr, flush=True)
        await ending.begun.wait()
        serving.end()
        await serving.ended()
    return ending.status


def main() -> int:
    """Serves until a signal comes."""
    parser = argparse.ArgumentParser(
        description="A small model's API on the loopback, for trying and testing."
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    usual = Pace()
    parser.add_argument("--first-token-seconds", type=float, default=usual.first_token_seconds)
    parser.add_argument("--token-seconds", type=float, default=usual.token_seconds)
    given = parser.parse_args()
    return asyncio.run(_serve(given.port, Pace(given.first_token_seconds, given.token_seconds)))


if __name__ == "__main__":
    sys.exit(main())
