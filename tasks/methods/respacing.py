"""Settings of a diffusion chain, checked where they are read."""

from typing import Annotated

from pydantic import AfterValidator

from tasks.diffusion.schedule import Schedule


def _can_be_kept(text: str) -> str:
    Schedule.linear().respace(text)
    return text


Respacing = Annotated[str, AfterValidator(_can_be_kept)]
"""Which of the 1000 steps are kept, in guided-diffusion's notation ("250", "ddim250")."""
