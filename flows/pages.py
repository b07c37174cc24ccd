"""Results over HTTP, on loopback alone: Prefect's pages link to them, and browsers follow no link from there to a file.

What is shown is what was linked into one folder.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tasks.store.files import write_text
from tasks.store.keys import digest

ADDRESS = ".address"  # a file beside the links, while they are served
HOST = "127.0.0.1"
PORTS = 20  # that are tried


class Pages(SimpleHTTPRequestHandler):
    """Files below the folder, to who calls this host by its own name: not to a page that has renamed itself."""

    def send_head(self) -> object:  # type: ignore[override]
        name = self.headers.get("Host", "").partition(":")[0]
        if name in (HOST, "localhost"):
            return super().send_head()
        self.send_error(403, f"expected the host {HOST}, found {name!r}")
        return None

    def log_message(self, *_: object) -> None:
        """Nothing: the log is that of the runs."""


@contextmanager
def served(folder: Path, first_port: int) -> Iterator[None]:
    """While the block runs, a thread serves what is linked into a folder, on the first port that is free."""
    folder.mkdir(parents=True, exist_ok=True)
    with _listening(folder, first_port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        write_text(folder / ADDRESS, f"http://{HOST}:{server.server_port}")
        try:
            yield
        finally:
            (folder / ADDRESS).unlink(missing_ok=True)
            server.shutdown()


def _listening(folder: Path, first_port: int) -> ThreadingHTTPServer:
    """A server on one of the next ports, or on any: another checkout serves its own pages."""
    for port in range(first_port, first_port + PORTS):
        with suppress(OSError):
            return ThreadingHTTPServer((HOST, port), partial(Pages, directory=str(folder)))
    return ThreadingHTTPServer((HOST, 0), partial(Pages, directory=str(folder)))


def address_of(results: Path, folder: Path) -> str | None:
    """Where a folder of results can be read, from now on; None where no pages are served."""
    try:
        address = (folder / ADDRESS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    name = f"{re.sub('[^A-Za-z0-9_.-]+', '_', results.name)}-{digest(str(results))[:6]}"
    with suppress(FileExistsError):
        (folder / name).symlink_to(results, target_is_directory=True)
    return f"{address}/{name}"
