"""A small model's API, so that the proxy can be tried without a key."""
