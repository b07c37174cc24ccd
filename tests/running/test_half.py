"""bfloat16 by the setting alone; a processor that is slower by it is named."""

import logging

import pytest
import torch

from tasks.running import half
from tasks.running.half import half_precision

CPU = torch.device("cpu")


def product(is_on: bool) -> torch.Tensor:
    with half_precision(CPU, is_on):
        return torch.ones(2, 2) @ torch.ones(2, 2)


@pytest.mark.parametrize(
    ("processor", "is_slow"),
    [
        ({"architecture": "x86_64", "amx_bf16": True, "avx512_bf16": True}, False),
        ({"architecture": "x86_64", "amx_bf16": False, "avx512_bf16": True}, False),
        ({"architecture": "x86_64", "amx_bf16": False, "avx512_bf16": False}, True),
        ({"architecture": "aarch64"}, False),
        ({}, False),
    ],
)
def test_a_processor_without_units_for_bfloat16_computes_it_and_says_once_that_it_is_slow(
    monkeypatch, caplog, processor, is_slow
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor)
    half.warn_if_slow.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert product(False).dtype == torch.float32
        assert not caplog.records
        assert product(True).dtype == product(True).dtype == torch.bfloat16
    assert len(caplog.records) == is_slow
    half.warn_if_slow.cache_clear()
