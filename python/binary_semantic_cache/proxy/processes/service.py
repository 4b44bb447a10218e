"""Tells systemd how the proxy is, where systemd has started it."""

import os
import socket
from contextlib import suppress

__all__ = ["tell_service_manager"]


def tell_service_manager(message: str) -> None:
    """Sends `message` (`READY=1`, `STOPPING=1`) to the socket of `NOTIFY_SOCKET`; nothing without that.

    Source: systemd, sd_notify(3), which gives the protocol as stable.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
        sender.send(message.encode())
