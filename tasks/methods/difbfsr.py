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
from tasks.running.torchvision_import import import_compiler
from tasks.weights.seeding import initial_weights

Modules = Literal["both", "srm", "cfm", "none"]
LEAK = 0.2


class Srm(nn.Module):
    """Super-Resolution Module of each of N photos: [N, 3, h, w] to [N, 3, scale h, scale w] in [-1, 1].

    Five residual blocks and pixel shuffling, on top of the cubic enlargement. scale: 1, 2, 4, …
    """

    def __init__(self, scale: int, width: int, photos: int = 1) -> None:
        super().__init__()
        self.scale = scale
        self.head = ConvOfEach(photos, 3, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(ConvOfEach(photos, width, width), nn.LeakyReLU(LEAK), ConvOfEach(photos, width, width))
            for _ in range(5)
        )
        self.enlarge = nn.Sequential(
            *(
                layer
                for _ in range(scale.bit_length() - 1)
                for layer in (ConvOfEach(photos, width, 4 * width), nn.PixelShuffle(2), nn.LeakyReLU(LEAK))
            )
        )
        self.tail = ConvOfEach(photos, width, 3)

    def forward(self, y: Tensor) -> Tensor:
        h = nn.functional.leaky_relu(self.head(side_by_side(y)), LEAK)
        for block in self.blocks:
            h = h + block(h)
        enlarged = resize(y, self.scale * y.shape[-2], self.scale * y.shape[-1])
        detail: Tensor = self.tail(self.enlarge(h))
        return enlarged + detail.view_as(enlarged)


class Cfm(nn.Module):
    """Contraction filter module of each of N photos: two convolutions with leaky ReLU, added to their input."""

    def __init__(self, width: int, photos: int = 1) -> None:
        super().__init__()
        self.filter = nn.Sequential(
            ConvOfEach(photos, 3, width),
            nn.LeakyReLU(LEAK),
            ConvOfEach(photos, width, 3),
            nn.LeakyReLU(LEAK),
        )

    def forward(self, y: Tensor) -> Tensor:
        added: Tensor = self.filter(side_by_side(y))
        return y + added.view_as(y)


class ConvOfEach(nn.Conv2d):
    """A 3 x 3 convolution with weights of its own for each photo of those that lie `side_by_side`.

    On a GPU all of them are one, in groups. On the CPU that is no faster and rounds differently, so there one follows
    the other: the bits do not depend on the batch.
    """

    def __init__(self, photos: int, channels: int, out: int) -> None:
        super().__init__(photos * channels, photos * out, 3, padding=1, groups=photos)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        assert self.bias is not None
        weights, biases = self.weight.chunk(self.groups), self.bias.chunk(self.groups)
        each = zip(x.chunk(self.groups, dim=1), weights, biases, strict=True)
        return torch.cat([F.conv2d(photo, weight, bias, padding=1) for photo, weight, bias in each], dim=1)


def side_by_side(y: Tensor) -> Tensor:
    """[N, C, H, W] to [1, N C, H, W]: the channels of one photo after those of another."""
    return y.reshape(1, -1, *y.shape[-2:])


def resize(x: Tensor, height: int, width: int) -> Tensor:
    """Cubic, antialiased, edges repeated: [N, C, H, W] to [N, C, height, width]."""
    with torch.autocast(x.device.type, enabled=False):
        return F.interpolate(x, (height, width), mode="bicubic", antialias=True)


def low_pass(x: Tensor, factor: int) -> Tensor:
    """psi_N of [N, C, H, W]: shrunk by `factor`, then enlarged again. (Not DT-BFR's phi_N, which mirrors the edges.)"""
    return resize(resize(x, x.shape[-2] // factor, x.shape[-1] // factor), *x.shape[-2:])


def loss(small: Tensor, output: Tensor, factor: int) -> Tensor:
    """Eq. 3 on the small photo's grid: half the mean squared difference of the two after the low-pass filter.

    small: [N, C, h, w]; output: [N, C, H, W], shrunk to it first. The sum over the photos, so that each one's gradient
    is the same in any batch.
    """
    shrunk = resize(output, *small.shape[-2:])
    return (low_pass(small, factor) - low_pass(shrunk, factor)).square().flatten(1).mean(dim=1).sum() / 2


def contract(x_0: Tensor, y_hat: Tensor, factor: int) -> Tensor:
    """Eq. 5: the low frequencies of y_hat, the others of x_0."""
    return low_pass(y_hat, factor) + x_0 - low_pass(x_0, factor)


class PhotoNetworks(nn.Module):
    """The two networks of each of N photos, less in the ablations: small photos [N, 3, h, w] to y_hat [N, 3, H, W].

    A batch takes the operations of one photo. No photo's gradient reaches the networks of another.
    """

    def __init__(self, scale: int, width: int, modules: Modules, photos: int = 1) -> None:
        super().__init__()
        self.scale = scale
        self.srm = Srm(scale, width, photos) if modules in ("both", "srm") else None
        self.cfm = Cfm(width, photos) if modules in ("both", "cfm") else None

    def forward(self, small: Tensor) -> Tensor:
        height, width = (self.scale * side for side in small.shape[-2:])
        y_hat = self.srm(small) if self.srm is not None else resize(small, height, width)
        result: Tensor = self.cfm(y_hat) if self.cfm is not None else y_hat
        return result


class Guides:
    """The networks of a batch of photos with their optimisers; `step` fits all once and says what they now think."""

    def __init__(self, small: Tensor, networks: PhotoNetworks, *, factor: int, lr_srm: float, lr_cfm: float) -> None:
        """small: [N, 3, h, w] in [-1, 1]; networks: of N photos, on the same device."""
        self.small, self.networks, self.factor = small, networks, factor
        nets = ((networks.srm, lr_srm), (networks.cfm, lr_cfm))
        import_compiler()
        self.optimizers = [torch.optim.Adam(net.parameters(), lr=lr) for net, lr in nets if net is not None]

    def step(self) -> Tensor:
        """y_hat [N, 3, H, W] after an update of the two modules in turn, the super-resolution one first (3.1)."""
        with torch.enable_grad():
            for optimizer in self.optimizers:
                objective = loss(self.small, self.networks(self.small), self.factor)
                optimizer.zero_grad()
                objective.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        with torch.no_grad():
            y_hat: Tensor = self.networks(self.small)
        return y_hat


@torch.no_grad()
def restore(
    denoise: Denoise,
    schedule: Schedule,
    guides: Guides | None,
    noise: Draw,
    *,
    factor: int,
    on_step: Callable[[int], None] = lambda i: None,
) -> Tensor:
    """Restored photos [N, 3, H, W] in [0, 1], those of the guides; without guides: plain samples.

    The chain starts from noise() and runs over the whole (respaced, published: 100 steps) schedule. factor: N of psi.
    """
    x = noise()
    for i in reversed(range(len(schedule))):
        prediction = predict(denoise, schedule, x, i)
        if guides is not None:
            prediction = prediction._replace(x_0=contract(prediction.x_0, guides.step(), factor))
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
            guides = None if self.modules == "none" else self.guides(small, image_ids, seed)
            return restore(prior, schedule, guides, draw, factor=self.factor)

        return run

    def guides(self, small: Tensor, image_ids: Sequence[str], seed: int) -> Guides:
        """The networks of the photos, [N, 3, h, w] in [-1, 1], each with first weights of its own."""
        each = [self.first_weights(image_id, seed) for image_id in image_ids]
        with torch.device("meta"):
            networks = PhotoNetworks(self.scale, self.width, self.modules, len(each))
        networks.load_state_dict({name: torch.cat([one[name] for one in each]) for name in each[0]}, assign=True)
        return Guides(small, networks.to(small.device), factor=self.factor, lr_srm=self.lr_srm, lr_cfm=self.lr_cfm)

    def first_weights(self, image_id: str, seed: int) -> dict[str, Tensor]:
        """Of the networks of one photo."""
        with initial_weights(stream_seed(seed, "difbfsr_networks", image_id) & 0xFFFFFFFF):
            return PhotoNetworks(self.scale, self.width, self.modules).state_dict()
