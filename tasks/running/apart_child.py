"""A process that makes a stage's result for `tasks/running/apart.py`, and ends, after its step, with who started it."""

import importlib
import logging
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Any

import torch

from tasks.basics import BadInput
from tasks.running import progress

Say = Callable[[str, Any], None]


class Told(logging.Handler):
    """Log records go to who started this process."""

    def __init__(self, say: Say) -> None:
        super().__init__(logging.INFO)
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        self.say("log", (record.name, record.levelno, record.getMessage()))


def main(connection: Connection) -> None:
    module, name, params, inputs, threads = connection.recv()
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is half done is cleared away
    Thread(target=end_when_told, args=(connection,), daemon=True).start()
    waiting: SimpleQueue[tuple[str, Any] | None] = SimpleQueue()  # a signal that comes in the middle may add to it
    telling = Thread(target=tell, args=(connection, waiting), daemon=True)
    telling.start()

    def say(kind: str, what: Any) -> None:
        waiting.put((kind, what))

    for room in ("flows", "tasks"):
        logging.getLogger(room).setLevel(logging.INFO)
        logging.getLogger(room).addHandler(Told(say))
    progress.listener.set(lambda *count: say("progress", count))
    try:
        getattr(importlib.import_module(module), name)(params, **inputs)
    except BadInput as error:
        say("failed", error)
    except Exception as error:
        say("failed", sendable(error))
    finally:
        waiting.put(None)
        telling.join()


def tell(connection: Connection, waiting: "SimpleQueue[tuple[str, Any] | None]") -> None:
    """Send what is waiting, in its order, until None comes."""
    while (said := waiting.get()) is not None:
        with suppress(OSError):  # nobody is there any more: `end_when_told` sees that too
            connection.send(said)


def end_when_told(connection: Connection) -> None:
    """Wait for the word to stop, or for the end of who started this process; either comes as SIGTERM, once."""
    with suppress(EOFError, OSError):
        connection.recv()
    os.kill(os.getpid(), signal.SIGTERM)


def sendable(error: Exception) -> Exception | str:
    """The error with its trace as a note, or what it says where it cannot be sent."""
    text = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return text
    error.add_note(text)
    return error


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
