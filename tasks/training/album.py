"""Personalising the prior on an album (gen2res, Ding et al. 2024): a short fine-tuning with the prior's own loss.

Official: AdamW without weight decay, learning rate falling linearly to zero, batch 4, no flips, raw weights (no
averaging); 3,000 steps on a generative album, 5,000 on a personal one.
"""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from tasks.diffusion.unet import UNet
from tasks.noise import numpy_stream
from tasks.training import loop, network, prior


def train(
    model: UNet,
    album: Tensor,
    accelerator: loop.Processes,
    *,
    iterations: int,
    batch: int,
    lr: float,
    seed: int,
    resume: Path | None = None,
    save_every: int = 500,
    on_step: Callable[[int, loop.Losses], None] = lambda step, losses: None,
) -> None:
    """Fine-tune `model` in place on `album`, float32 [M, C, H, W] in [0, 1], at least one image, on the CPU.

    Step s draws its images, timesteps and noise from a stream of its own; a run that finds the state file `resume` goes
    on bit-equally. Leaves the model in evaluation mode.
    """

    def batch_at(step: int) -> prior.Batch:
        rng = numpy_stream(seed, "train_album", str(step))
        rows = rng.choice(len(album), batch, replace=len(album) <= batch)
        x_start = 2 * album[rows] - 1
        return x_start, *prior.draw_noise(x_start, rng)

    recipe = network.Recipe(iterations, lr, lr_min=0.0, ema=0.0, seed=seed, schedule="line")
    network.train(
        model,
        prior.objective,
        batch_at,
        recipe,
        accelerator,
        resume=resume,
        save_every=save_every,
        on_step=on_step,
    )
    model.eval().requires_grad_(False)
