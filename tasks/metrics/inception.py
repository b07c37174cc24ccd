"""The networks whose features tell sets of images apart: FID's Inception, and its start with seeded random weights."""

from pathlib import Path

import torch
from torch import Tensor, nn

from tasks.metrics.offline import blamed, constructing, replaced
from tasks.metrics.seeded import fill_seeded
from tasks.running.torchvision_import import import_torchvision
from tasks.weights.checkpoint import read_state_dict


def fid_features(path: Path) -> nn.Module:
    """pytorch-fid's Inception: [N, 3, H, W] in [0, 1], resized to 299 inside, to [N, 2048].

    path: of its published weights. Raises BadInput for another file.
    """
    import_torchvision()
    from pytorch_fid import inception  # here, not above: takes time

    with blamed(path):
        state = read_state_dict(path)
        with constructing(), replaced(inception, "load_state_dict_from_url", lambda url, progress: state):
            network = inception.InceptionV3(normalize_input=True)
    return _Pooled(network).requires_grad_(False).eval().to(memory_format=torch.channels_last)


class _Pooled(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.network(images)[0]
        return pooled.flatten(1)


def fid_seeded_features() -> nn.Module:
    """The FID Inception up to its second pooling, with seeded random weights: [N, 3, H, W] in [0, 1] to [N, 192].

    The images keep their size, and the features are averaged over all positions. At 64 pixels the whole network, which
    enlarges to 299, takes 100 times longer, and needs more images than a demo has for its 2048 features.
    """
    import_torchvision()
    from torchvision.models import inception_v3  # here, not above: takes time

    with constructing():
        layers = inception_v3(weights=None, init_weights=False)
    first = (layers.Conv2d_1a_3x3, layers.Conv2d_2a_3x3, layers.Conv2d_2b_3x3, layers.maxpool1)
    second = (layers.Conv2d_3b_1x1, layers.Conv2d_4a_3x3, layers.maxpool2)
    return fill_seeded(nn.Sequential(_ToSigned(), *first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten()), "fid_seeded")


class _ToSigned(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return 2 * images - 1
