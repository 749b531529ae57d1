"""A reverse proxy on a loopback port that serves a host below an address of its own, for ``--subpath``."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def below(prefix: str, port: int) -> Iterator[str]:
    """Serve what answers at ``port`` below ``/prefix``; yield the address, without a slash at the end.

    Everything else is refused, as by a proxy that has nothing there.
    """
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(server, f"/{prefix}", port), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/{prefix}"
    finally:
        server.close()


def _accept(server: socket.socket, prefix: str, port: int) -> None:
    with contextlib.suppress(OSError):  # closed
        while True:
            client, _ = server.accept()
            threading.Thread(target=_serve, args=(client, prefix, port), daemon=True).start()


def _serve(client: socket.socket, prefix: str, port: int) -> None:
    """Pass one request on, its address without the prefix, and whatever follows in both directions (WebSockets)."""
    with client, contextlib.suppress(OSError):
        head = b""
        while b"\r\n\r\n" not in head:
            more = client.recv(65536)
            if not more:
                return
            head += more
        method, path, rest = head.decode("latin-1").split(" ", 2)
        if not f"{path}/".startswith(f"{prefix}/"):
            client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        if "upgrade: websocket" not in rest.lower():  # one request a connection: each has the prefix in front
            rest = rest.replace("\r\n", "\r\nConnection: close\r\n", 1).replace("\r\nConnection: keep-alive", "", 1)
        with socket.create_connection(("127.0.0.1", port)) as host:
            host.sendall(f"{method} {path[len(prefix) :] or '/'} {rest}".encode("latin-1"))
            threading.Thread(target=_pipe, args=(client, host), daemon=True).start()
            _pipe(host, client)


def _pipe(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while more := source.recv(65536):
            target.sendall(more)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
