"""The page in a browser."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from flows.command import PHOTOS, app
from flows.commands.photos import OUT, Given
from tasks.basics import with_home

Port = Annotated[int, Parameter(validator=Number(gte=1, lte=65535))]


@app.command(name="app", group=PHOTOS)
def page(*, port: Port = 7860, out: Annotated[Given | None, OUT] = None) -> None:
    """Show a page to restore photos on, in a browser on this computer alone, until Ctrl-C.

    Parameters
    ----------
    port
        Where it is, or the next one that is free.
    out
        Where results are kept; default: nowhere, they can be downloaded.
    """
    from flows.app.serving import serve

    serve(port, out and with_home(out).absolute())
