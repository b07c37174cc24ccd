"""The page over HTTP, on loopback alone."""

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from flows.app.guard import Guard
from flows.app.jobs import Desk
from flows.server import LOOPBACK
from tasks.basics import BadInput

HOST = LOOPBACK[0]
PORTS = 20  # that are tried


@contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """A socket on the first free of the next ports. Raises BadInput where none is free."""
    for at in range(port, port + PORTS):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            listener.bind((HOST, at))
            listener.listen()
            with listener:
                yield listener
            return
        listener.close()
    raise BadInput(f"port: none of {port} to {port + PORTS - 1} is free. Choose another.")


@contextmanager
def desk(out: Path | None) -> Iterator[Desk]:
    """Where results go: a folder that the user names, else one that is deleted in the end. What is uploaded goes there
    as well. Jobs that are at work in the end stop at their next good moment."""
    root = Path(tempfile.mkdtemp(prefix="bfr-app-")) if out is None else out
    uploads = root / ".uploads"
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    work = Desk(root)
    try:
        yield work
    finally:
        for event in work.stops.values():  # a job in its thread would keep the process alive to its end
            event.set()
        shutil.rmtree(uploads if out else root, ignore_errors=True)


def application(work: Desk):  # type: ignore[no-untyped-def]
    """The page as an ASGI application. Raises BadInput without Gradio."""
    if find_spec("gradio") is None:
        raise BadInput("The page needs the package gradio (Apache-2.0): pip install 'bfr[app]'")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    import gradio
    from fastapi import FastAPI

    from flows.app.layout import CSS, THEME, page

    logging.getLogger("httpx").setLevel(logging.WARNING)
    whole = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gradio.mount_gradio_app(
        whole,
        page(work),
        path="",
        server_name=HOST,
        allowed_paths=[str(work.root)],
        show_error=True,
        ssr_mode=False,
        pwa=False,
        footer_links=[],
        run_history=False,
        theme=THEME,
        css=CSS,
    )
    return Guard(whole)


def serve(port: int, out: Path | None) -> None:
    """Serve the page until interrupted. Raises BadInput without Gradio, and where no port is free."""
    import uvicorn

    with desk(out) as work, listening(port) as listener:
        settings = uvicorn.Config(application(work), log_level="warning", timeout_graceful_shutdown=2)
        print(f"http://{HOST}:{listener.getsockname()[1]} (on this computer alone; Ctrl-C ends it)", flush=True)
        with suppress(KeyboardInterrupt):  # uvicorn has ended in order by then
            uvicorn.Server(settings).run([listener])
