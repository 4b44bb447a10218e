"""The text level: from a prompt to a verdict."""
