"""Errors of the proxy's own, in the shape that the clients of an API read.

Sources: OpenAI's and Anthropic's API references on errors and their Python SDKs' error classes, read in 2026.
"""

from typing import Any

from binary_semantic_cache.proxy.apis import Provider

__all__ = ["error_body"]

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OPENAI_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


def error_body(provider: Provider, status: int, message: str) -> dict[str, Any]:
    """The body of an error.

    Args:
        provider: whose API was called.
        status: the reply's HTTP status, 400 to 599.
        message: what is wrong, for people.
    """
    if provider == "anthropic":
        kind = _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}}
    kind = "server_error" if status >= 500 else "invalid_request_error"
    if status == 429:
        kind = "rate_limit_error"
    code = _OPENAI_CODES.get(status)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
