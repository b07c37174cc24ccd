"""The command `bfr`. Results go to standard output (as text, or as JSON for programs), what happens to standard error.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. The commands are in flows/commands.
"""

import gc
import io
import json
import os
import signal
import sys

from cyclopts import CycloptsError
from pydantic import ValidationError

from flows.command import PLAIN, Result, app
from flows.commands import experiments, files, page, photos  # noqa: F401 (they register their commands)
from tasks.basics import BadInput

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is loaded; spinning threads starve one another


def call(tokens: list[str] | None = None) -> int:
    """Run a command line; its exit code."""
    try:
        command, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=True)
        bound.arguments.get("output", PLAIN).apply()
        result = command(*bound.args, **bound.kwargs)
    except CycloptsError:
        return 2
    except ValidationError as error:
        wrong = (
            f"{'.'.join(map(str, each['loc']))}: {each['msg']} (found: {each['input']!r})" for each in error.errors()
        )
        print(f"error: {'; '.join(wrong)}", file=sys.stderr)
        return 2
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # the disk or the system refuses: the name and the reason are in it
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from what is finished", file=sys.stderr)
        return 130
    if isinstance(result, Result):
        text = json.dumps(result.data, indent=1, ensure_ascii=False) if result.output.json else result.text
        if text:
            say(text)
        return result.code
    return 0


def say(text: str) -> None:
    """Print a result: file names that are no text, and signs that the terminal has not, are shown by their codes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader, like `head`, wants no more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    gc.set_threshold(10_000)  # Python's 700 takes a sixth of a start, looking through what was imported
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    sys.exit(call())
