"""Adapting CodeFormer to pseudo-targets (DT-BFR, supplement): code-level losses, no image-level ones.

The nearest codes of the pseudo-target, seen through a frozen copy of the STARTING encoder (not through the separate
high-quality encoder), are what the encoder and the code predictor learn to find in the LQ photo. Code book, generator
and fusion blocks stay as they are.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from tasks.noise import numpy_stream
from tasks.restorers import faces
from tasks.training import loop
from tasks.training.finetuning import FineTuning, Photos
from tasks.training.loop import Session
from tasks.training.network import average
from tasks.weights.checkpoint import write_state_dict

Network = Any  # spandrel_extra_arches is optional: its class cannot be named here
FROZEN = ("quantize", "generator", "fuse_convs_dict")


class CodeLosses(NamedTuple):
    """As they enter the sum (weights applied)."""

    feature: float
    code: float


class CodeFineTune(FineTuning):
    """DT-BFR's fine-tuning of CodeFormer: code-level losses, Adam, the learning rate halved at milestones.

    The result are the averaged weights; the feature loss has weight 1. Pairs are mirrored at random.
    """

    recipe: Literal["codeformer"]
    iterations: PositiveInt = Field(description="published: 40000")
    batch: PositiveInt = Field(description="published: 8")
    lr: PositiveFloat = Field(description="published: 1e-4")
    milestones: tuple[PositiveInt, ...] = Field(description="published: 35000, 38000")
    ema: float = Field(ge=0, lt=1, description="published: 0.995")
    lambda_code: NonNegativeFloat = Field(description="published: 0.5")
    perceptual: ClassVar[None] = None
    trains: ClassVar[tuple[str, ...]] = ("codeformer",)
    losses: ClassVar[tuple[str, ...]] = CodeLosses._fields

    def tune(
        self, photos: Photos, weights: Path, seed: int, session: Session, prior: nn.Module | None = None
    ) -> Network:
        def batch_at(step: int) -> tuple[Tensor, Tensor]:
            lq, target = photos.pairs(seed, self.batch, step)
            is_mirrored = torch.from_numpy(numpy_stream(seed, "mirror", str(step)).random(len(lq)) < 0.5)
            choice = is_mirrored[:, None, None, None]
            return torch.where(choice, lq.flip(-1), lq), torch.where(choice, target.flip(-1), target)

        return train(faces.load_codeformer(weights), batch_at, self, seed, session)

    def save(self, model: Network, path: Path) -> None:
        write_state_dict(path, model.state_dict())


def train(
    model: Network,
    batch_at: Callable[[int], tuple[Tensor, Tensor]],
    settings: CodeFineTune,
    seed: int,
    session: Session,
) -> Network:
    """Train `model` in place on the session's device and return a copy with the averaged weights.

    batch_at: the batch of step s (from 0): lq and pseudo-target, each [B, 3, 512, 512] float32 in [0, 1] on the CPU; a
    pure function that threads may call. Several processes share its images; B must be a multiple of their number.
    The losses are CodeLosses.
    """
    model.to(session.device).train().requires_grad_(True)
    for name in FROZEN:
        getattr(model, name).requires_grad_(False)
    start = copy.deepcopy(model.encoder).eval().requires_grad_(False)
    averaged = copy.deepcopy(model)
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), settings.lr, betas=(0.9, 0.99))
    parts: dict[str, loop.Stateful] = {"model": model, "start": start, "averaged": averaged, "adam": optimizer}

    def update(step: int, batch: tuple[Tensor, Tensor]) -> CodeLosses:
        loop.set_lr(optimizer, settings.lr * 0.5 ** sum(step >= milestone for milestone in settings.milestones))
        optimizer.zero_grad()
        losses = accumulate(model, start, batch, settings, session.processes)
        loop.ensure_finite(step + 1, losses, session.resume)
        optimizer.step()
        average(averaged, model, settings.ema)
        return losses

    loop.drive(parts, batch_at, update, settings, seed, session)
    return averaged


def accumulate(
    model: Network, start: Network, batch: tuple[Tensor, Tensor], settings: CodeFineTune, accelerator: loop.Processes
) -> CodeLosses:
    """Add the gradient of one batch (this process' share of its images) to the model; returns the losses."""
    lq, target = (2 * images - 1 for images in loop.share_of(batch, accelerator))
    with torch.no_grad():
        codes = nearest_codes(model.quantize.embedding.weight, features(start, target))
    logits, lq_feat = predict_codes(model, lq)
    of_feature = feature_loss(model.quantize.embedding.weight, codes, lq_feat)
    of_code = settings.lambda_code * code_loss(logits, codes)
    accelerator.backward((of_feature + of_code) / accelerator.num_processes)
    loop.sum_over_processes(accelerator, model)
    both = torch.stack([of_feature, of_code]).detach() / accelerator.num_processes
    return CodeLosses(*accelerator.reduce(both, "sum").tolist())


def features(encoder: Network, x: Tensor) -> Tensor:
    """x [N, 3, H, W] in [-1, 1] to latents [N, C, H/32, W/32]."""
    for block in encoder.blocks:
        x = block(x)
    return x


def predict_codes(model: Network, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [N, T, codes] of every token's code, and the encoder's latents [N, C, h, w], T = h w row by row."""
    lq_feat = features(model.encoder, x)
    position = model.position_emb.unsqueeze(1)
    query = model.feat_emb(lq_feat.flatten(2).permute(2, 0, 1))
    for layer in model.ft_layers:
        query = layer(query, query_pos=position.expand_as(query))
    return model.idx_pred_layer(query).permute(1, 0, 2), lq_feat


def nearest_codes(codebook: Tensor, latents: Tensor) -> Tensor:
    """Index of the nearest entry of codebook [K, C] for every position of latents [N, C, h, w]: [N, h w] int64."""
    tokens = latents.flatten(2).transpose(1, 2)
    distances = tokens.square().sum(-1, keepdim=True) + codebook.square().sum(-1) - 2 * tokens @ codebook.T
    return distances.argmin(dim=-1)


def feature_loss(codebook: Tensor, codes: Tensor, lq_feat: Tensor) -> Tensor:
    """Mean squared distance of the latents [N, C, h, w] from their target codes [N, h w], which get no gradient."""
    quantized = codebook[codes].detach().transpose(1, 2).reshape(lq_feat.shape)
    return (quantized - lq_feat).square().mean()


def code_loss(logits: Tensor, codes: Tensor) -> Tensor:
    """Cross-entropy of logits [N, T, K] with codes [N, T], mean over all tokens."""
    return nn.functional.cross_entropy(logits.flatten(0, 1), codes.flatten())
