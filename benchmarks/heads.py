"""How near rendered heads come to real photos: what a linear model of them explains, and what a tiny network learns.

    python -m benchmarks.heads render COUNT SIZE OUT.npy [--first SEED]
    python -m benchmarks.heads explain FACES [NAME=SET.npy ...] [--components 512]
    python -m benchmarks.heads transfer FACES NAME[=SET.npy] [--seeds 3] [--steps 950]

FACES is a folder with `faces64_open.npz` (uint8 `images` [N, 64, 64, 3], aligned like FFHQ): real photos, used here
only and never shipped. 600 of them are the test set; the rest is the set `real`, the measure of what is possible.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.heads.many import render_many

TEST = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("render")
    one.add_argument("count", type=int)
    one.add_argument("size", type=int)
    one.add_argument("out", type=Path)
    one.add_argument("--first", type=int, default=0)
    one = commands.add_parser("explain")
    one.add_argument("faces", type=Path)
    one.add_argument("sets", nargs="*")
    one.add_argument("--components", type=int, default=512)
    one = commands.add_parser("transfer")
    one.add_argument("faces", type=Path)
    one.add_argument("set")
    one.add_argument("--seeds", type=int, default=3)
    one.add_argument("--steps", type=int, default=950)
    given = parser.parse_args()
    {"render": render_set, "explain": explain, "transfer": transfer}[given.command](given)


# ------------------------------------------------------------------------------------------------- sets
def render_set(given: argparse.Namespace) -> None:
    """Seeds first .. first + count - 1 as one array, and the seconds that each took."""
    start = time.perf_counter()
    images = list(render_many(range(given.first, given.first + given.count), given.size))
    print(f"{given.count} heads of {given.size} px: {(time.perf_counter() - start) / given.count:.3f} s each")
    np.save(given.out, np.stack(images))


def real_faces(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Test faces [600, 64, 64, 3] and all others."""
    images = np.load(folder / "faces64_open.npz")["images"]
    order = np.random.default_rng(0).permutation(len(images))
    return images[order[:TEST]], images[order[TEST:]]


def load_set(path: str, real: np.ndarray) -> np.ndarray:
    """A set at 64 pixels, as many faces as the real one has; `real` itself by an empty path."""
    if not path:
        return real
    images = np.load(path)[: len(real)]
    return np.stack([cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA) for image in images])


# ------------------------------------------------------------------------------------------ a linear model
def explain(given: argparse.Namespace) -> None:
    """PSNR (pooled) of the real test faces projected on the principal components of each set, and other statistics."""
    test, real = real_faces(given.faces)
    sets = {"real": real} | {name: load_set(path, real) for name, _, path in (s.partition("=") for s in given.sets)}
    count = min(len(faces) for faces in sets.values())
    print(f"{count} faces of each set, {given.components} components")
    for name, faces in sets.items():
        psnr = pca_psnr(faces[:count] / np.float32(255), test / np.float32(255), given.components)
        print(f"{name:12s} PCA {psnr:.2f} dB | {statistics(faces[:count])}")
    print(f"{'test':12s} {'':11s} | {statistics(test)}")


def pca_psnr(faces: np.ndarray, test: np.ndarray, components: int) -> float:
    """dB of the mean squared error over all test faces, projected on the set's mean and leading components."""
    x, y = faces.reshape(len(faces), -1), test.reshape(len(test), -1)
    mean = x.mean(0)
    basis = np.linalg.svd(x - mean, full_matrices=False)[2][:components]
    rest = (y - mean) - (y - mean) @ basis.T @ basis
    return float(-10 * np.log10(np.mean(rest**2)))


def statistics(faces: np.ndarray) -> str:
    """Mean and spread of the face's colour (CIELAB), gradient, share of energy in high frequencies."""
    x = faces.astype(np.float32) / 255
    lab = np.stack([cv2.cvtColor(face, cv2.COLOR_RGB2LAB) for face in x[:, 16:52, 18:46]])
    grey = x.mean(-1)
    gradient = np.hypot(np.diff(grey, axis=1)[:, :, :-1], np.diff(grey, axis=2)[:, :-1]).mean()
    window = np.outer(np.hanning(64), np.hanning(64))
    power = np.abs(np.fft.fftshift(np.fft.fft2((grey - grey.mean((1, 2), keepdims=True)) * window), (1, 2))) ** 2
    y, x = np.mgrid[-32:32, -32:32]
    high = np.log10(power[:, np.hypot(y, x) >= 16].mean() / power.mean())
    mean, spread = lab.mean((0, 1, 2)).round(1), lab.mean((1, 2)).std(0).round(1)
    return f"Lab {mean} between faces {spread} gradient {gradient:.4f} high {high:.3f}"


# ------------------------------------------------------------------------------------------ a network
def transfer(given: argparse.Namespace) -> None:
    """Train on a set, restore (x4, noise) and denoise 200 real faces; one line a seed, and the mean."""
    torch.set_num_threads(1)
    test, real = real_faces(given.faces)
    name, _, path = given.set.partition("=")
    faces, wanted = to_tensor(load_set(path, real)), to_tensor(test[:200])
    rows = []
    for seed in range(given.seeds):
        rows.append(score(train(faces, seed, given.steps), wanted))
        print(f"{name} seed {seed}: " + "  ".join(f"{k} {v:.2f}" for k, v in rows[-1].items()), flush=True)
    print(f"{name} mean  : " + "  ".join(f"{k} {np.mean([row[k] for row in rows]):.2f}" for k in rows[0]))


def to_tensor(faces: np.ndarray) -> Tensor:
    """uint8 [N, H, W, 3] to float32 [N, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, 1, 1)
        self.norm = nn.GroupNorm(4, outside)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1)
        self.short = nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.short(x) + self.second(F.silu(self.norm(self.first(x))))


class TinyUNet(nn.Module):
    """116,000 weights: x [N, 3, 64, 64] and its noise level [N] (0: not noise but x4) to the clean face."""

    def __init__(self, c: int = 16) -> None:
        super().__init__()
        self.down1, self.down2, self.down3 = Block(4, c), Block(c, 2 * c), Block(2 * c, 4 * c)
        self.middle, self.up2, self.up1 = Block(4 * c, 4 * c), Block(6 * c, 2 * c), Block(3 * c, c)
        self.out = nn.Conv2d(c, 3, 1)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        level = sigma.view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
        a = self.down1(torch.cat([x, level], 1))
        b = self.down2(F.avg_pool2d(a, 2))
        c = self.middle(self.down3(F.avg_pool2d(b, 2)))
        b = self.up2(torch.cat([F.interpolate(c, scale_factor=2.0), b], 1))
        a = self.up1(torch.cat([F.interpolate(b, scale_factor=2.0), a], 1))
        return x + self.out(a)


def shrink(x: Tensor, generator: torch.Generator) -> Tensor:
    """x4 down, noise of 0.06, bicubic up."""
    small = F.interpolate(x, size=16, mode="bicubic", antialias=True, align_corners=False)
    small = small + 0.06 * torch.randn(small.shape, generator=generator)
    return F.interpolate(small, size=64, mode="bicubic", align_corners=False).clamp(-1, 1)


def scaled(noisy: Tensor, sigma: Tensor) -> Tensor:
    """A noisy image at unit variance."""
    return noisy / (1 + sigma.view(-1, 1, 1, 1) ** 2) ** 0.5


def train(faces: Tensor, seed: int, steps: int) -> TinyUNet:
    """Half of each batch of 8 is restored from x4, the other denoised (sigma 0.1 to 1.2)."""
    torch.manual_seed(seed)
    generator, net = torch.Generator().manual_seed(seed), TinyUNet()
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    for _ in range(steps):
        y = faces[torch.randint(0, len(faces), (8,), generator=generator)]
        y = y.flip(3) if torch.rand(1, generator=generator) < 0.5 else y
        sigma = torch.exp(torch.empty(4).uniform_(np.log(0.1), np.log(1.2), generator=generator))
        noisy = y[4:] + sigma.view(-1, 1, 1, 1) * torch.randn(y[4:].shape, generator=generator)
        x = torch.cat([shrink(y[:4], generator), scaled(noisy, sigma)])
        out = net(x, torch.cat([torch.zeros(4), sigma]))
        loss = F.mse_loss(out[:4], y[:4]) + 0.3 * F.l1_loss(out[4:], y[4:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net


@torch.no_grad()
def score(net: TinyUNet, faces: Tensor) -> dict[str, float]:
    """Mean PSNR in dB over faces: bicubic and the network on x4, the network on noise."""
    generator, zero = torch.Generator().manual_seed(1), torch.zeros(len(faces))
    small = shrink(faces, generator)
    scores = {"bicubic": psnr(small, faces), "x4": psnr(net(small, zero), faces)}
    for level in (0.2, 0.5, 1.0):
        sigma = zero + level
        noisy = faces + level * torch.randn(faces.shape, generator=generator)
        scores[f"sigma {level}"] = psnr(net(scaled(noisy, sigma), sigma), faces)
    return scores


def psnr(a: Tensor, b: Tensor) -> float:
    """Of values in [-1, 1], clamped; the mean of each image's."""
    return float((10 * torch.log10(4 / ((a.clamp(-1, 1) - b) ** 2).mean((1, 2, 3)))).mean())


if __name__ == "__main__":
    main()
