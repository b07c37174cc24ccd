"""Every method of the tables by its settings, behind the one interface of tasks/restorers.

To add one: its settings, a function that builds it, and a line in `load`. The noise of a diffusion method comes from a
stream of each photo's own (seed, method, image id), so a result does not depend on the other photos of a batch.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from tasks import difbfsr, difface, gen2res, idm
from tasks.batching import DIFFERENTIATED, batch_size, in_batches
from tasks.diffusion.schedule import Schedule
from tasks.diffusion.unet import UNet
from tasks.noise import ImageStreams, stream_seed
from tasks.priors import load_prior
from tasks.restorers import RestorerSpec, lama, load_restorer
from tasks.restorers.checkpoint import fill, read_state_dict
from tasks.restorers.seeding import initial_weights
from tasks.store import Strict
from tasks.training import album
from tasks.training.loop import Alone

Restore = Callable[[Tensor, Sequence[str]], Tensor]
"""lq [N, 3, H, W] in [0, 1] and N image ids, to the same shape and range."""


class FeedForward(Strict):
    """One pass of a network."""

    kind: Literal["feed_forward"] = "feed_forward"
    arch: str = Field(description="a network of tasks/restorers")
    fidelity: float = Field(default=0.5, ge=0, le=1, description="CodeFormer's w: 0 quality … 1 fidelity")


class DifFace(Strict):
    """DifFace: a restorer's output, noised and denoised by the prior."""

    kind: Literal["difface"]
    respacing: str = Field(description="kept steps of the 1000; published: 'ddim250'")
    start_t: PositiveInt = Field(description="noise level to start from, of 1000; published: 400")
    eta: NonNegativeFloat = Field(description="of DDIM; published: 0.5")


class DifFaceInpaint(Strict):
    """DifFace's inpainting: the holes (truly black pixels) filled by an estimator, then noised and denoised."""

    kind: Literal["difface_inpaint"]
    respacing: str = Field(description="kept steps of the 1000; published: 'ddim250'")
    start_t: PositiveInt = Field(description="noise level to start from, of 1000; published: 480")
    eta: NonNegativeFloat = Field(description="of DDIM; published: 1")
    gamma: NonNegativeFloat = Field(
        default=0.5, description="step of the refinement towards the known pixels; published: 0.5, which replaces them"
    )
    lambda_known: NonNegativeFloat | None = Field(
        default=None, description="lambda of the paper's Eq. 16, whose closed form then takes gamma's place"
    )


class Gen2Res(Strict):
    """gen2res: the prior, fine-tuned for each photo on an album of samples that the photo guides; then noise, denoise.

    album: samples; 0 restores with the prior as it is. Published: 16 samples of all 1000 steps, guided at every 10th
    and at the noisiest 200 with scale 0.3; 3000 iterations of batch 4 at 1e-5; restoration from t = 200.
    """

    kind: Literal["gen2res"]
    respacing: str = Field(description="kept steps of the 1000, for album and restoration; published: '1000'")
    start_t: PositiveInt = Field(description="K: noise level to restore from, of 1000; published: 200")
    album: NonNegativeInt = Field(description="published: 16")
    skip: NonNegativeInt = Field(description="every so many steps are guided; published: 10")
    guided_t: NonNegativeInt = Field(description="all of the noisiest steps, of 1000, are guided; published: 200")
    scale: NonNegativeFloat = Field(description="of the guidance; published: 0.3")
    iterations: NonNegativeInt = Field(description="published: 3000")
    batch: PositiveInt = Field(description="published: 4")
    lr: PositiveFloat = Field(description="published: 1e-5")


class Idm(Strict):
    """IDM: conditional diffusion in few steps."""

    kind: Literal["idm"]
    arch: Literal["idm512", "idm64"]
    steps: PositiveInt = Field(description="published: 10")
    variance: idm.Variance = "sr3"


class DifBfsr(Strict):
    """DifBFSR: low frequencies of the reverse chain from two networks that are fitted to the photo meanwhile."""

    kind: Literal["difbfsr"]
    respacing: str = Field(description="kept steps of the 1000; published: '100'")
    scale: PositiveInt = Field(description="the LQ photo's side is divided by it first, a power of two; published: 4")
    factor: PositiveInt = Field(description="N of the low-pass filter; not published, 4 is our reading")
    modules: difbfsr.Modules = Field(default="both", description="the paper's ablation: both, srm, cfm or none")
    width: PositiveInt = Field(
        description="channels of the two networks; not published: with 64, the published learning rates diverge"
    )
    lr_srm: PositiveFloat = Field(default=2e-3, description="published: 2e-3")
    lr_cfm: PositiveFloat = Field(default=5e-3, description="published: 5e-3")


Settings = Annotated[FeedForward | DifFace | DifFaceInpaint | Gen2Res | Idm | DifBfsr, Field(discriminator="kind")]


@dataclass(frozen=True)
class Files:
    """What a method reads. weights: its network, or the prior of the architecture `prior`; estimator: DifFace's."""

    weights: Path
    prior: str | None = None
    estimator: RestorerSpec | None = None


def load(settings: Settings, files: Files, seed: int, device: torch.device) -> Restore:
    """The method, loaded and on its device. Raises BadInput for weights that are missing or of another network."""
    if isinstance(settings, FeedForward):
        return load_restorer(RestorerSpec(settings.arch, files.weights, settings.fidelity), device).restore
    if isinstance(settings, Idm):
        return idm_restorer(settings, load_idm(settings.arch, files.weights, device), seed, device)
    assert files.prior is not None
    prior = load_prior(files.prior, files.weights, device)
    if isinstance(settings, Gen2Res):
        return gen2res_restorer(settings, prior, seed, device)
    if isinstance(settings, DifBfsr):
        return difbfsr_restorer(settings, prior, seed, device)
    assert files.estimator is not None
    if isinstance(settings, DifFaceInpaint):
        assert files.estimator.weights is not None
        estimator = lama.load(files.estimator.weights).to(device)
        return inpainting_restorer(settings, prior, estimator, seed, device)
    return difface_restorer(settings, prior, load_restorer(files.estimator, device).restore, seed, device)


def load_idm(arch: str, path: Path, device: torch.device) -> idm.Idm:
    """IDM's network in evaluation mode. Raises BadInput for weights that are missing or of another shape."""
    model = idm.Idm(idm.NETWORKS[arch])
    fill(model, read_state_dict(path), path, f"an {arch!r} network")
    return model.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def difface_restorer(settings: DifFace, prior: UNet, estimator: Restore, seed: int, device: torch.device) -> Restore:
    """estimator: the restorer whose output is diffused."""
    schedule = Schedule.linear().respace(settings.respacing)
    start = index_of(schedule, settings.start_t)

    def restore(lq: Tensor, image_ids: Sequence[str]) -> Tensor:
        noise = ImageStreams(seed, "difface", image_ids, device)
        draw = partial(noise.normal, *lq.shape[1:])
        return difface.restore(prior, schedule, estimator(lq, image_ids), draw, start=start, eta=settings.eta)

    return restore


def inpainting_restorer(
    settings: DifFaceInpaint, prior: UNet, estimator: nn.Module, seed: int, device: torch.device
) -> Restore:
    """estimator: a LaMa generator."""
    schedule = Schedule.linear().respace(settings.respacing)
    start = index_of(schedule, settings.start_t)

    def restore(lq: Tensor, image_ids: Sequence[str]) -> Tensor:
        noise = ImageStreams(seed, "difface_inpaint", image_ids, device)
        mask = lama.hole_of(lq)
        if settings.lambda_known is None:
            refine = partial(difface.refine_gradient, gamma=settings.gamma)
        else:
            refine = partial(difface.refine_closed, lambda_=settings.lambda_known)
        draw = partial(noise.normal, *lq.shape[1:])
        estimate = lama.estimate(estimator, lq, mask)
        return difface.inpaint(prior, schedule, lq, mask, estimate, draw, start=start, eta=settings.eta, refine=refine)

    return restore


def gen2res_restorer(settings: Gen2Res, prior: UNet, seed: int, device: torch.device) -> Restore:
    """One photo after another, each with a copy of the prior of its own."""
    schedule = Schedule.linear().respace(settings.respacing)
    start = index_of(schedule, settings.start_t)
    is_guided = gen2res.skip_guidance(
        len(schedule), skip=settings.skip, last=len(schedule) - index_of(schedule, 1000 - settings.guided_t)
    )

    def restore(lq: Tensor, image_ids: Sequence[str]) -> Tensor:
        return torch.cat([one(photo[None], image_id) for photo, image_id in zip(lq, image_ids, strict=True)])

    def one(photo: Tensor, image_id: str) -> Tensor:
        noise = ImageStreams(seed, "gen2res", [image_id], device)
        model = personal(photo, image_id) if settings.album and settings.iterations else prior
        return gen2res.restore(model, schedule, photo, partial(noise.normal, *photo.shape[1:]), start=start)

    def personal(photo: Tensor, image_id: str) -> UNet:
        def samples(photos: Tensor, ids: list[str]) -> Tensor:
            draw = partial(ImageStreams(seed, "gen2res_album", ids, device).normal, *photo.shape[1:])
            made = gen2res.generative_album(prior, schedule, photos, draw, is_guided=is_guided, scale=settings.scale)
            return made.detach()

        ids = [f"{image_id}/{n}" for n in range(settings.album)]
        size = batch_size(device, photo.shape[-1], DIFFERENTIATED)
        parts = in_batches(ids, size, lambda some: photo.repeat(len(some), 1, 1, 1), samples)
        made = torch.cat([part for _, part in parts])
        model = copy.deepcopy(prior)
        own_seed = stream_seed(seed, "gen2res_finetune", image_id) & (2**63 - 1)
        album.train(
            model,
            made.cpu(),
            Alone(device),
            iterations=settings.iterations,
            batch=settings.batch,
            lr=settings.lr,
            seed=own_seed,
        )
        return model

    return restore


def idm_restorer(settings: Idm, network: idm.Idm, seed: int, device: torch.device) -> Restore:
    levels = idm.sampling_levels(settings.steps)

    def restore(lq: Tensor, image_ids: Sequence[str]) -> Tensor:
        noise = ImageStreams(seed, "idm", image_ids, device)
        return idm.restore(network, levels, lq, partial(noise.normal, *lq.shape[1:]), variance=settings.variance)

    return restore


def difbfsr_restorer(settings: DifBfsr, prior: UNet, seed: int, device: torch.device) -> Restore:
    schedule = Schedule.linear().respace(settings.respacing)

    def guide(small: Tensor, image_id: str) -> difbfsr.Guide:
        with initial_weights(stream_seed(seed, "difbfsr_networks", image_id) & 0xFFFFFFFF):
            return difbfsr.Guide(
                small,
                settings.scale,
                settings.factor,
                settings.modules,
                settings.width,
                settings.lr_srm,
                settings.lr_cfm,
            )

    def restore(lq: Tensor, image_ids: Sequence[str]) -> Tensor:
        noise = ImageStreams(seed, "difbfsr", image_ids, device)
        signed = 2 * lq - 1
        small = difbfsr.resize(signed, lq.shape[-2] // settings.scale, lq.shape[-1] // settings.scale)
        ids = [] if settings.modules == "none" else image_ids
        guides = [guide(photo[None], image_id) for photo, image_id in zip(small, ids, strict=False)]
        draw = partial(noise.normal, *lq.shape[1:])
        return difbfsr.restore(prior, schedule, guides, draw, factor=settings.factor)

    return restore


def index_of(schedule: Schedule, t: int) -> int:
    """How many kept steps lie below t of the original 1000, at least 1."""
    return max(1, int((schedule.timestep_map < t).sum()))


def evaluations(settings: Settings) -> int:
    """Network evaluations for one photo (those that fine-tune the prior count as well)."""
    if isinstance(settings, FeedForward):
        return 1
    if isinstance(settings, Idm):
        return settings.steps
    schedule = Schedule.linear().respace(settings.respacing)
    if isinstance(settings, DifBfsr):
        return len(schedule)
    start = index_of(schedule, settings.start_t)
    if isinstance(settings, DifFace | DifFaceInpaint):
        return start
    return start + settings.album * len(schedule) + (settings.iterations * settings.batch if settings.album else 0)
