"""The prior, its samplers and the methods that use it, against what the official systems computed."""

import copy
import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden.weights import arrays, digest, load_manifest, noise, sample
from torch import Tensor

from tasks.diffusion.lowpass import low_pass, resize, resize_matrix
from tasks.diffusion.priors import PRIORS
from tasks.diffusion.samplers import ddim_sample, ddim_sample_raw, p_sample, predict
from tasks.diffusion.schedule import Schedule, kept_steps
from tasks.diffusion.training_loss import training_losses
from tasks.diffusion.unet import UNet, UNetConfig, timestep_embedding
from tasks.methods import difface, difface_inpaint, gen2res
from tasks.methods.dt_bfr import pseudo_targets, unconditional_targets
from tasks.training import network
from tasks.training.loop import Alone, Session

Near = Callable[..., None]


def tensor(array: np.ndarray) -> Tensor:
    """float32; noise is stored as float16."""
    return torch.from_numpy(np.asarray(array, dtype=np.float32))


def config_of(manifest: dict[str, Any]) -> UNetConfig:
    """Our configuration for an official one; the gen2res family writes lists as text and leaves defaults out."""
    config = manifest["config"]
    width = config.get("model_channels") or config["num_channels"]
    mult = config["channel_mult"]
    if isinstance(mult, str):
        mult = [int(part) for part in mult.split(",")] if mult else [1, 1, 2, 2, 4, 4]
    blocks, attention = config["num_res_blocks"], config["attention_resolutions"]
    heads = config["num_head_channels"]
    return UNetConfig(
        width,
        tuple(mult),
        tuple(blocks) if isinstance(blocks, list) else (blocks,) * len(mult),
        tuple(int(part) for part in attention.split(",")) if isinstance(attention, str) else tuple(attention),
        config["image_size"],
        num_head_channels=heads if heads > 0 else None,
        num_heads=config.get("num_heads", 1),
        resblock_updown=config["resblock_updown"],
        dropout=config["dropout"],
    )


def prior(folder: Path, name: str, gain: float | None = None) -> UNet:
    manifest = load_manifest(folder / f"manifest_{name}.json")
    with torch.device("meta"):  # no time for random weights
        model = UNet(config_of(manifest))
    model.load_state_dict({key: tensor(value) for key, value in arrays(manifest, gain=gain).items()}, assign=True)
    return model.eval().requires_grad_(False)


def tiny(case: Path, family: str = "tiny") -> UNet:
    """The tiny network of a golden file: by the manifest that is named after it, or else by its family's."""
    own = f"tiny_{case.stem}"
    return tiny_named(case.parent, own if (case.parent / f"manifest_{own}.json").exists() else family)


@cache
def tiny_named(folder: Path, name: str) -> UNet:
    return prior(folder, name)


def chain(respacing: Any) -> Schedule:
    return Schedule.linear().respace(str(respacing)) if str(respacing) else Schedule.linear()


def variants(file: Any, key: str) -> list[str]:
    return sorted(name.removesuffix(f"/{key}") for name in file.files if name.endswith(f"/{key}"))


class Recorded:
    """A denoiser that remembers its inputs."""

    def __init__(self, denoise: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.denoise = denoise
        self.x: list[Tensor] = []
        self.t: list[int] = []

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.x.append(x.detach())
        self.t.append(int(t[0]))
        return self.denoise(x, t)


def handed_out(*draws: np.ndarray) -> Callable[[], Tensor]:
    """Noise from the file, in its order."""
    stored: Iterator[np.ndarray] = iter(draws)
    return lambda: tensor(next(stored))


def check_states(near: Near, file: Any, variant: str, recorded: Recorded, tolerance: float) -> None:
    """The network saw the official inputs at the kept calls, at the official timesteps."""
    assert recorded.t == file[f"{variant}/model_t"].tolist()
    for call, x in zip(file["keep_calls"], file[f"{variant}/x"], strict=False):
        near("network inputs", recorded.x[call], x, tolerance)


# ---------------------------------------------------------------------------------------------- networks


@pytest.mark.golden("diffusion/manifest_*.json")
def test_every_official_key_and_shape_is_ours(case):
    manifest = load_manifest(case)
    with torch.device("meta"):
        state = UNet(config_of(manifest)).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == manifest["tensors"]
    assert sum(math.prod(shape) for shape in manifest["tensors"].values()) == manifest["parameters"]
    if manifest["network"] in PRIORS:
        assert PRIORS[manifest["network"]] == config_of(manifest)


@pytest.mark.golden("diffusion/manifest_tiny*.json")
def test_the_stand_in_weights_are_those_of_the_golden_run(case):
    manifest = load_manifest(case)
    assert digest(arrays(manifest)) == manifest["sha256"]


@pytest.mark.golden("diffusion/unet_tiny*.npz")
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_tiny_unets(case, near, memory_format):
    file, name = np.load(case), case.stem.removeprefix("unet_")
    for variant in variants(file, "out"):
        if variant == "embedding":
            embedding = timestep_embedding(tensor(file["embedding/t"]), file["embedding/out"].shape[1])
            near("embedding", embedding, file["embedding/out"], 1e-6)
            continue
        gain = float(variant.removeprefix("gain")) if variant.startswith("gain") else None
        model = prior(case.parent, name, gain).to(memory_format=memory_format)
        x = tensor(file[f"{variant}/x"]).contiguous(memory_format=memory_format)
        near("output", model(x, tensor(file[f"{variant}/t"])), file[f"{variant}/out"], 2e-5)


@pytest.mark.golden("diffusion/unet_[!t]*.npz")
def test_the_full_size_unets(case, near):
    """At the last step of those in the file: other steps differ in their embedding alone, which the tiny ones check."""
    file = np.load(case)
    count, channels, height, width = file["shape"]  # of the output: eps and v
    x = noise(str(file["x_tag"]), (count, channels // 2, height, width))
    near("input", x.ravel()[: len(file["x_head"])], file["x_head"], 0)
    model = prior(case.parent, case.stem.removeprefix("unet_"))
    *_, last = variants(file, "sample")
    with torch.no_grad():
        out = model(tensor(x), torch.tensor([float(last.removeprefix("t"))])).numpy()
    near("output", sample(out), file[f"{last}/sample"], 1e-4)
    if f"{last}/corner" in file.files:
        near("output", out[:, :, :16, :16], file[f"{last}/corner"], 1e-4)


# ---------------------------------------------------------------------------------- schedule and samplers


@pytest.mark.golden("diffusion/diffusion_tables.npz")
def test_the_schedule(case):
    file = np.load(case)
    for spec in variants(file, "betas"):
        schedule = chain(spec.removeprefix("linear")) if spec != "linear1000" else Schedule.linear()
        for key in (key for key in file.files if key.startswith(f"{spec}/")):
            ours = getattr(schedule, key.partition("/")[2]).numpy()
            np.testing.assert_allclose(ours, file[key], rtol=1e-9, atol=0, err_msg=key)
    for key in (key for key in file.files if key.startswith("space_")):
        _, steps, spec = key.split("_")
        assert kept_steps(int(steps), spec) == file[key].tolist(), key


@pytest.mark.golden("diffusion/diffusion_ops.npz")
def test_one_step_of_the_chain(case, near):
    file = np.load(case)
    schedule, x_start = chain(file["respacing"]), tensor(file["x_start"])
    for k, i in enumerate(file["t"].tolist()):
        x_t, output, x_0 = (tensor(file[key][k]) for key in ("x_t", "model_output", "pred_xstart"))
        near("q_sample", schedule.q_sample(x_start, i, tensor(file["noise"][k])), x_t, 5e-6)
        near("network output", tiny(case)(x_t, schedule.t(i, x_t)), output, 2e-5)
        prediction = predict(lambda x, t, output=output: output, schedule, x_t, i)
        near("predicted x_0", prediction.x_0, x_0, 2e-6 / math.sqrt(schedule.alphas_cumprod[i]) + 2e-6)
        near("log variance", prediction.log_variance, file["p_log_variance"][k], 1e-5)
        near("mean", schedule.posterior_mean(x_0, x_t, i), file["p_mean"][k], 5e-6)
        near("posterior mean", schedule.posterior_mean(x_start, x_t, i), file["posterior_mean"][k], 5e-6)
        near("eps of x_0", schedule.predict_eps(x_t, i, x_0), file["eps_rederived"][k], 5e-6)


@pytest.mark.golden("diffusion/ddpm.npz")
def test_ancestral_sampling(case, near):
    file = np.load(case)
    schedule, x, model = chain(file["respacing"]), tensor(file["x_T"]), tiny(case)
    for k, i in enumerate(reversed(range(len(schedule)))):
        near("predicted x_0", predict(model, schedule, x, i).x_0, file["pred_xstart"][k], 5e-4)
        x = p_sample(model, schedule, x, i, tensor(file["noise"][k]))
        near("state", x, file["x"][k], 2e-5)


@pytest.mark.golden("diffusion/ddim.npz")
@pytest.mark.parametrize(("kind", "step"), [("rederived", ddim_sample), ("raw", ddim_sample_raw)])
def test_ddim(case, near, kind, step):
    file = np.load(case)
    schedule = chain(file["respacing"])
    for eta in file["etas"].tolist():
        x = tensor(file["x_T"])
        for k, t in enumerate(file["model_t"].tolist()):  # of the whole chain, or of its beginning
            i = schedule.timestep_map.tolist().index(t)
            x = step(tiny(case), schedule, x, i, tensor(file["noise"][k]), eta=eta)
            near(f"{kind}, eta {eta:g}", x, file[f"{kind}/eta{eta:g}"][k], 1e-4 if eta else 5e-4)


@pytest.mark.golden("diffusion/lowpass_*.npz")
def test_the_low_pass_filter(case, near):
    file = np.load(case)
    x = tensor(file["x"])
    height, width = x.shape[-2:]
    for variant in variants(file, "out"):
        factor = int(variant.removeprefix("N"))
        small = width // factor
        if f"{variant}/D" in file.files:  # square images have both matrices
            near("D", resize_matrix(width, small, x.dtype, x.device), file[f"{variant}/D"], 2e-6)
            near("U", resize_matrix(small, width, x.dtype, x.device), file[f"{variant}/U"], 2e-6)
        near("low", resize(x, height // factor, small), file[f"{variant}/low"], 2e-6)
        near("filtered", low_pass(x, factor), file[f"{variant}/out"], 2e-6)
        with torch.autocast("cpu", torch.bfloat16):  # stays in float32 there
            near("filtered", low_pass(x, factor), file[f"{variant}/out"], 2e-6)


@pytest.mark.golden("diffusion/training_losses.npz")
def test_the_training_losses(case, near):
    file = np.load(case)
    for variant in variants(file, "loss"):
        schedule = chain(file[f"{variant}/respacing"])
        x_start, noise_ = tensor(file[f"{variant}/x_start"]), tensor(file[f"{variant}/noise"])
        ours = training_losses(tiny(case), schedule, x_start, torch.from_numpy(file[f"{variant}/t"]), noise_)
        scale = len(schedule) / 1000 if file[f"{variant}/rescaled"] else 1.0
        near("mse", ours["mse"], file[f"{variant}/mse"], 1e-5)
        near("vb", ours["vb"] * scale, file[f"{variant}/vb"], 1e-5)
        near("loss", ours["mse"] + ours["vb"] * scale, file[f"{variant}/loss"], 1e-5)


# ----------------------------------------------------------------------------------------------- methods

ALIKE = ("eta0", "eta1", "cli_default", "every_step", "first8", "last24", "unguided")
"""Variants whose chain differs from another's of their kind by its eta alone, which `test_ddim` varies, or by the steps
that are guided, which are compared for all of them."""


@pytest.mark.golden("diffusion/dtbfr*.npz")
def test_dt_bfr_pseudo_targets(case, near):
    """Algorithm 1; without the variants with an end index, a command-line option of the code that no paper uses."""
    file = np.load(case)
    schedule, start, y0 = chain(file["respacing"]), int(file["start"]), tensor(file["y0"])
    for variant in variants(file, "image"):
        if file[f"{variant}/end"] >= 0:
            continue
        reg_end, factor = int(file[f"{variant}/reg_end"]), int(file[f"{variant}/N"])
        references, draws = iter(file["noise_lowfreq"]), [file["noise_start"]]
        for step, i in zip(file["noise_step"], reversed(range(start)), strict=True):
            draws += [step, next(references)] if reg_end >= 0 and i >= max(reg_end, 1) else [step]
        recorded = Recorded(tiny(case))
        if reg_end < 0:
            image = unconditional_targets(recorded, schedule, y0, handed_out(*draws), start=start)
        else:
            image = pseudo_targets(
                recorded, schedule, y0, handed_out(*draws), start=start, reg_end=reg_end, factor=factor
            )
        check_states(near, file, variant, recorded, 2e-5)
        near("image", image, file[f"{variant}/image"], 2e-5)


@pytest.mark.golden("diffusion/difface.npz")
def test_difface(case, near):
    file = np.load(case)
    for variant in {*variants(file, "image")}.difference(ALIKE):
        recorded, schedule = Recorded(tiny(case)), chain(file[f"{variant}/respacing"])
        draws = handed_out(file["noise_start"], *file["noise_step"])
        image = difface.restore(
            recorded, schedule, tensor(file["y0"]), draws, start=int(file["start"]), eta=float(file[f"{variant}/eta"])
        )
        check_states(near, file, variant, recorded, 2e-5)
        near("image", image, file[f"{variant}/image"], 2e-5)


@pytest.mark.golden("diffusion/difface_inpaint.npz")
def test_difface_inpainting(case, near):
    file = np.load(case)
    lq, mask = tensor(file["lq"]), tensor(file["mask"])
    for variant in variants(file, "image"):
        recorded, schedule = Recorded(tiny(case)), chain(file[f"{variant}/respacing"])
        image = difface_inpaint.inpaint(
            recorded,
            schedule,
            lq,
            mask,
            tensor(file["estimate"]),
            handed_out(file["noise_start"], *file["noise_step"]),
            start=int(file[f"{variant}/start"]),
            eta=float(file[f"{variant}/eta"]),
            refine=partial(
                difface_inpaint.refine_gradient,
                gamma=float(file[f"{variant}/gamma"]),
                updates=int(file[f"{variant}/num_update"]),
            ),
        )
        check_states(near, file, variant, recorded, 4e-5)
        near("image", image, file[f"{variant}/image_mask_back"], 2e-5)
        near("hole", image * mask, file[f"{variant}/image"] * file["mask"], 2e-5)


@pytest.mark.golden("diffusion/difface_inpaint.npz")
def test_difface_refinement(case, near):
    file = np.load(case)
    x_0, known, mask = tensor(file["refine/x0_hat"]), 2 * tensor(file["lq"]) - 1, tensor(file["mask"])
    known = tensor(file["refine/y0"]) if "refine/y0" in file.files else known
    for key in (key for key in file.files if key.startswith("refine/gradient_")):
        gamma, updates = key.removeprefix("refine/gradient_g").split("_n")
        ours = difface_inpaint.refine_gradient(x_0, known, mask, gamma=float(gamma), updates=int(updates))
        near("gradient form", ours, file[key], 1e-6)
    for key in (key for key in file.files if key.startswith("refine/closed_lambda")):
        lambda_ = float(key.removeprefix("refine/closed_lambda"))
        near("closed form", difface_inpaint.refine_closed(x_0, known, mask, lambda_=lambda_), file[key], 1e-6)


def gen2res_rule(file: Any, variant: str, steps: int) -> gen2res.Guided:
    last, skip, first = (int(file[f"{variant}/{key}"]) for key in ("last", "skip", "first"))
    return gen2res.skip_guidance(steps, skip=skip, last=last, first=first)


@pytest.mark.golden("diffusion/gen2res_restore.npz", "diffusion/gen2res_album*.npz")
def test_gen2res(case, near):
    """Restoration and albums are one chain; it starts from pure noise (start_step 0) or from the noised photo."""
    file = np.load(case)
    schedule, start = chain(file["respacing"]), int(file["start_step"])
    y0 = (tensor(file["ref"]) + 1) / 2
    for variant in variants(file, "x0"):
        is_guided, scale = gen2res_rule(file, variant, len(schedule)), float(file[f"{variant}/scale"])
        if case.stem == "gen2res_restore" and not len(file[f"{variant}/guided_idx"]):
            is_guided = gen2res.never  # the paper's setting
        steps = reversed(range(start or len(schedule)))
        assert [i for i in steps if is_guided(i)] == file[f"{variant}/guided_idx"].tolist()
        if variant in ALIKE:
            continue
        recorded = Recorded(tiny(case, "tiny_gen2res"))
        draws = handed_out(file["noise_start"], *file["noise_step"])
        if start:
            image = gen2res.restore(recorded, schedule, y0, draws, start=start, is_guided=is_guided, scale=scale)
        else:
            image = gen2res.generative_album(recorded, schedule, y0, draws, is_guided=is_guided, scale=scale)
        check_states(near, file, variant, recorded, 1e-4)
        near("image", image, np.clip(file[f"{variant}/x0"] / 2 + 0.5, 0, 1), 1.5e-5)


@pytest.mark.golden("diffusion/gen2res_finetune.npz")
def test_gen2res_fine_tuning(case, near):
    file = np.load(case)
    model = copy.deepcopy(tiny(case, "tiny_gen2res"))
    for layer in model.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0  # the golden run had none
    probe_x, probe_t = tensor(file["probe_x"]), torch.from_numpy(file["probe_t"])
    near("probe before", model(probe_x, probe_t).detach(), file["probe_before"], 2e-5)
    album, terms = tensor(file["album"]), []

    def batch_at(step):
        return 2 * album[file["batch_index"][step]] - 1, torch.from_numpy(file["t"][step]), tensor(file["noise"][step])

    def objective(*batch):
        terms.append(training_losses(batch[0], Schedule.linear(), *batch[1:]))
        return terms[-1]["loss"].mean()

    steps, lr = int(file["lr_anneal_steps"]), float(file["base_lr"])
    settings = gen2res.Personalization(iterations=steps, batch=len(file["batch_index"][0]), lr=lr)

    def on_step(step, losses):
        if step == len(file["batch_index"]):
            raise StopIteration  # before the learning rate is zero

    session = Session(Alone(torch.device("cpu")), on_step=on_step)
    with pytest.raises(StopIteration):
        network.train(model, objective, batch_at, settings, 0, session)
    for step, losses in enumerate(terms):
        near("learning rate", settings.lr_at(step), file["lr"][step], 1e-12)
        for name in ("mse", "vb", "loss"):
            near(name, losses[name].detach(), file[name][step], 2e-5)
    near("probe after", model(probe_x, probe_t).detach(), file["probe_after"], 2e-4)
