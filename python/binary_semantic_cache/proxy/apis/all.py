"""The APIs that are cached, by path."""

from binary_semantic_cache.proxy.apis import Api
from binary_semantic_cache.proxy.apis.anthropic_messages import AnthropicMessages
from binary_semantic_cache.proxy.apis.error_bodies import error_body
from binary_semantic_cache.proxy.apis.openai_chat import OpenAIChat
from binary_semantic_cache.proxy.apis.openai_completions import OpenAICompletions
from binary_semantic_cache.proxy.apis.openai_embeddings import OpenAIEmbeddings
from binary_semantic_cache.proxy.apis.openai_responses import OpenAIResponses

__all__ = ["APIS", "error_body"]

_ALL: tuple[Api, ...] = (
    OpenAIChat(),
    OpenAIResponses(),
    OpenAICompletions(),
    OpenAIEmbeddings(),
    AnthropicMessages(),
)

APIS: dict[str, Api] = {api.path: api for api in _ALL}
"""Each API under the path that it is called by."""
