"""The losses that restorers are trained with."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""Distance of two batches [N, 3, H, W] in [0, 1] (the first may overshoot), one number per image: [N]. As LPIPS VGG."""


def l1(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference over all pixels, channels and images."""
    return F.l1_loss(output, target)


def inpainting_l1(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Absolute difference with a weight of 10 in the hole (mask [N, 1, H, W], 1 = missing), as DifFace trains LaMa.

    Its code divides the sum over three channels by the weights of one: three times the weighted mean.
    """
    weight = 1 + 9 * mask
    return (weight * (output - target).abs()).sum() / weight.sum()


def perceptual_sum(distance: Perceptual, output: Tensor, target: Tensor) -> Tensor:
    """Perceptual distance SUMMED over the images, as DT-BFR's code does it.

    The L1 beside it is a mean, so the balance of the two depends on the micro-batch: with 4 images the distance counts
    four times more than as a mean.
    """
    return distance(output, target).float().sum()


def labelled_real(logits: Tensor) -> Tensor:
    """Cross-entropy of the discriminator's logits with the label "real": mean softplus(-D(x)).

    D's loss on real images, and G's (non-saturating) loss on its own outputs. DT-BFR's text prints log(1 - D(o)) for G
    and a misprinted loss for D; its code does this.
    """
    return F.softplus(-logits).mean()


def labelled_fake(logits: Tensor) -> Tensor:
    """Cross-entropy of D's logits with the label "generated": mean softplus(D(o)), D's loss on G's output."""
    return F.softplus(logits).mean()
