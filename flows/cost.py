"""How long a run will take, said before it starts: images x network evaluations x seconds of one, measured here.

It leaves out what is fast beside the networks (degradation, evaluation, reading and writing), DifBFSR's two small
networks, and IDM's one pass over its training photos. Of a run that the store has whole, nothing is measured; else
nothing that it has is subtracted.
"""

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from flows.rows import authentic_rows
from flows.steps import STEPS
from flows.workspace import Drafts, Run
from tasks.basics import ROOT, Strict
from tasks.diffusion.fast import for_sampling
from tasks.diffusion.priors import load_prior
from tasks.diffusion.schedule import Schedule
from tasks.durations import whole_duration
from tasks.methods.idm import NETWORKS, IdmNetwork, load_network
from tasks.metrics.perceptual import lpips_seeded
from tasks.params.experiment import Comparison, Experiment, given
from tasks.restorers import swinir
from tasks.running.batching import batch_size
from tasks.running.device import held_device
from tasks.running.half import half_precision
from tasks.running.interrupts import heed_stop
from tasks.running.stage import Source, Stage, default_store
from tasks.store.artifact import ImageFolder
from tasks.store.files import read_note, write_json
from tasks.store.keys import digest
from tasks.store.provenance import device as device_name
from tasks.training import swinir_gan
from tasks.training.discriminator import PriorDiscriminator, UNetDiscriminator
from tasks.training.loop import Alone
from tasks.training.swinir_gan import FineTune

BACKWARD = 4  # an image of a training step costs about four evaluations (demo: 4, of single photos 8)
SAMPLE = 8  # images that are timed together on a GPU
PIECE = 2**15, 256  # on the CPU: no more images than these pixels hold, but one, and no larger side (see `piece_of`)
RUNS = 3
ENOUGH_S = 2.0  # of measuring one network
LOOK_S = 0.2  # for what others do
IDLE = 0.1  # others take less of a device that counts as idle


class Speed(NamedTuple):
    """Seconds of one evaluation, and the share of the device that other programs took meanwhile."""

    seconds: float
    others: float


@dataclass(frozen=True)
class Line:
    """One part of a run: images (or training steps x batch), evaluations of its network for each, its speed."""

    what: str
    images: int
    evaluations: int
    speed: Speed

    @property
    def seconds(self) -> float:
        return self.images * self.evaluations * self.speed.seconds

    @property
    def data(self) -> dict[str, float]:
        """The same for programs."""
        return {"images": self.images, "evaluations": self.evaluations, "seconds": self.seconds}


def estimate(experiment: Experiment, root: Path) -> list[Line]:
    """The parts of a run; none where all its results are there. Its weights must be there (`flows.preflight.check`).

    root: where the experiment's results go.
    """
    return [] if is_stored(experiment, root) else list(lines_of(experiment))


def table(lines: Sequence[Line]) -> str:
    """The estimate as text: a line for each part, and the sum."""
    if not lines:
        return "No network has anything to do: all results are there."
    rows = [f"{line.what}: {line.images} x {line.evaluations} x {line.speed.seconds:.3g} s" for line in lines]
    total = whole_duration(sum(line.seconds for line in lines))
    rows.append(f"about {total} of networks on {device_name()}, less what is in the store")
    if (others := max(line.speed.others for line in lines)) > IDLE:
        rows.append(f"(rough: measured while other programs took {others:.0%} of it; measured again when they do not)")
    return "\n".join(rows)


class _NotStored(BaseException):
    """A result is not there: no error, which works side by side would announce and collect."""


class _Looking(Drafts):
    """A workspace that makes nothing."""

    def folder(self, name: str) -> None:
        pass


def _found(stage: Stage, params: Strict, at: str = "", /, **inputs: Source) -> ImageFolder:
    record = stage.record(params, **inputs)
    if not default_store().has(record.stage, record.key):
        raise _NotStored
    return ImageFolder(default_store().path(record.stage, record.key))


def is_stored(experiment: Experiment, root: Path) -> bool:
    """Whether every result before the report is there: in the store, or published in the experiment's folder."""

    def make(run: Run) -> None:
        work = _Looking(root, run)
        for name, step in STEPS.items():
            if name != "report":
                inspect.unwrap(step)(experiment, work)

    return is_made(make)


def is_made(make: Callable[[Run], None]) -> bool:
    """Whether all is there already that `make` makes by the driver that it is given."""
    try:
        make(_found)
    except _NotStored:
        return False
    return True


def adaptation(experiment: Experiment, faces: int) -> Iterator[Line]:
    """The parts of an adaptation to so many faces of a user's."""
    restorer, recipe = given(experiment.restorer, "restorer"), given(experiment.finetune, "finetune")
    targets = given(experiment.pseudo_targets, "pseudo_targets").on("")
    restorations = (1 + recipe.rounds) * faces
    yield Line(f"restore ({restorer.arch}), before and after", restorations, 1, Timed("restorer", experiment).speed)
    if targets.evaluations:
        yield Line("pseudo_targets", recipe.rounds * faces, targets.evaluations, Timed("prior", experiment).speed)
    yield Line("finetune", recipe.images, 1, Timed("finetune", experiment).speed)


def personal(experiment: Experiment, training_images: int, evaluations: int, faces: int) -> list[Line]:
    """The parts of a personalisation: the prior learns from so many images, and restores the faces before and after."""
    speed = Timed("prior", experiment).speed
    return [
        Line("fine-tune the prior", training_images, BACKWARD, speed),
        Line("restore, by the prior as it was and after", 2 * faces, evaluations, speed),
    ]


def lines_of(experiment: Experiment) -> Iterator[Line]:
    """The parts of a run. The weights of the experiment must be there (`flows.preflight.check`)."""
    parts = len(experiment.parts)
    test, tuned = experiment.dataset.counts
    recipe = experiment.finetune if "adapted" in experiment.methods else None
    tuned *= recipe.rounds if recipe else 0
    check = experiment.authenticity  # of each row: it restores the restored and the clean photos of one part
    authentic = dict.fromkeys([row.name for row in authentic_rows(experiment)] if check else (), 2)
    prior = Timed("prior", experiment)
    if (restorer := experiment.restorer) is not None:
        each = Timed("restorer", experiment)
        methods = [name for name in ("pretrained", "adapted") if name in experiment.methods]
        passes = max(1, len(methods)) * parts + sum(authentic.get(name, 0) for name in methods)
        yield Line(f"restore ({restorer.arch})", test * passes + tuned * parts, 1, each.speed)
    if targets := experiment.pseudo_targets:
        tests = [name for name in ("pseudo_target", "refined") if name in experiment.methods]
        checked = sum(authentic.get(name, 0) for name in tests)
        for start in sorted({targets.on(part).evaluations for part in experiment.parts}):
            alike = [part for part in experiment.parts if targets.on(part).evaluations == start]
            again = checked if check and check.degradation in alike else 0
            if start and (images := test * (len(alike) * len(tests) + again) + tuned * len(alike)):
                yield Line("pseudo_targets", images, start, prior.speed)
    if recipe:
        yield Line("finetune", recipe.images * parts, 1, Timed("finetune", experiment).speed)
    if cleaning := experiment.cleaning:
        idm = Timed(cleaning.method.arch, experiment)
        models = 1 if cleaning.weights else 2
        yield Line("clean (training)", cleaning.iterations * cleaning.batch * models, BACKWARD, idm.speed)
        if down := cleaning.downstream:
            steps = len(Schedule.linear().respace(down.respacing))
            yield Line("downstream (training)", 2 * down.iterations * down.batch, BACKWARD, prior.speed)
            yield Line("downstream (drawing)", 2 * down.count, steps, prior.speed)
    for name, entry in experiment.compare.items():
        if isinstance(entry, Comparison) and entry.method.evaluations > 1:
            passes, network = parts + authentic.get(name, 0), getattr(entry.method, "arch", "prior")
            evaluations = entry.method.evaluations + BACKWARD * entry.method.training_images
            yield Line(name, test * passes, evaluations, Timed(network, experiment).speed)


@dataclass(frozen=True)
class Timed:
    """Seconds for one image of a network of the experiment: "prior", "restorer", "finetune" or an IDM.

    Measured once on this device and remembered in the store; what was measured while others were at work is measured
    again when they are not.
    """

    what: str
    experiment: Experiment

    @property
    def speed(self) -> Speed:
        if self.what == "finetune" and given(self.experiment.finetune, "finetune").recipe != "swinir_gan":
            once = Timed("restorer", self.experiment).speed
            return once._replace(seconds=BACKWARD * once.seconds)
        side = self.experiment.dataset.size
        described = [*map(str, self._about), str(side), device_name(), torch.__version__]
        file = default_store().root / "speed" / f"{digest(described)}.json"
        known = read_note(file)
        if known and (known["others"] <= IDLE or is_busy()):
            return Speed(known["seconds"], known["others"])
        heed_stop()
        speed = self._measured(side)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"what": described, **speed._asdict()})
        return speed

    @property
    def is_half(self) -> bool:
        """Whether the prior runs in bfloat16."""
        settings = self.experiment.pseudo_targets
        return self.what == "prior" and settings is not None and settings.bf16

    @property
    def _about(self) -> tuple[object, ...]:
        """What the speed depends on, beside the device and the size of the images."""
        experiment = self.experiment
        if self.what == "prior":
            return self.what, experiment.prior, self.is_half
        if self.what == "finetune":
            read = experiment.prior if given(experiment.finetune, "finetune").reads_prior else None
            return self.what, experiment.restorer, experiment.finetune, read
        return (self.what, experiment.restorer) if self.what == "restorer" else (self.what,)

    def _measured(self, side: int) -> Speed:
        with held_device() as device:
            count, piece = piece_of(device, side, is_cut=self.what in ("prior", "finetune"))
            images = torch.rand((count, 3, piece, piece), generator=torch.Generator().manual_seed(0)).to(device)
            seconds, others = quickest(self._run(images, device), device)
        return Speed(seconds * (side / piece) ** 2 / count, others)

    def _run(self, images: torch.Tensor, device: torch.device) -> Callable[[], object]:
        """One evaluation of the network on the images."""
        experiment, level = self.experiment, torch.full((len(images),), 300, device=device)
        if self.what == "prior":
            prior = given(experiment.prior, "prior")
            unet = for_sampling(load_prior(prior.arch, ROOT / prior.weights, device), device, self.is_half)

            def evaluate() -> None:
                with torch.inference_mode(), half_precision(device, self.is_half):
                    unet(images, level)

            return evaluate
        if self.what in ("restorer", "finetune"):
            chosen = given(experiment.restorer, "restorer")
            if self.what == "finetune":
                return self._swinir_step(ROOT / chosen.weights, images, device)
            restorer = chosen.with_weights(ROOT / chosen.weights).load(device)
            names = [str(n) for n in range(len(images))]
            return lambda: _without_gradients(lambda: restorer(images, names))
        weights = experiment.cleaning and experiment.cleaning.weights
        network = load_network(self.what, ROOT / weights, device) if weights else _untrained_idm(self.what, device)
        return lambda: _without_gradients(lambda: network(images, images, level / 1000))

    def _swinir_step(self, weights: Path, images: torch.Tensor, device: torch.device) -> Callable[[], object]:
        settings = self.experiment.finetune
        assert isinstance(settings, FineTune)
        generator = swinir.load(weights).to(device).requires_grad_(True).train()
        critic: torch.nn.Module = UNetDiscriminator(settings.discriminator_width, 0)
        if settings.reads_prior:
            prior = given(self.experiment.prior, "prior")
            critic = PriorDiscriminator(load_prior(prior.arch, ROOT / prior.weights, device), images, 0)
        critic.to(device)
        recipe = swinir_gan.FINETUNE
        batch, perceptual = (images, images, images), lpips_seeded().to(device)
        return lambda: swinir_gan.accumulate(generator, critic, perceptual, batch, recipe, Alone(device))


def piece_of(device: torch.device, side: int, *, is_cut: bool) -> tuple[int, int]:
    """(images, their side in pixels) to time in place of images of `side`: on the CPU the least that says as much.

    is_cut: smaller images will do, for the network's work grows as the pixels do: of the 512-pixel prior, 256 pixels
    say 7 % too little. One image of 128 pixels says 3 (the prior) to 20 % (fine-tuning) more than each of four.
    """
    if device.type != "cpu":
        return min(SAMPLE, batch_size(device, side)), side
    pixels, largest = PIECE
    piece = min(side, largest) if is_cut else side
    return max(1, min(pixels // piece**2, batch_size(device, side))), piece


def quickest(run: Callable[[], object], device: torch.device) -> Speed:
    """That of the quickest of a few runs, for what else the machine does only adds; the first warms up.

    Where the first alone takes long on the CPU, warming up is a small part of it, and it stays the only one.
    """
    found: list[float] = []
    warming = 0 if device.type == "cpu" else 1  # a GPU's kernels are loaded, or compiled, meanwhile
    others = share_of_others(device)
    while len(found) <= warming or (len(found) <= RUNS and sum(found[warming:]) < ENOUGH_S):
        heed_stop()
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - started)
    return Speed(min(found), others())


def is_busy() -> bool:
    """Whether others are at work on the device, so that measuring again would say no more than before."""
    with held_device() as device:
        others = share_of_others(device)
        time.sleep(LOOK_S)
        return others() > IDLE


def share_of_others(device: torch.device) -> Callable[[], float]:
    """0 to 1: how much of the processors others take until the call; of a GPU, how much memory they hold."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return lambda: 1 - (free + torch.cuda.memory_reserved(device)) / total
    psutil.cpu_percent()  # it counts from the call before
    ours, started = time.process_time(), time.perf_counter()

    def share() -> float:
        seconds = (time.perf_counter() - started) * (psutil.cpu_count() or 1)
        return max(0.0, psutil.cpu_percent() / 100 - (time.process_time() - ours) / seconds)

    return share


def _without_gradients(work: Callable[[], object]) -> object:
    with torch.inference_mode():
        return work()


def _untrained_idm(arch: str, device: torch.device) -> torch.nn.Module:
    return IdmNetwork(NETWORKS[arch]).to(device).to(memory_format=torch.channels_last).eval()
