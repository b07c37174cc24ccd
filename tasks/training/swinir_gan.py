"""Adapting SwinIR to pseudo targets, DT-BFR Eq. 8 and its released code: L1 + perceptual + adversarial loss.

With generator G, discriminator D, degraded image y, pseudo target t and unpaired real image r:

    o   = G(y)                                                   not clamped
    L_G = mean|o - t| + 0.1 * sum_i LPIPS(o_i, t_i) + 0.1 * mean softplus(-D(o))
    L_D = mean softplus(-D(r)) + mean softplus(D(o detached))

each divided by the number of micro-batches, whose gradients add up to one step of G, then one of D. All networks stay
in training mode: G with stochastic depth, D with three power iterations of its spectral norm a micro-batch.
"""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from tasks.basics import WEIGHTS
from tasks.diffusion.unet import UNet
from tasks.metrics.perceptual import perceptual_module
from tasks.restorers import swinir
from tasks.running.half import half_precision
from tasks.training import loop, losses
from tasks.training.discriminator import OFFICIAL_WIDTH, PriorDiscriminator, UNetDiscriminator
from tasks.training.finetuning import FineTuning, Photos
from tasks.training.loop import Session, Steps


class GanLosses(NamedTuple):
    """The five losses as they enter the sums (weights applied), mean over the micro-batches of a step."""

    l1: float
    lpips: float
    gan: float
    real: float
    fake: float


class Adversarial(Steps):
    """L1 + lambda_lpips LPIPS + lambda_gan GAN, AdamW; the discriminator's learning rate stays as it is.

    has_leak: as in the released code, D is frozen in G's pass of the first micro-batch only, so that in the others G's
    adversarial gradient also flows into D. False is what the paper describes.
    """

    iterations: PositiveInt = Field(description="published: 20000, before the adaptation 800000")
    batch: PositiveInt = Field(description="published: 16")
    micro_batch: PositiveInt = Field(description="images a forward pass; LPIPS is summed over it. Published: 4")
    lr: PositiveFloat = Field(description="published: 2e-5, before the adaptation 1e-4")
    lr_min: NonNegativeFloat = Field(description="end of the restorer's cosine; published: 5e-6")
    lambda_lpips: NonNegativeFloat = Field(description="published: 0.1")
    lambda_gan: NonNegativeFloat = Field(description="published: 0.1")
    perceptual: Literal["lpips", "lpips_seeded"] = Field(default="lpips", description="published: lpips (VGG-16)")
    discriminator_width: PositiveInt = Field(default=OFFICIAL_WIDTH, description="published: 64")
    discriminator_lr: PositiveFloat | None = Field(default=None, description="default: lr, as published")
    bf16: bool = Field(
        default=False, description="bfloat16 autocast of the restorer and LPIPS, not of D; published: float32"
    )
    has_leak: bool = Field(
        default=True, description="the released code's slip: G's adversarial gradient also reaches D. The paper: false"
    )

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.batch % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} must divide batch {self.batch}")
        return self

    def train_restorer(
        self,
        model: nn.Module,
        batch_at: Callable[[int], "Batch"],
        seed: int,
        session: Session,
        critic: nn.Module | None = None,
    ) -> nn.Module:
        """`train` against a discriminator, default: a new U-Net; returns the model, trained in place."""
        critic = critic or UNetDiscriminator(self.discriminator_width, seed)
        perceptual = perceptual_module(self.perceptual, WEIGHTS).to(session.device)
        train(model, critic, perceptual, batch_at, self, seed, session)
        return model


class FineTune(Adversarial, FineTuning):
    """Eq. 8 of DT-BFR. For SwinIR."""

    recipe: Literal["swinir_gan"] = "swinir_gan"
    discriminator: Literal["unet", "prior"] = Field(
        default="unet", description="published: unet; prior, not in the papers: small networks on the prior's features"
    )
    trains: ClassVar[tuple[str, ...]] = ("swinir",)
    losses: ClassVar[tuple[str, ...]] = GanLosses._fields

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if self.reads_prior and self.discriminator_width != OFFICIAL_WIDTH:
            raise ValueError("discriminator_width is of the U-Net, and discriminator is `prior`: remove one of them")
        return self

    @property
    def reads_prior(self) -> bool:
        return self.discriminator == "prior"

    def tune(
        self, photos: Photos, weights: Path, seed: int, session: Session, prior: nn.Module | None = None
    ) -> nn.Module:
        def batch_at(step: int) -> Batch:
            return *photos.pairs(seed, self.batch, step), photos.unpaired(seed + 1, self.batch, step)

        critic = None
        if self.reads_prior:
            assert isinstance(prior, UNet), "the stage loads it"
            critic = PriorDiscriminator(prior, photos.first_unpaired().to(session.device), seed)
        return self.train_restorer(swinir.load(weights), batch_at, seed, session, critic)

    def save(self, model: nn.Module, path: Path) -> None:
        swinir.save(model, path)


FINETUNE = FineTune(iterations=20_000, batch=16, micro_batch=4, lr=2e-5, lr_min=5e-6, lambda_lpips=0.1, lambda_gan=0.1)


Batch = tuple[Tensor, Tensor, Tensor]
"""lq, pseudo target, real: each [B, 3, H, W] float32 in [0, 1], on the CPU."""


def train(
    generator: nn.Module,
    discriminator: nn.Module,
    perceptual: losses.Perceptual,
    batch_at: Callable[[int], Batch],
    settings: Adversarial,
    seed: int,
    session: Session,
) -> None:
    """Train `generator` (and `discriminator`) in place, on the session's device.

    batch_at: the batch of step s (from 0), a pure function that threads may call; see `loop.batch_indices`.
    perceptual: already on the device, in evaluation mode, its parameters frozen.
    The losses are GanLosses.

    Several processes (`accelerate launch`) share the micro-batches of a step and add up their gradients. That equals
    one process but for D's power iterations, of which each process then does fewer.
    """
    generator.to(session.device).train()
    discriminator.to(session.device).train()
    step_g, step_d = (
        loop.adamw(generator, settings.lr),
        loop.adamw(discriminator, settings.discriminator_lr or settings.lr),
    )
    parts: dict[str, loop.Stateful] = {
        "generator": generator,
        "discriminator": discriminator,
        "adamw_g": step_g,
        "adamw_d": step_d,
    }

    def update(step: int, batch: Batch) -> GanLosses:
        loop.set_lr(step_g, loop.cosine_lr(step, settings.iterations, settings.lr, settings.lr_min))
        step_g.zero_grad()
        step_d.zero_grad()
        step_losses = accumulate(generator, discriminator, perceptual, batch, settings, session.processes)
        loop.ensure_finite(step + 1, step_losses, session.resume)
        step_g.step()
        step_d.step()
        return step_losses

    loop.drive(parts, batch_at, update, settings, seed, session)


def accumulate(
    generator: nn.Module,
    discriminator: nn.Module,
    perceptual: losses.Perceptual,
    batch: Batch,
    settings: Adversarial,
    accelerator: loop.Processes,
) -> GanLosses:
    """Add one batch's gradients to both networks, micro-batch by micro-batch, and return its losses."""
    micro_batches = list(zip(*(torch.split(images, settings.micro_batch) for images in batch), strict=True))
    total = torch.zeros(len(GanLosses._fields), device=accelerator.device)
    for index in range(accelerator.process_index, len(micro_batches), accelerator.num_processes):
        is_frozen = index == 0 or not settings.has_leak
        lq, target, real = (images.to(accelerator.device, non_blocking=True) for images in micro_batches[index])
        with half_precision(accelerator.device, settings.bf16):
            output = generator(lq)
            lpips = settings.lambda_lpips * losses.perceptual_sum(perceptual, output, target)
        output = output.float()
        l1 = losses.l1(output, target)
        discriminator.requires_grad_(not is_frozen)
        gan = settings.lambda_gan * losses.labelled_real(discriminator(output))
        accelerator.backward((l1 + lpips + gan) / len(micro_batches))
        discriminator.requires_grad_(True)
        of_real = losses.labelled_real(discriminator(real))
        accelerator.backward(of_real / len(micro_batches))
        of_fake = losses.labelled_fake(discriminator(output.detach()))
        accelerator.backward(of_fake / len(micro_batches))
        total += torch.stack([l1, lpips, gan, of_real, of_fake]).detach()
    loop.sum_over_processes(accelerator, generator)
    loop.sum_over_processes(accelerator, discriminator)
    return GanLosses(*(accelerator.reduce(total, "sum") / len(micro_batches)).tolist())
