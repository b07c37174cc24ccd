"""A stage that is quick to import, for tests that run it in other processes."""

import logging
import os
import signal
from pathlib import Path
from threading import Event

from tasks.basics import BadInput, Strict
from tasks.running.progress import track
from tasks.running.stage import stage
from tasks.store.artifact import Manifest


class Words(Strict):
    text: str
    error: str = ""
    dies: bool = False


@stage
def written(out: Path, params: Words, record: Manifest) -> None:
    """It says who runs it."""
    logging.getLogger("tasks.written").warning("%s says %s", os.getpid(), params.text)
    if params.dies:
        os.kill(os.getpid(), signal.SIGKILL)
    if params.error:
        raise BadInput(params.error)
    for _ in track([1, 2], params.text):
        (out / "words.txt").write_text(params.text)


def said_slowly(params: None, heard: Event) -> None:
    """Something is logged, and the work goes on until it was heard."""
    logging.getLogger("tasks.written").warning("working")
    assert heard.wait(60)
