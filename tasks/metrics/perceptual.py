"""LPIPS (Zhang et al. 2018, version 0.1) as a metric and as a differentiable training loss."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tasks.basics import BadInput
from tasks.metrics.full_reference import size_text
from tasks.metrics.offline import blamed, constructing
from tasks.metrics.remembering import Remembering
from tasks.metrics.seeded import fill_seeded
from tasks.running.torchvision_import import import_torchvision
from tasks.weights.checkpoint import read_state_dict
from tasks.weights.official import VGG16

if TYPE_CHECKING:
    from lpips import LPIPS


class Lpips(nn.Module):
    """Perceptual distance of two batches: [N, 3, H, W] in [0, 1] (may overshoot) twice, to [N]. Symmetric.

    Frozen, but gradients flow to both inputs. It stays in evaluation mode, for its linear layers hold dropout.
    smallest: shortest side, in pixels, that the trunk can take; a smaller image raises BadInput.
    """

    def __init__(self, network: "LPIPS", smallest: int) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self._of_reference = Remembering(partial(_features, network))
        self.smallest = smallest
        self.eval()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Without gradients, a b that comes again is not sent through the trunk again."""
        if min(a.shape[-2:]) < self.smallest:
            raise BadInput(f"LPIPS needs images of at least {self.smallest} pixels a side, found {size_text(a)}.")
        ours = _features(self.network, a)
        theirs = _features(self.network, b) if torch.is_grad_enabled() else self._of_reference(b)
        weigh = self.network.lins if self.network.lpips else [nn.Identity() for _ in ours]
        layers = zip(weigh, ours, theirs, strict=True)
        distances = [layer((x - y) ** 2).sum(dim=1).mean(dim=(1, 2)) for layer, x, y in layers]
        return torch.stack(distances).sum(dim=0)

    def train(self, mode: bool = True) -> "Lpips":
        return super().train(False)


def _features(network: "LPIPS", images: Tensor) -> list[Tensor]:
    """Features of each layer of the trunk, of unit length over the channels."""
    import lpips

    return [lpips.normalize_tensor(layer) for layer in network.net(network.scaling_layer(2 * images - 1))]


def lpips_vgg(weights_dir: Path) -> Lpips:
    """LPIPS 0.1 with its VGG-16 trunk, as in the papers. Raises MissingWeights without the trunk's file.

    The linear layers come with the lpips package; the trunk is torchvision's VGG-16.
    """
    path = VGG16.find(weights_dir, "LPIPS")
    with blamed(path):
        state = read_state_dict(path)
        network = _untrained("vgg")
        trunk = {key: state["features." + key.split(".", 1)[1]] for key in network.net.state_dict()}
        network.net.load_state_dict(trunk)
    return Lpips(network, smallest=16).to(memory_format=torch.channels_last)


def lpips_seeded() -> Lpips:
    """LPIPS's distance with seeded random AlexNet features: needs no file, tells clean from degraded, is NOT LPIPS.

    Squared distance of the unit-normalised features of the five layers, summed over channels and layers. LPIPS's
    linear layers weigh trained channels and mean nothing on random ones, so all channels count alike.
    """
    network = _untrained("alex", lpips=False)
    fill_seeded(network.net, "lpips_seeded")
    return Lpips(network, smallest=31)


def lpips_score(weights_dir: Path, device: torch.device) -> Lpips:
    """LPIPS as a metric. Raises MissingWeights."""
    return lpips_vgg(weights_dir).to(device)


def lpips_seeded_score(weights_dir: Path, device: torch.device) -> Lpips:
    """Its seeded stand-in as a metric, which needs no file."""
    return lpips_seeded().to(device)


def perceptual_module(name: str, weights_dir: Path) -> Lpips:
    """The perceptual loss of that name in params.yaml, "lpips" or "lpips_seeded"."""
    return {"lpips": lambda: lpips_vgg(weights_dir), "lpips_seeded": lpips_seeded}[name]()


def _untrained(trunk: str, **options: bool) -> "LPIPS":
    import_torchvision()
    import lpips  # here, not above: takes time

    with constructing():
        return lpips.LPIPS(net=trunk, pnet_rand=True, verbose=False, **options)
