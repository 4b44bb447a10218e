"""File, environment and options to `ProxySettings`, every key checked, and back to text."""
