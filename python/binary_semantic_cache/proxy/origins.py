"""Pages in a browser that reach for the proxy of the machine that they are shown on.

A page of any site may send a request to this machine without being allowed to: what it cannot do is read the
reply or name a key, unless it got its own name to point here (DNS rebinding), and then it can read. Where the
upstream wants no key, as servers of models on one's own machine do, nothing else would stand in the way. Some
of those look at the origin themselves, which they cannot here: headers travel by an allow-list.
"""

import ipaddress
from urllib.parse import urlsplit

from binary_semantic_cache.proxy.headers import CREDENTIALS, Headers, value_of

__all__ = ["FOREIGN_PAGE", "is_from_foreign_page"]

FOREIGN_PAGE = "a page of another site may not ask without a key"

_ASKING_WHETHER = "OPTIONS"
"""What a browser sends before a request with a key, without the key."""


def is_from_foreign_page(method: str, headers: Headers) -> bool:
    """Whether a page that is not of this machine sent it, without any key."""
    origin = value_of(headers, b"origin")
    if origin is None or method == _ASKING_WHETHER or any(name in CREDENTIALS for name, _ in headers):
        return False
    if origin.strip().lower() == b"null":
        return True
    try:
        parts = urlsplit(origin.decode("latin-1"))
        scheme, host = parts.scheme.lower(), parts.hostname or ""
    except ValueError:
        return True
    # Others, such as `app` and `vscode-webview`, are of programs that were installed here.
    return scheme in ("http", "https") and not _is_here(host)


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
