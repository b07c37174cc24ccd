"""Every method on the device against the CPU with the same noise: alone, in a batch, twice."""

from functools import partial
from importlib.util import find_spec

import torch
from pydantic import TypeAdapter
from torch import Tensor

from benchmarks.on_gpu.photos import demo_weights, smooth
from benchmarks.on_gpu.report import Report, precision
from tasks.diffusion.priors import load_prior
from tasks.diffusion.schedule import Schedule
from tasks.methods.dt_bfr import pseudo_targets
from tasks.methods.method import Networks
from tasks.methods.table import Settings
from tasks.noise import ImageStreams
from tasks.restorers.network import NetworkSpec

CHAIN = {"respacing": "20"}
METHODS = {
    "difface": {"kind": "difface", "start_t": 400, "eta": 0.5} | CHAIN,
    "noise_denoise": {"kind": "noise_denoise", "start_t": 200} | CHAIN,
    "gen2res": {"kind": "gen2res", "start_t": 200, "album": 2, "skip": 10, "guided_t": 200, "scale": 0.3}
    | {"iterations": 2, "batch": 2, "lr": 1e-5}
    | CHAIN,
    "idm": {"kind": "idm", "arch": "idm128", "steps": 4},
    "difbfsr": {"kind": "difbfsr", "respacing": "10", "scale": 4, "factor": 4, "width": 16},
    "difface_inpaint": {"kind": "difface_inpaint", "start_t": 480, "eta": 1} | CHAIN,
    "swinir": {"kind": "feed_forward", "arch": "swinir"},
    "lama": {"kind": "feed_forward", "arch": "lama"},
}
WITH_SPANDREL = ("difface_inpaint", "swinir", "lama")
IDS = ["a", "b", "c"]


def run(report: Report, device: torch.device, is_quick: bool) -> None:
    names = [name for name in METHODS if find_spec("spandrel") or name not in WITH_SPANDREL]
    if missing := METHODS.keys() - names:
        report.note(f"Left out: {', '.join(sorted(missing))}, for the package spandrel is not here.")
    lq = smooth(3, 64)
    lq[:, :, 20:30, 20:40] = 0  # a hole
    for name in ("idm", "difface") if is_quick else names:
        try:
            with precision("ieee", device):
                compare(report, name, lq, device)
        except Exception as error:
            report.check(False, f"{name}: {type(error).__name__}: {str(error)[:300]}")
    if device.type == "cuda":
        waits(report, lq, device)
    drawn = [ImageStreams(0, "s", IDS, where).normal(3, 512, 512).cpu() for where in (device, torch.device("cpu"))]
    report.check(torch.equal(*drawn), "the device's noise is the CPU's, bit for bit")


def compare(report: Report, name: str, lq: Tensor, device: torch.device) -> None:
    method = TypeAdapter(Settings).validate_python(METHODS[name])
    networks = networks_of(name)
    on_cpu = method.build(networks, 0, torch.device("cpu"))(lq, IDS)
    restore = method.build(networks, 0, device)
    images, again = (restore(lq.to(device), IDS) for _ in range(2))
    alone = restore(lq[1:2].to(device), IDS[1:2])
    error = (images.cpu() - on_cpu).abs()
    same = "bit-equal" if torch.equal(images, again) else f"within {(images - again).abs().max():.1e}"
    report.row(
        "Methods, 64 x 64, device against CPU with the same noise (images in 0 … 1, float32)",
        method=name,
        mean_error=f"{error.mean():.1e}",
        largest_error=f"{error.max():.1e}",
        alone_against_batch=f"{(alone[0] - images[1]).abs().max():.1e}",
        twice=same,
    )
    is_near = bool(error.mean() < 2e-4 and error.max() < 0.05 and (alone[0] - images[1]).abs().max() < 5e-3)
    report.check(is_near, f"{name} agrees with the CPU")


def networks_of(name: str) -> Networks:
    if name in ("swinir", "lama", "idm"):
        return Networks(demo_weights(name))
    arch = "lama" if name == "difface_inpaint" else "swinir" if find_spec("spandrel") else "identity"
    estimator = NetworkSpec(arch=arch, weights=demo_weights("swinir" if arch == "identity" else arch))
    return Networks(demo_weights("prior"), "demo128", estimator)


def waits(report: Report, lq: Tensor, device: torch.device) -> None:
    prior, schedule, y0 = (
        load_prior("demo128", demo_weights("prior"), device),
        Schedule.linear().respace("20"),
        lq.to(device),
    )
    draw = partial(ImageStreams(0, "s", IDS, device).normal, 3, 64, 64)
    pseudo_targets(prior, schedule, y0, draw, start=12, reg_end=7, factor=4)  # fills caches
    torch.cuda.set_sync_debug_mode("error")
    try:
        pseudo_targets(prior, schedule, y0, draw, start=12, reg_end=7, factor=4)
        report.check(True, "Algorithm 1 never waits for the host")
    except RuntimeError as error:
        report.check(False, f"Algorithm 1 waits for the host: {error}")
    finally:
        torch.cuda.set_sync_debug_mode("default")
