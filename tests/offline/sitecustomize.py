"""Keeps a Python process on this machine; every process that the tests start loads it.

An attempt to look up or reach another host is written to the file ``$RNAGPT_ATTEMPTS``
and raises. The record matters: libraries swallow connection errors.
"""

import ipaddress
import os
import socket
import sys

EVENTS = {
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
}


def is_local(host: object) -> bool:
    """Whether ``host`` is this machine: a loopback or unspecified address, or its own name."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(str(name).split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _watch(event: str, arguments: tuple) -> None:
    if event not in EVENTS:
        return
    target = arguments[EVENTS[event]]
    if event.startswith("socket.get"):
        host = target
    elif isinstance(target, tuple):
        host = target[0]
    else:
        return
    if not is_local(host):
        if "RNAGPT_ATTEMPTS" in os.environ:
            with open(os.environ["RNAGPT_ATTEMPTS"], "a") as file:
                file.write(f"{event} {target}\n")
        raise ConnectionError(f"tests stay on this machine: {event} {target}")


sys.addaudithook(_watch)
