"""All methods that an experiment's section `compare` can name. To add one: its file, and its entry here."""

from typing import Annotated

from pydantic import Field

from tasks.methods.difbfsr import DifBfsr
from tasks.methods.difface import DifFace
from tasks.methods.difface_colour import DifFaceColour
from tasks.methods.difface_inpaint import DifFaceInpaint
from tasks.methods.feed_forward import FeedForward
from tasks.methods.free_samples import FreeSamples
from tasks.methods.gen2res import Gen2Res, NoiseDenoise
from tasks.methods.idm import Idm

Settings = Annotated[
    FeedForward | FreeSamples | DifFace | DifFaceInpaint | DifFaceColour | Gen2Res | NoiseDenoise | Idm | DifBfsr,
    Field(discriminator="kind"),
]
