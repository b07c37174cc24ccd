"""Restoration by generation with constrained priors (Ding et al. 2024): noise a photo, denoise it by a personal prior.

The prior is fine-tuned (`tune`) on an album: photos of the subject, or samples that are guided by the LQ photo itself
("generative album"). The steps follow the official code: no off-by-one at the start, ancestral steps
with learned variance, and a guidance whose norm is not squared (the paper's Eq. 6 squares it, its text says L1).
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from tasks.diffusion.samplers import Denoise, Draw, ancestral_step, predict
from tasks.diffusion.schedule import Schedule
from tasks.diffusion.unet import UNet
from tasks.methods.method import Method, Networks, index_of
from tasks.methods.respacing import Respacing
from tasks.noise import ImageStreams, numpy_stream, stream_seed
from tasks.restorers.network import Restore
from tasks.running.batching import DIFFERENTIATED, batch_size, in_batches
from tasks.training import network
from tasks.training import prior as prior_training
from tasks.training.loop import Alone, Session, Steps

Guided = Callable[[int], bool]
"""Whether the step at index i is guided."""


def never(i: int) -> bool:
    """No guidance."""
    return False


def skip_guidance(steps: int, *, skip: int, last: int, first: int = 0) -> Guided:
    """The official rule for a chain of `steps`: every `skip`-th step, and all of the noisiest `last`.

    No step below index `first`; skip = 0: only the noisiest. Official for albums: skip 10, last 200 of 1000.
    """

    def is_guided(i: int) -> bool:
        return i >= first and ((skip > 0 and (i + 1) % skip == 0) or i >= steps - last)

    return is_guided


def restore(
    denoise: Denoise,
    schedule: Schedule,
    y0: Tensor,
    noise: Draw,
    *,
    start: int,
    is_guided: Guided = never,
    scale: float = 0.0,
    on_step: Callable[[int], None] = lambda i: None,
) -> Tensor:
    """Restorations of the photos y0 [N, C, H, W] in [0, 1]; the same shape and range back.

    start: K, how many steps of the schedule to undo (paper: 200 of 1000); is_guided, scale: guidance towards y0 (the
    paper has none; the official command leaves every 10th step on with scale 0.3). Noise is drawn for the start, then
    once a step. Raises ValueError unless 0 < start <= len(schedule).
    """
    if not 0 < start <= len(schedule):
        raise ValueError(f"expected 0 < start <= {len(schedule)} (steps of the schedule), found start = {start}")
    reference = 2 * y0 - 1
    x = schedule.q_sample(reference, start - 1, noise())
    return _denoise(denoise, schedule, x, reference, noise, start, is_guided, scale, on_step)


def generative_album(
    denoise: Denoise,
    schedule: Schedule,
    y0: Tensor,
    noise: Draw,
    *,
    is_guided: Guided,
    scale: float,
    on_step: Callable[[int], None] = lambda i: None,
) -> Tensor:
    """Clean faces that resemble the photos y0 [N, C, H, W] in [0, 1], from pure noise; the same shape and range back.

    The official album has 16 of one photo: repeat it. Official: scale 0.3, `skip_guidance` with skip 10, last 200.
    """
    return _denoise(denoise, schedule, noise(), 2 * y0 - 1, noise, len(schedule), is_guided, scale, on_step)


def _denoise(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    reference: Tensor,
    noise: Draw,
    start: int,
    is_guided: Guided,
    scale: float,
    on_step: Callable[[int], None],
) -> Tensor:
    for i in reversed(range(start)):
        if is_guided(i):
            sample, gradient = _guided_step(denoise, schedule, x, i, reference, noise())
            x = sample - scale * gradient
        else:
            with torch.no_grad():
                x = ancestral_step(schedule, x, i, predict(denoise, schedule, x, i), noise())
        on_step(i)
    return (x / 2 + 0.5).clamp(0, 1)


def _guided_step(
    denoise: Denoise, schedule: Schedule, x: Tensor, i: int, reference: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """The ancestral sample, and the gradient by x of each image's distance between the reference and predicted x_0."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        prediction = predict(denoise, schedule, x, i)
        distance = torch.linalg.vector_norm((reference - prediction.x_0).flatten(1), dim=1).sum()
        (gradient,) = torch.autograd.grad(distance, x)
    with torch.no_grad():
        return ancestral_step(schedule, x, i, prediction, noise), gradient


class Personalization(Steps):
    """A short fine-tuning of the prior on an album, with the prior's own loss.

    Official: AdamW without weight decay, learning rate falling linearly to zero, no flips, raw weights (no averaging);
    3,000 steps on a generative album, 5,000 on a personal one.
    """

    iterations: PositiveInt = Field(description="published: 3000; on a personal album 5000")
    batch: PositiveInt = Field(description="published: 4")
    lr: PositiveFloat = Field(description="published: 1e-5")
    ema: ClassVar[float] = 0.0
    bf16: ClassVar[bool] = False
    clip: ClassVar[float | None] = None
    micro_batch: ClassVar[int | None] = None

    def lr_at(self, step: int) -> float:
        """Learning rate of step `step` (from 0); it stays for two steps, as the official code is one step late."""
        return self.lr * (1 - max(step - 1, 0) / self.iterations)


def tune(prior: UNet, album: Tensor, settings: Personalization, seed: int, session: Session) -> None:
    """Fine-tune `prior` in place on `album`, float32 [M, C, H, W] in [0, 1], at least one image, on the CPU.

    Step s draws its images, timesteps and noise from a stream of its own. Leaves the prior in evaluation mode.
    """

    def batch_at(step: int) -> prior_training.Batch:
        rng = numpy_stream(seed, "train_album", str(step))
        rows = rng.choice(len(album), settings.batch, replace=len(album) <= settings.batch)
        x_start = 2 * album[rows] - 1
        return x_start, *prior_training.draw_noise(x_start, rng)

    network.train(prior, prior_training.objective, batch_at, settings, seed, session)
    prior.eval().requires_grad_(False)


class NoiseDenoise(Method):
    """gen2res without an album of its own: the photo, noised and denoised by the prior, or by a personal one.

    One photo after another, as gen2res itself, so that both have the same bits where the album changes nothing.
    """

    kind: Literal["noise_denoise"]
    respacing: Respacing = Field(description="kept steps of the 1000; published: '1000'")
    start_t: PositiveInt = Field(le=1000, description="K: noise level to restore from, of 1000; published: 200")

    @property
    def evaluations(self) -> int:
        return index_of(Schedule.linear().respace(self.respacing), self.start_t)

    def build(self, networks: Networks, seed: int, device: torch.device) -> Restore:
        prior, schedule = networks.load_prior(device), Schedule.linear().respace(self.respacing)
        start = index_of(schedule, self.start_t)

        def one(photo: Tensor, image_id: str) -> Tensor:
            draw = partial(ImageStreams(seed, "gen2res", [image_id], device).normal, *photo.shape[1:])
            return restore(prior, schedule, photo, draw, start=start)

        def run(lq: Tensor, image_ids: Sequence[str]) -> Tensor:
            return torch.cat([one(photo[None], image_id) for photo, image_id in zip(lq, image_ids, strict=True)])

        return run


class Gen2Res(Method, Personalization):
    """gen2res: the prior, fine-tuned for each photo on an album of samples that the photo guides; then noise, denoise.

    album: samples. Published: 16 samples of all 1000 steps, guided at every 10th
    and at the noisiest 200 with scale 0.3; 3000 iterations of batch 4 at 1e-5; restoration from t = 200.
    """

    kind: Literal["gen2res"]
    respacing: Respacing = Field(description="kept steps of the 1000, for album and restoration; published: '1000'")
    start_t: PositiveInt = Field(le=1000, description="K: noise level to restore from, of 1000; published: 200")
    album: PositiveInt = Field(description="published: 16")
    skip: NonNegativeInt = Field(description="every so many steps are guided; published: 10")
    guided_t: NonNegativeInt = Field(description="all of the noisiest steps, of 1000, are guided; published: 200")
    scale: NonNegativeFloat = Field(description="of the guidance; published: 0.3")
    shard: ClassVar[int] = 2

    @property
    def evaluations(self) -> int:
        schedule = Schedule.linear().respace(self.respacing)
        return index_of(schedule, self.start_t) + self.album * len(schedule)

    @property
    def training_images(self) -> int:
        return self.iterations * self.batch

    def build(self, networks: Networks, seed: int, device: torch.device) -> Restore:
        """One photo after another, each with a copy of the prior of its own."""
        prior, schedule = networks.load_prior(device), Schedule.linear().respace(self.respacing)
        start = index_of(schedule, self.start_t)

        def one(photo: Tensor, image_id: str) -> Tensor:
            draw = partial(ImageStreams(seed, "gen2res", [image_id], device).normal, *photo.shape[1:])
            model = self.personal_prior(prior, schedule, photo, image_id, seed)
            return restore(model, schedule, photo, draw, start=start)

        def run(lq: Tensor, image_ids: Sequence[str]) -> Tensor:
            return torch.cat([one(photo[None], image_id) for photo, image_id in zip(lq, image_ids, strict=True)])

        return run

    def personal_prior(self, prior: UNet, schedule: Schedule, photo: Tensor, image_id: str, seed: int) -> UNet:
        """A copy of the prior, fine-tuned on samples that the photo [1, C, H, W] guides."""
        model, album = copy.deepcopy(prior), self.samples(prior, schedule, photo, image_id, seed).cpu()
        tuning_seed = stream_seed(seed, "gen2res_finetune", image_id) & (2**63 - 1)
        tune(model, album, self, tuning_seed, Session(Alone(photo.device)))
        return model

    def samples(self, prior: UNet, schedule: Schedule, photo: Tensor, image_id: str, seed: int) -> Tensor:
        """The generative album, [album, C, H, W] in [0, 1]."""
        last = len(schedule) - index_of(schedule, 1000 - self.guided_t)
        is_guided = skip_guidance(len(schedule), skip=self.skip, last=last)

        def drawn(photos: Tensor, ids: list[str]) -> Tensor:
            draw = partial(ImageStreams(seed, "gen2res_album", ids, photo.device).normal, *photo.shape[1:])
            return generative_album(prior, schedule, photos, draw, is_guided=is_guided, scale=self.scale).detach()

        ids = [f"{image_id}/{n}" for n in range(self.album)]
        size = batch_size(photo.device, photo.shape[-1], DIFFERENTIATED)
        parts = in_batches(ids, size, lambda some: photo.repeat(len(some), 1, 1, 1), drawn)
        return torch.cat([part for _, part in parts])
