"""Independent results side by side: each made by a process of its own, whose progress and words come back here.

A process that trains draws from its global generator, so two trainings cannot share one. Each has the threads of one
that runs alone: sums of gradients have other last bits with another number of them. Where they take turns, the
processor does what it would for one after another, and idles less.
"""

import logging
import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Any

import torch

from tasks.basics import ROOT, BadInput, Strict
from tasks.running import progress
from tasks.running.batching import asked_number
from tasks.running.device import local_rank
from tasks.running.memory import free_memory

ON_CPU = 2  # at once: what one training leaves of the cores, a second one uses (docs/performance.md)
PROCESS = 1_000_000_000  # bytes of one, its libraries and weights, before it computes
POLL_S = 0.2
LOG = logging.getLogger(__name__)
Work = Callable[[], object]


@dataclass
class Company:
    """Those that are at work together. interrupts: how often they were told to stop; the second time is at once."""

    interrupts: int = 0


COMPANY: ContextVar[Company | None] = ContextVar("company", default=None)
"""Set where stages are to run in processes of their own."""


def at_once(bytes_each: int) -> int:
    """How many results are made side by side: BFR_WORKERS, else one for each GPU, or two on the CPU if they fit.

    bytes_each: memory that one takes at its peak. Processes of `accelerate launch` make one after another, together.
    """
    if local_rank() is not None:
        return 1
    if asked := asked_number("BFR_WORKERS"):
        return asked
    if torch.cuda.is_available():
        return torch.cuda.device_count()
    if torch.backends.mps.is_available():
        return 1
    return max(1, min(ON_CPU, free_memory(torch.device("cpu")) // (PROCESS + bytes_each)))


def side_by_side(works: Sequence[Work], count: int) -> None:
    """Do all works, `count` at once; the stages that they call have processes of their own then.

    Where one fails, that is said, and the others come to their ends; then its error is raised, or one with all
    reasons. An interrupt stops all of them: trainings after their step, whose state they keep.
    """
    unfinished = [*works]
    if min(count, len(works)) == 1:
        _raise_all([*filter(None, (_error_of(work, unfinished) for work in works))])
        return
    company = Company()
    token = COMPANY.set(company)
    try:
        with ThreadPoolExecutor(count) as pool:
            futures = [pool.submit(copy_context().run, _error_of, work, unfinished) for work in works]
            _wait_for(futures, company)
    finally:
        COMPANY.reset(token)
    _raise_all([*filter(None, (future.result() for future in futures))])


def _error_of(work: Work, unfinished: list[Work]) -> Exception | None:
    """Do a work and take it from those unfinished. What went wrong is said at once if others may take hours yet."""
    error = None
    try:
        work()
    except Exception as reason:
        error = reason
    unfinished.remove(work)
    if error and unfinished:
        LOG.warning("One of several results failed; the others are made before this ends. %s", error)
    return error


def _wait_for(futures: Sequence[Future[Exception | None]], company: Company) -> None:
    try:
        wait(futures)
    except BaseException:
        company.interrupts += 1
        for future in futures:
            future.cancel()
        try:
            wait(futures)
        except BaseException:
            company.interrupts += 1
            raise
        raise


def _raise_all(errors: Sequence[Exception]) -> None:
    """Raise what went wrong, if anything did; several reasons as one error that says them all."""
    reasons = {str(error): error for error in reversed(errors)}
    if len(reasons) > 1:
        kind = BadInput if all(isinstance(error, BadInput) for error in errors) else RuntimeError
        raise kind("\n".join(reversed(reasons))) from errors[0]
    for error in errors:
        raise error


def make_apart(module: str, name: str, params: Strict, inputs: dict[str, Any], company: Company) -> None:
    """Have a process run the stage `name` of a module, so that its result is in the store.

    Raises the stage's own error; KeyboardInterrupt where the company was told to stop; RuntimeError if it died.
    """
    ours, its = multiprocessing.Pipe()
    with ours:
        command = [sys.executable, "-m", "tasks.running.apart_child", str(its.fileno())]
        # out of the terminal's reach: Ctrl-C comes through us, once
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=[its.fileno()], start_new_session=True)
        its.close()
        error = None
        try:
            with suppress(EOFError, OSError):  # its end
                ours.send((module, name, params, inputs, torch.get_num_threads()))
                told = 0
                while True:
                    if ours.poll(POLL_S):
                        kind, said = ours.recv()
                        error = _hear(kind, said) or error
                    if company.interrupts > told:
                        told += 1
                        ours.send("stop") if told == 1 else process.kill()
        except BaseException:
            process.kill()
            raise
        finally:
            code = process.wait()
    if company.interrupts:
        raise KeyboardInterrupt
    if error:
        raise error
    if code:
        raise RuntimeError(f"the process of {name} ended with {code} (-9: killed, often for want of memory)")


def _hear(kind: str, said: Any) -> Exception | None:
    """Pass on what the process says; its error, if that is it."""
    if kind == "failed":
        return said if isinstance(said, Exception) else RuntimeError(said)
    if kind == "log":
        name, level, text = said
        logging.getLogger(name).log(level, "%s", text)
    elif tell := progress.listener.get():
        tell(*said)
    return None
