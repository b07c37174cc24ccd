"""RestoreFormer++: built from RestoreFormer's parts, read from a checkpoint of its official layout."""

import pytest
import torch
from spandrel.architectures.RestoreFormer.__arch.restoreformer_arch import RestoreFormer

from tasks.basics import BadInput
from tasks.restorers.faces import load_restoreformer_pp, restoreformer_pp_network
from tasks.weights.official import OFFICIAL


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return restoreformer_pp_network().eval()


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_official_layout_is_read_and_what_it_was_trained_with_is_left_out(network, photo, tmp_path):
    path = tmp_path / "RestoreFormer++.ckpt"
    state = {f"vqvae.{key}": value for key, value in network.state_dict().items()}
    beside = {"vqvae.quantize.utility_counter": torch.ones(1024), "loss.discriminator.0.weight": torch.ones(3)}
    torch.save({"state_dict": state | beside, "global_step": 5}, path)
    with torch.no_grad():
        assert torch.equal(load_restoreformer_pp(path)(photo)[0], network(photo)[0])


def test_the_released_file_has_room_for_this_network_and_for_nothing_else(network):
    """Its published size: the network's numbers, the counter of the codes, and under 500 bytes a tensor beside them."""
    tensors = network.state_dict()
    numbers = sum(tensor.numel() for tensor in tensors.values())
    assert 0 < OFFICIAL["RestoreFormer++.ckpt"].size - 4 * numbers < 500 * len(tensors)


def test_without_its_attention_at_32_it_is_restoreformer_with_four_heads(network, photo, tmp_path):
    plain = RestoreFormer(head_size=4).eval()
    with torch.no_grad():
        state = network.state_dict()
        plain.load_state_dict({key: state[key] for key in plain.state_dict()})
        before = network(photo)[0]
        silenced = [attention.proj_out for attention in network.decoder.up[4].attn]
        kept = [(layer.weight.clone(), layer.bias.clone()) for layer in silenced]
        for layer in silenced:
            layer.weight.zero_(), layer.bias.zero_()
        without = network(photo)[0]
        for layer, (weight, bias) in zip(silenced, kept, strict=True):
            layer.weight.copy_(weight), layer.bias.copy_(bias)
        assert len(silenced) == 3
        assert torch.equal(without, plain(photo)[0])
        assert not torch.equal(before, without)


def test_restoreformer_itself_is_refused(tmp_path):
    torch.save({"params": RestoreFormer().state_dict()}, tmp_path / "RestoreFormer.pth")
    with pytest.raises(BadInput, match=r"expected the weights of RestoreFormer\+\+; \d+ tensors differ"):
        load_restoreformer_pp(tmp_path / "RestoreFormer.pth")
