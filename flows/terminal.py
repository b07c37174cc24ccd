"""What a run shows on the terminal: finished lines, warnings, and one live line with the time that is left."""

import shutil
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from tasks.durations import whole_duration

BAR = 20  # characters


@dataclass
class Screen:
    """verbosity: 0 says nothing but warnings, 1 one line a step, 2 everything; the live line needs a terminal."""

    verbosity: int = 1
    stream: Any = field(default_factory=lambda: sys.stderr)
    is_live: bool = field(default=False, init=False)
    began: dict[str, tuple[float, float]] = field(default_factory=dict, init=False)

    def line(self, text: str) -> None:
        """Something that is done."""
        if self.verbosity > 0:
            self._write(text)

    def warning(self, text: str) -> None:
        self._write(f"warning: {text}")

    def detail(self, text: str) -> None:
        """What only -v shows."""
        if self.verbosity > 1:
            self._write(text)

    def progress(self, what: str, share: float) -> None:
        """How far something is, 0 … 1, on the line that the next text replaces."""
        if self.verbosity == 0 or not self.stream.isatty():
            return
        filled = round(BAR * share)
        text = f"{what:<32} {'█' * filled}{'░' * (BAR - filled)} {100 * share:3.0f} % {self._time_left(what, share)}"
        self.stream.write(f"\r{text[: shutil.get_terminal_size().columns - 1]}\x1b[K")
        self.stream.flush()
        self.is_live = True

    def clear(self) -> None:
        """Take the live line away: nothing is going on, and what comes is timed anew."""
        self.began.clear()
        self._erase()

    def _time_left(self, what: str, share: float) -> str:
        """By what was done since it was first seen."""
        now = time.monotonic()
        first, since = self.began.setdefault(what, (share, now))
        return f"{whole_duration((1 - share) * (now - since) / (share - first))} left" if share > first else ""

    def _write(self, text: str) -> None:
        self._erase()
        self.stream.write(f"{text}\n")
        self.stream.flush()

    def _erase(self) -> None:
        if self.is_live:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self.is_live = False
