"""All kinds of training that data/weights/NAME.yaml can name. To add one: its file, and its entry here."""

from typing import Annotated

from pydantic import Field

from tasks.models.gan import GanTraining
from tasks.models.idm import IdmTraining
from tasks.models.inpainting import InpaintingTraining
from tasks.models.prior import PriorTraining
from tasks.models.restorer import RestorerTraining

AnyTraining = Annotated[
    PriorTraining | RestorerTraining | GanTraining | InpaintingTraining | IdmTraining, Field(discriminator="kind")
]
