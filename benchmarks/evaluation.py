"""Evaluation of a folder in one pass against the separate tools, one after another: seconds, and peak memory.

    python -m benchmarks.evaluation [--images 500] [--side 512] [--methods 1] [--alone]

--alone leaves the tools out, so that the memory is that of the one pass.

The tools: pytorch-fid, lpips pair by pair, and pyiqa's PSNR, SSIM and MUSIQ, a metric at a time, each reading the files
anew, once for every method of a table. The networks have random weights: the time is the same, the scores mean nothing.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import lpips
import numpy as np
import pyiqa
import torch
from PIL import Image
from pytorch_fid import fid_score, inception
from torchvision.models import vgg16

from tasks.data.ingest import PhotoFolder
from tasks.metrics import offline
from tasks.noise import numpy_stream
from tasks.pixels import to_tensor
from tasks.stages import evaluate as evaluate_stage
from tasks.stages import reference as reference_stage
from tasks.stages.evaluate import EvaluateParams
from tasks.stages.ingest import IngestParams, ingest
from tasks.stages.reference import ReferenceParams
from tasks.store.artifact import ImageFolder
from tasks.store.files import read_png, write_png
from tasks.weights import official

METRICS = ("psnr", "ssim", "lpips", "fid", "musiq")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--methods", type=int, default=1)
    parser.add_argument("--alone", action="store_true")
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        root = Path(name)
        os.environ["BFR_STORE"] = str(root / "store")
        folders = [photos(root / str(n), given.images, given.side, noise=8 * n) for n in range(given.methods + 1)]
        hq, *methods = (ingest(IngestParams(size=given.side, fit="aligned"), folder=PhotoFolder(f)) for f in folders)
        weights = random_weights(root / "weights")
        print(f"{given.methods} x {given.images} images of {given.side} x {given.side}, {', '.join(METRICS)}; {device}")
        tools = 0.0
        if not given.alone:  # first, for after ours the process has memory to reuse
            tools = seconds(lambda: [separate_tools(images, hq, weights, device) for images in methods])
            print(f"separate tools: {tools:.1f} s, peak memory {peak_memory():.2f} GiB")
        before = peak_memory()
        ours = seconds(lambda: one_pass(methods, hq, weights))
        print(f"bfr, one pass: {ours:.1f} s, peak memory {before:.2f} GiB before and {peak_memory():.2f} GiB after it")
        if tools:
            print(f"{tools / ours:.2f} times as fast")


def peak_memory() -> float:
    """Of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def photos(folder: Path, count: int, side: int, noise: float) -> Path:
    """A folder of smooth random images with noise."""
    folder.mkdir()
    for n in range(count):
        stream = numpy_stream(0, "photo", str(n))
        base = Image.fromarray(stream.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side))
        image = np.asarray(base) + noise * stream.standard_normal((side, side, 3))
        write_png(folder / f"{n:05}.png", image.clip(0, 255).astype(np.uint8))
    return folder


def random_weights(folder: Path) -> Path:
    torch.manual_seed(0)
    networks = {
        official.VGG16: vgg16(weights=None).state_dict(),
        official.INCEPTION: untrained_inception().state_dict(),
        official.MUSIQ_KONIQ: pyiqa.create_metric("musiq", pretrained=False).net.state_dict(),
    }
    for file, state in networks.items():
        path = folder / file.place
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path)
    return folder


def untrained_inception() -> torch.nn.Module:
    """The FID Inception as pytorch-fid builds it, before it loads its weights."""
    no_file = patch.object(inception, "load_state_dict_from_url", lambda url, progress: {})
    with no_file, patch.object(torch.nn.Module, "load_state_dict", lambda network, state: None):
        return inception.fid_inception_v3()


def separate_tools(images: ImageFolder, hq: ImageFolder, weights: Path, device: torch.device) -> None:
    """Each metric by its own tool."""
    pairs = [(images.root / f"{i}.png", hq.root / f"{i}.png") for i in images.ids]

    def load(path: Path) -> torch.Tensor:
        return to_tensor(read_png(path))[None].to(device)

    for name in ("psnr", "ssim"):
        metric = pyiqa.create_metric(name, device=device, test_y_channel=False)
        for a, b in pairs:
            metric(load(a), load(b)).item()
    perceptual = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).to(device).eval()
    for a, b in pairs:
        perceptual(load(a), load(b), normalize=True).item()
    judge = pyiqa.create_metric("musiq", pretrained=False, device=device)
    for a, _ in pairs:
        judge(load(a)).item()
    state = offline.load_state(weights / official.INCEPTION.place)
    with offline.replaced(inception, "load_state_dict_from_url", lambda url, progress: state):
        fid_score.calculate_fid_given_paths([str(images.root), str(hq.root)], 50, device, 2048, num_workers=1)


def one_pass(methods: list[ImageFolder], hq: ImageFolder, weights: Path) -> None:
    """What the pipeline runs."""
    for module in (evaluate_stage, reference_stage):
        module.WEIGHTS = weights
    described = reference_stage.reference(ReferenceParams(label="ground truth", metrics=("fid",)), images=hq)
    params = EvaluateParams(metrics=METRICS)
    evaluate_stage.measure(params, hq=hq, **{f"images/{n}": images for n, images in enumerate(methods)})
    for images in methods:
        evaluate_stage.evaluate(params, images=images, hq=hq, default=described)


if __name__ == "__main__":
    main()
