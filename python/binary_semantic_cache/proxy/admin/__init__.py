"""The admin's port: metrics, an API and a page, for whoever holds the token.

    app         which routes there are, and which of them are open
    doors       who may come in: host names, token, sessions, origins
    guesses     wrong tokens of late, and who is not listened to for a while
    reading     what may be looked at
    changing    what may be changed: reports, invalidations, clearing, budgets
    audit       what was changed, by whom
    answers     replies, errors and headers
    shown       requests, entries and explanations as JSON
    static      the page

What is shown here is content; nowhere else in the proxy is it.
"""

from binary_semantic_cache.proxy.admin.app import create_admin_app

__all__ = ["create_admin_app"]
