"""``studio``: the panels in a browser, over the pocket model or a checkpoint."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lib_lora.atomic import private_folder
from lib_lora.cli.common import add_host_options, open_studio, say
from lib_lora.errors import FileError, InputError

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier, Folders

PORT, TRIES = 7870, 20
LOOPBACK, EVERYWHERE = "127.0.0.1", "0.0.0.0"
AUTH_VARIABLE = "LORA_ATELIER_AUTH"
PATIENCE = 120
"""Seconds that the running job gets at the end to save what it has; Ctrl-C again ends at once."""


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    command = commands.add_parser(
        "studio",
        help="the web app: pictures, training, block weights, merging, in the browser",
        description="Open the studio in the browser. It answers this machine only, unless --listen is given.",
    )
    command.add_argument(
        "--data",
        type=Path,
        default=Path("studio"),
        metavar="DIR",
        help="folder for pictures, runs, LoRAs, outputs and settings (default: %(default)s)",
    )
    command.add_argument(
        "--port", type=int, metavar="N", help=f"default: {PORT}, or the next free one; 0 takes any free one"
    )
    command.add_argument(
        "--listen",
        action="store_true",
        help="answer other machines too; needs a name and password, and confines paths to --data",
    )
    auth = command.add_mutually_exclusive_group()
    auth.add_argument("--auth", default="", metavar="USER:PASSWORD", help="ask for this name and password")
    auth.add_argument(
        "--auth-file",
        type=Path,
        metavar="FILE",
        help="read USER:PASSWORD from a file's first line: a command line is seen by everybody on the machine; "
        f"or put it into the variable {AUTH_VARIABLE}",
    )
    command.add_argument("--no-browser", action="store_true", help="do not open a browser")
    command.add_argument(
        "--language", choices=("auto", "en", "ja"), default="auto", help="of the first page (default: the browser's)"
    )
    add_host_options(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Serve until Ctrl-C or SIGTERM, then let the running job save itself."""
    from lib_lora.services.jobs.folder_lock import hold

    if options.build_app is None:
        raise InputError(
            "The studio's pages are not here", where="studio", cure="Start it with python -m lib_lora studio."
        )
    user, password = checked_access(options)
    with bind(options) as door, hold(options.data.resolve(), address=address(options, door)):
        os.environ.setdefault("GRADIO_TEMP_DIR", str(private_folder(options.data.resolve() / "temp")))
        atelier = open_atelier(options)
        # Heavy imports come after everything that can be wrong with the command line.
        import uvicorn

        from lib_lora.web.api import add_api
        from lib_lora.web.guard import Guard

        language = "" if options.language == "auto" else options.language
        app = options.build_app(atelier, language=language)
        add_api(app, atelier)  # whoever the guard lets in may call it
        guard = Guard(app, user=user, password=password, local_only=not options.listen)
        # Gradio 3.41's client hangs on a connection that the server closed just when it was to be used again.
        config = uvicorn.Config(guard, log_level="warning", timeout_graceful_shutdown=1, timeout_keep_alive=60)
        server = uvicorn.Server(config)
        logging.getLogger("uvicorn.error").addFilter(_is_fault)
        signal.signal(signal.SIGTERM, interrupt)
        announce(options, address(options, door))
        try:
            server.run(sockets=[door])
        except KeyboardInterrupt:
            say("closing the studio")
        finally:
            finish(atelier)


def _is_fault(record: logging.LogRecord) -> bool:
    """Keep from the log how a page's stream ended where nobody did anything wrong.

    The end of the server cuts requests off. And gradio tells a page inside of its stream that its session is no more
    (the page was left, or asked twice) and then raises what it told, as an error of the server.
    """
    from starlette.exceptions import HTTPException

    error = record.exc_info[1] if record.exc_info else None
    cause = getattr(error, "__cause__", None)
    return not any(isinstance(one, (asyncio.CancelledError, HTTPException)) for one in (error, cause))


def checked_access(options: argparse.Namespace) -> tuple[str, str]:
    """Return user and password, both empty where none is asked for.

    Raises:
        InputError: what is given is no ``user:password``, or ``--listen`` is without it.
        FileError: the file of ``--auth-file`` cannot be read.
    """
    text, where = given_auth(options)
    user, sign, password = text.partition(":")
    if where and not (sign and user and password):
        raise InputError("This is not USER:PASSWORD", where=where, cure="For example: mika:a-long-password")
    if options.listen and not where:
        raise InputError(
            "Whoever reaches this machine could use the studio",
            where="--listen",
            cure="Add --auth USER:PASSWORD or --auth-file FILE, or leave --listen out.",
        )
    if options.listen:
        say(
            "warning: the studio answers other machines. Name and password travel unencrypted: use it in a network "
            "that you trust, or behind a proxy with HTTPS."
        )
    return user, password


def given_auth(options: argparse.Namespace) -> tuple[str, str]:
    """Return name and password as they were given, and where; both empty where none were.

    Raises:
        FileError: the file cannot be read.
    """
    variable = os.environ.pop(AUTH_VARIABLE, "")  # no program that is started from here needs it
    if options.auth:
        return options.auth, "--auth"
    if options.auth_file is None:
        return variable, AUTH_VARIABLE if variable else ""
    path = options.auth_file
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        if os.name != "nt" and path.stat().st_mode & 0o077:
            say(f"warning: others on this machine can read {path}; chmod 600 keeps it to you.")
    except (OSError, ValueError) as error:
        raise FileError(
            "The file cannot be read ({reason})",
            reason=error if isinstance(error, OSError) else "it is no text",
            where=str(path),
            cure="Write USER:PASSWORD into its first line.",
            option="auth_file",
        ) from error
    return lines[0] if lines else "", f"--auth-file {path}"


def bind(options: argparse.Namespace) -> socket.socket:
    """Return a listening socket: on the wanted port, else on the first free one.

    Raises:
        InputError: the wanted port, or every one that is tried, is taken.
    """
    host = EVERYWHERE if options.listen else LOOPBACK
    wanted = range(PORT, PORT + TRIES) if options.port is None else (options.port,)
    for port in wanted:
        door = socket.socket()
        if os.name != "nt":  # there it would let two programs share the port
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((host, port))
        except (OSError, OverflowError):
            door.close()
            continue
        door.listen(128)
        return door
    raise InputError(
        "The port is not free" if options.port is not None else "No port from {first} to {last} is free",
        first=PORT,
        last=PORT + TRIES - 1,
        where="--port",
        cure="Is a studio running already? Else give another number; --port 0 takes any free one.",
    )


def open_atelier(options: argparse.Namespace) -> Atelier:
    """Return the atelier over the model and the folders of the command line."""
    from lib_lora.demo import trial
    from lib_lora.services.atelier import Atelier, Folders

    folders = Folders.under(options.data, more=tuple(options.lora_dir), confined=options.listen)
    say(f"loading {options.model or 'the pocket model'} …")
    atelier = Atelier(open_studio(options, lora_folders(options, folders)), folders)
    trial.place(atelier)
    return atelier


def lora_folders(options: argparse.Namespace, folders: Folders) -> list[Path]:
    """Return where LoRAs are looked up: the user's folders, the studio's, and what was trained here."""
    return [*options.lora_dir, folders.loras, folders.runs]


def address(options: argparse.Namespace, door: socket.socket) -> str:
    """Return the address to open on this machine."""
    return f"http://{LOOPBACK}:{door.getsockname()[1]}/"


def announce(options: argparse.Namespace, url: str) -> None:
    """Say where the studio is, and open it; the socket already takes visitors, who wait until the server answers."""
    if options.json:
        print(json.dumps({"url": url, "data": str(options.data.resolve())}), flush=True)
    else:
        print(f"The studio is at {url}  (Ctrl-C ends it; data in {options.data.resolve()})", flush=True)
    if options.listen:
        say(f"other machines reach it at http://{socket.gethostname()}:{url.rsplit(':', 1)[1]}")
    if not options.no_browser:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def interrupt(number: int, frame: object) -> NoReturn:
    """End on SIGTERM as on Ctrl-C."""
    raise KeyboardInterrupt


def finish(atelier: Atelier) -> None:
    """Stop every job; the running ones save what they have (a training: its state) before the program ends."""
    running = [queue.running for queue in (atelier.queue, atelier.files) if queue.running is not None]
    for queue in (atelier.queue, atelier.files):
        for job in reversed(queue.jobs()):  # those that wait first: else one begins when the running one ends
            if not job.ended:
                job.stop()
    for job in running:
        if not job.wait(0):
            say(f"“{job.title}” saves what it has (Ctrl-C again ends at once) …")
            job.wait(PATIENCE)
    atelier.settings.close()
