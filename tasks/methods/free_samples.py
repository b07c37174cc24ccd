"""Free samples of the prior, one for each photo, which they do not look at: how real a prior's faces are at best."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from tasks.diffusion.free import sample
from tasks.diffusion.schedule import Schedule
from tasks.methods.method import Method, Networks
from tasks.methods.respacing import Respacing
from tasks.noise import ImageStreams
from tasks.restorers.network import Restore


class FreeSamples(Method):
    """What the prior draws from noise alone (DifFace, Table V, "Diffusion")."""

    kind: Literal["free_samples"]
    respacing: Respacing

    @property
    def evaluations(self) -> int:
        return len(Schedule.linear().respace(self.respacing))

    def build(self, networks: Networks, seed: int, device: torch.device) -> Restore:
        prior, schedule = networks.load_prior(device), Schedule.linear().respace(self.respacing)

        def run(lq: Tensor, image_ids: Sequence[str]) -> Tensor:
            streams = ImageStreams(seed, "free_samples", image_ids, device)
            return sample(prior, schedule, partial(streams.normal, *lq.shape[1:]))

        return run
