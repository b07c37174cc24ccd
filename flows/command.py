"""What every command shares: the application, its groups, its output."""

import logging
import os
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Annotated, Any

from cyclopts import App, Group, Parameter

from flows.terminal import Screen

app = App(
    name="bfr",
    help="Blind face restoration with diffusion priors: restore photos, adapt a restorer, reproduce benchmarks.",
    version=lambda: version("bfr"),
    result_action="return_value",
    exit_on_error=False,
)
app.register_install_completion_command()
PHOTOS = Group("Your photos", sort_key=1)
EXPERIMENTS = Group("Experiments", sort_key=2)
FILES = Group("Weights and results", sort_key=3)


@Parameter(name="*", group=Group("Output", sort_key=9))
@dataclass(frozen=True)
class Output:
    """What a command says."""

    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", show_default=False)] = False
    "Warnings and results only."
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative="", show_default=False)] = False
    "Everything that happens."
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False
    "The result as JSON on standard output."

    @property
    def screen(self) -> Screen:
        return Screen(0 if self.quiet else 2 if self.verbose else 1)

    def apply(self) -> None:
        """Let the pipeline say as much, too."""
        logging.basicConfig(format="%(message)s", level=logging.INFO if self.verbose else logging.WARNING)
        for name in ("flows", "tasks"):
            logging.getLogger(name).setLevel(logging.WARNING if self.quiet else logging.INFO)
        if self.quiet or not sys.stderr.isatty():
            os.environ["TQDM_DISABLE"] = "1"


PLAIN = Output()


@dataclass(frozen=True)
class Result:
    """What a command returns: text for a reader, data for --json, and the exit code."""

    text: str
    data: Any = field(default_factory=dict)
    code: int = 0
    output: Output = PLAIN
