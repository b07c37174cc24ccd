"""DifBFSR (Yu et al.): a reverse chain whose low frequencies come from two small networks, fitted to the one LQ photo.

No code was released; where the paper's formulas contradict each other, this reads them so: psi is the low-pass filter,
the contraction works on the clean estimate (their Eq. 5 names the noisy state), the posterior mean is DDPM's (their
Eq. 8 swaps its coefficients), and the loss compares on the small photo's grid. Every photo has its own networks.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from tasks.diffusion.samplers import Denoise, Draw, ancestral_step, predict
from tasks.diffusion.schedule import Schedule
from tasks.methods.method import Method, Networks
from tasks.methods.respacing import Respacing
from tasks.noise import ImageStreams, stream_seed
from tasks.restorers.network import Restore
from tasks.weights.seeding import initial_weights

Modules = Literal["both", "srm", "cfm", "none"]
LEAK = 0.2


class Srm(nn.Module):
    """Super-Resolution Module: [1, 3, h, w] to [1, 3, scale h, scale w] in [-1, 1].

    Five residual blocks and pixel shuffling, on top of the cubic enlargement. scale: 1, 2, 4, …
    """

    def __init__(self, scale: int, width: int) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(LEAK), nn.Conv2d(width, width, 3, padding=1)
            )
            for _ in range(5)
        )
        self.enlarge = nn.Sequential(
            *(
                layer
                for _ in range(scale.bit_length() - 1)
                for layer in (nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.LeakyReLU(LEAK))
            )
        )
        self.tail = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        h = nn.functional.leaky_relu(self.head(y), LEAK)
        for block in self.blocks:
            h = h + block(h)
        detail: Tensor = self.tail(self.enlarge(h))
        return resize(y, self.scale * y.shape[-2], self.scale * y.shape[-1]) + detail


class Cfm(nn.Module):
    """Contraction filter module: two convolutions with leaky ReLU, added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.filter = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(width, 3, 3, padding=1),
            nn.LeakyReLU(LEAK),
        )

    def forward(self, y: Tensor) -> Tensor:
        result: Tensor = y + self.filter(y)
        return result


def resize(x: Tensor, height: int, width: int) -> Tensor:
    """Cubic, antialiased, edges repeated: [N, C, H, W] to [N, C, height, width]."""
    with torch.autocast(x.device.type, enabled=False):
        return F.interpolate(x, (height, width), mode="bicubic", antialias=True)


def low_pass(x: Tensor, factor: int) -> Tensor:
    """psi_N of [N, C, H, W]: shrunk by `factor`, then enlarged again. (Not DT-BFR's phi_N, which mirrors the edges.)"""
    return resize(resize(x, x.shape[-2] // factor, x.shape[-1] // factor), *x.shape[-2:])


def loss(small: Tensor, output: Tensor, factor: int) -> Tensor:
    """Eq. 3 on the small photo's grid: half the mean squared difference of the two after the low-pass filter.

    small: [N, C, h, w]; output: [N, C, H, W], shrunk to it first.
    """
    shrunk = resize(output, *small.shape[-2:])
    return (low_pass(small, factor) - low_pass(shrunk, factor)).square().mean() / 2


def contract(x_0: Tensor, y_hat: Tensor, factor: int) -> Tensor:
    """Eq. 5: the low frequencies of y_hat, the others of x_0."""
    return low_pass(y_hat, factor) + x_0 - low_pass(x_0, factor)


class Guide:
    """The two networks of one photo with their optimisers; `step` fits both once and says what they now think."""

    def __init__(
        self, small: Tensor, scale: int, factor: int, modules: Modules, width: int, lr_srm: float, lr_cfm: float
    ) -> None:
        """small: [1, 3, h, w] in [-1, 1]; the networks take their weights from torch's global generator."""
        self.small, self.factor, self.scale = small, factor, scale
        self.srm = Srm(scale, width).to(small.device) if modules in ("both", "srm") else None
        self.cfm = Cfm(width).to(small.device) if modules in ("both", "cfm") else None
        nets = ((self.srm, lr_srm), (self.cfm, lr_cfm))
        self.optimizers = [torch.optim.Adam(net.parameters(), lr=lr) for net, lr in nets if net is not None]

    def estimate(self) -> Tensor:
        """y_hat [1, 3, H, W] of the networks as they are."""
        height, width = (self.scale * side for side in self.small.shape[-2:])
        y_hat = self.srm(self.small) if self.srm is not None else resize(self.small, height, width)
        return self.cfm(y_hat) if self.cfm is not None else y_hat

    def step(self) -> Tensor:
        """Update the two modules in turn, the super-resolution one first (3.1), and estimate."""
        with torch.enable_grad():
            for optimizer in self.optimizers:
                objective = loss(self.small, self.estimate(), self.factor)
                optimizer.zero_grad()
                objective.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return self.estimate().detach()


@torch.no_grad()
def restore(
    denoise: Denoise,
    schedule: Schedule,
    guides: Sequence[Guide],
    noise: Draw,
    *,
    factor: int,
    on_step: Callable[[int], None] = lambda i: None,
) -> Tensor:
    """Restored photos [N, 3, H, W] in [0, 1], one of each guide; without guides' help (no guide): plain samples.

    The chain starts from noise() and runs over the whole (respaced, published: 100 steps) schedule. factor: N of psi.
    """
    x = noise()
    for i in reversed(range(len(schedule))):
        prediction = predict(denoise, schedule, x, i)
        if guides:
            y_hat = torch.cat([guide.step() for guide in guides])
            prediction = prediction._replace(x_0=contract(prediction.x_0, y_hat, factor))
        x = ancestral_step(schedule, x, i, prediction, noise())
        on_step(i)
    return (x / 2 + 0.5).clamp(0, 1)


class DifBfsr(Method):
    """DifBFSR: low frequencies of the reverse chain from two networks that are fitted to the photo meanwhile."""

    kind: Literal["difbfsr"]
    respacing: Respacing = Field(description="kept steps of the 1000; published: '100'")
    scale: PositiveInt = Field(description="the LQ photo's side is divided by it first, a power of two; published: 4")
    factor: PositiveInt = Field(description="N of the low-pass filter; not published, 4 is our reading")
    modules: Modules = Field(default="both", description="the paper's ablation: both, srm, cfm or none")
    width: PositiveInt = Field(
        description="channels of the two networks; not published: with 64, the published learning rates diverge"
    )
    lr_srm: PositiveFloat = Field(default=2e-3, description="published: 2e-3")
    lr_cfm: PositiveFloat = Field(default=5e-3, description="published: 5e-3")

    @property
    def evaluations(self) -> int:
        return len(Schedule.linear().respace(self.respacing))

    def build(self, networks: Networks, seed: int, device: torch.device) -> Restore:
        prior, schedule = networks.load_prior(device), Schedule.linear().respace(self.respacing)

        def run(lq: Tensor, image_ids: Sequence[str]) -> Tensor:
            draw = partial(ImageStreams(seed, "difbfsr", image_ids, device).normal, *lq.shape[1:])
            small = resize(2 * lq - 1, lq.shape[-2] // self.scale, lq.shape[-1] // self.scale)
            ids = [] if self.modules == "none" else image_ids
            guides = [self.guide(photo[None], image_id, seed) for photo, image_id in zip(small, ids, strict=False)]
            return restore(prior, schedule, guides, draw, factor=self.factor)

        return run

    def guide(self, small: Tensor, image_id: str, seed: int) -> Guide:
        """The two networks of one photo, [1, 3, h, w] in [-1, 1], with first weights of its own."""
        with initial_weights(stream_seed(seed, "difbfsr_networks", image_id) & 0xFFFFFFFF):
            return Guide(small, self.scale, self.factor, self.modules, self.width, self.lr_srm, self.lr_cfm)
