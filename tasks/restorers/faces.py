"""Networks of other methods that spandrel carries: GFPGAN, RestoreFormer (and RestoreFormer++) and CodeFormer.

spandrel's descriptors are passed by: they clamp, some blend, some do not map [0, 1] to [-1, 1], and networks arrive in
training mode.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from tasks.basics import BadInput
from tasks.weights.checkpoint import fill, read_state_dict, spandrel_network, to_be_filled, without

SIDE = 512  # of the images that the three face restorers are made for


def load(path: Path, architecture: str) -> nn.Module:
    """The bare network of a checkpoint, in evaluation mode, frozen.

    Raises BadInput when the file is missing or holds another network.
    """
    return spandrel_network(path, architecture).eval().requires_grad_(False)


def load_codeformer(path: Path) -> nn.Module:
    """CodeFormer, for inference or fine-tuning. Raises BadInput without its package, which has a licence of its own."""
    try:
        import spandrel_extra_arches
    except ImportError as error:
        raise BadInput(
            "CodeFormer needs the package spandrel_extra_arches (MIT; CodeFormer in it: S-Lab License 1.0,"
            " non-commercial).\n"
            "If you agree with its licence: pip install 'bfr[codeformer]'"
        ) from error
    spandrel_extra_arches.install(ignore_duplicates=True)
    return load(path, "CodeFormer")


def restoreformer_pp_network() -> nn.Module:
    """RestoreFormer++ (Wang et al., TPAMI 2023), randomly initialised: RestoreFormer with 4 heads instead of 8, whose
    decoder looks back at the encoder at 32 x 32 as well as at 16 x 16 (spandrel's loader knows only the first)."""
    from spandrel.architectures.RestoreFormer.__arch.restoreformer_arch import (  # here, not above: takes seconds
        MultiHeadDecoderTransformer,
        RestoreFormer,
    )

    class Decoder(MultiHeadDecoderTransformer):
        def forward(self, z: Tensor, hs: dict[str, Tensor]) -> Tensor:
            out: Tensor = super().forward(z, hs | {"block_4_atten": hs["block_4"]})  # the encoder's last at 32 x 32
            return out

    network: nn.Module = RestoreFormer(head_size=4)
    network.decoder = Decoder(
        ch=64, out_ch=3, ch_mult=(1, 2, 2, 4, 4, 8), z_channels=256, attn_resolutions=(16, 32), head_size=4
    )
    return network


def load_restoreformer_pp(path: Path) -> nn.Module:
    """RestoreFormer++ in evaluation mode, frozen. What its training left in the file is passed by: other networks, and
    the count of how often each code was used, which the released file has.

    Raises BadInput when the file is missing or holds another network.
    """
    state = read_state_dict(path)
    with to_be_filled():
        network = restoreformer_pp_network()
    state = without(state, "vqvae.") or state
    state.pop("quantize.utility_counter", None)
    fill(network, state, path, "RestoreFormer++")
    return network.eval().requires_grad_(False)


@torch.no_grad()
def gfpgan(model: nn.Module, lq: Tensor) -> Tensor:
    """lq: [N, 3, 512, 512] in [0, 1]; the same back. Its noise is switched off, so a photo always gives one result."""
    return _from_signed(model(_signed(lq, "GFPGAN"), randomize_noise=False)[0])


@torch.no_grad()
def restoreformer(model: nn.Module, lq: Tensor) -> Tensor:
    """lq: [N, 3, 512, 512] in [0, 1]; the same back."""
    return _from_signed(model(_signed(lq, "RestoreFormer"))[0])


@torch.no_grad()
def codeformer(model: nn.Module, lq: Tensor, fidelity: float) -> Tensor:
    """lq: [N, 3, 512, 512] in [0, 1]; the same back. fidelity: w of the paper, 0 (quality) … 1 (fidelity)."""
    return _from_signed(model(_signed(lq, "CodeFormer"), weight=fidelity)[0])


def _signed(lq: Tensor, what: str) -> Tensor:
    if lq.shape[-2:] != (SIDE, SIDE):
        found = " x ".join(map(str, lq.shape[-2:]))
        raise BadInput(f"{what} restores {SIDE} x {SIDE} images, found {found}. Set dataset.size: {SIDE}.")
    return 2 * lq - 1


def _from_signed(image: Tensor) -> Tensor:
    return (image / 2 + 0.5).clamp(0, 1)


def gfpgan_runner(weights: Path, fidelity: float, device: torch.device) -> Callable[[Tensor], Tensor]:
    """`gfpgan` by the network of a weights file, on the device; it has no fidelity to choose."""
    return partial(gfpgan, load(weights, "GFPGANv1Clean").to(device))


def restoreformer_runner(weights: Path, fidelity: float, device: torch.device) -> Callable[[Tensor], Tensor]:
    """`restoreformer` by the network of a weights file, on the device; it has no fidelity to choose."""
    return partial(restoreformer, load(weights, "RestoreFormer").to(device))


def restoreformer_pp_runner(weights: Path, fidelity: float, device: torch.device) -> Callable[[Tensor], Tensor]:
    """`restoreformer` by RestoreFormer++ of a weights file, on the device; it has no fidelity to choose."""
    return partial(restoreformer, load_restoreformer_pp(weights).to(device))


def codeformer_runner(weights: Path, fidelity: float, device: torch.device) -> Callable[[Tensor], Tensor]:
    """`codeformer` by the network of a weights file, on the device."""
    return partial(codeformer, load_codeformer(weights).to(device), fidelity=fidelity)
