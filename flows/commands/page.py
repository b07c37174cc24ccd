"""The page in a browser."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from flows.command import PHOTOS, app

Port = Annotated[int, Parameter(validator=Number(gte=1, lte=65535))]


@app.command(name="app", group=PHOTOS)
def page(*, port: Port = 7860, out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None) -> None:
    """Show a page to restore photos on, in a browser on this computer alone, until Ctrl-C.

    Parameters
    ----------
    port
        Where it is, or the next one that is free.
    out
        Where results are kept; default: nowhere, they can be downloaded.
    """
    from flows.app.serving import serve

    serve(port, out and out.expanduser().absolute())
