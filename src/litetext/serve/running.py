"""A server's process: its socket, and its end."""

from __future__ import annotations

import errno
import logging
import socket

import uvicorn
from fastapi import FastAPI

from ..errors import LitetextError
from .connections import timed_connections
from .settings import Limits

_SECONDS_TO_FINISH = 30


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address, so that a port in use is known before a model is loaded.

    Args:
        host: a name or an address.
        port: 0 for any that is free.

    Raises:
        LitetextError: the port is in use, or the address is not of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise LitetextError(f"port {port} of {host} is in use; choose another: --port {port + 1}") from None
        raise LitetextError(f"{host} port {port} cannot be listened on ({error.strerror or error}); give --host and "
                            "--port that this machine has") from None  # fmt: skip
    bound.set_inheritable(True)
    return bound


def run(app: FastAPI, bound: socket.socket, limits: Limits) -> None:
    """Answer requests until SIGINT or SIGTERM; requests that are worked on are finished first.

    Args:
        app: from `litetext.serve.create_app`.
        bound: from `bound_socket`.
        limits: of requests.
    """
    logging.getLogger("litetext.serve").setLevel(logging.INFO)
    config = uvicorn.Config(
        app,
        http=timed_connections(limits),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SECONDS_TO_FINISH,
        timeout_keep_alive=5,
        ws="none",
    )
    uvicorn.Server(config).run(sockets=[bound])
