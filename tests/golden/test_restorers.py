"""Restoration networks, losses and training steps against what the official systems computed."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from golden.restorer_weights import arrays, fill_module, load_manifest
from golden.restorer_weights import test_image as pixels
from torch import Tensor, nn

from tasks.metrics import arcface
from tasks.restorers import faces as official
from tasks.restorers import lama, srcnn, swinir
from tasks.training import codeformer, losses
from tasks.training.discriminator import OFFICIAL_WIDTH, UNetDiscriminator
from tasks.training.loop import Session

RELATIVE = 1e-4  # of the largest value of the output


def manifest_of(case: Path, name: str | None = None) -> dict[str, Any]:
    return load_manifest(case.parent.parent / "manifests" / f"{name or case.stem}.json")


def image(manifest: dict[str, Any], tag: str, height: int, width: int) -> Tensor:
    """[1, 3, H, W] in [0, 1]; the prefix of a set's images is its salt."""
    values = pixels(f"{manifest['salt']}|{tag}", height, width)
    return torch.from_numpy(values).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], Path]:
    """checkpoint(manifest): the stand-in weights as an official file, under the official keys."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def write(manifest: dict[str, Any]) -> Path:
        path = folder / f"{manifest['network']}_{manifest['salt']}.pth"
        if not path.exists():
            torch.save({key: torch.from_numpy(value) for key, value in arrays(manifest).items()}, path)
        return path

    return write


def check(near: Callable[..., None], file: Any, name: str, output: Tensor) -> None:
    """Compare an output with all that the file stores of it: the whole, a stride, the corner."""
    output = output.detach().numpy()
    tolerance = RELATIVE * np.abs(output).max()
    stored = [key for key in file.files if key == name or key.startswith((f"{name}_s", f"{name}_corner"))]
    for key in stored:
        kind = key.removeprefix(name)
        if kind == "_summary":
            values = output.astype(np.float64)
            ours = [values.mean(), values.std(), values.min(), values.max(), np.abs(values).sum(), (values**2).sum()]
            np.testing.assert_allclose(ours, file[key], rtol=1e-3, atol=1e-4)
        elif kind == "_corner":
            near(name, output[..., :8, :8], file[key], tolerance)
        else:
            step = int(kind.removeprefix("_s") or 1)
            near(name, output[..., ::step, ::step], file[key], tolerance)
    assert stored


# ---------------------------------------------------------------------------------------------- networks


@pytest.mark.golden("restorers/networks/swinir.npz")
def test_swinir(case, near, tmp_path):
    file, manifest = np.load(case), manifest_of(case)
    built = swinir.build(swinir.OFFICIAL)
    state = swinir.official_state_dict(built)
    assert {key: list(value.shape) for key, value in state.items()} == {
        key: shape for key, (shape, _) in manifest["tensors"].items()
    }
    filled = {key: torch.from_numpy(value) for key, value in arrays(manifest).items()}
    torch.save(state | filled, tmp_path / "official.pth")  # what the manifest keeps, the architecture computes
    model = swinir.load(tmp_path / "official.pth").eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == manifest["parameters"]
    for name in {key.split("_")[0] for key in file.files}:
        sides = [int(side) for side in name.removeprefix("out").split("x")]
        with torch.no_grad():
            check(near, file, name, model(image(manifest, name.replace("out", "swinir"), sides[0], sides[-1])))


@pytest.mark.golden("restorers/networks/srcnn.npz")
def test_srcnn(case, near, checkpoint):
    file, manifest = np.load(case), manifest_of(case)
    model = srcnn.load(checkpoint(manifest)).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == manifest["parameters"]
    for name in {key.split("_")[0] for key in file.files}:
        side = int(name.removeprefix("out"))
        with torch.no_grad():
            check(near, file, name, model(image(manifest, f"srcnn{side}", side, side)))


@pytest.mark.golden("restorers/networks/lama.npz")
def test_lama(case, near, checkpoint):
    file, manifest = np.load(case), manifest_of(case)
    model = lama.load(checkpoint(manifest))
    for name in {key.split("_")[0] for key in file.files}:
        side = int(name.removeprefix("out"))
        mask = torch.zeros(1, 1, side, side)
        mask[..., side // 4 : 3 * side // 4, side // 8 : 5 * side // 8] = 1
        check(near, file, name, lama.estimate(model, image(manifest, f"lama{side}", side, side), mask))


def outputs_of(model: nn.Module) -> list[Tensor]:
    """What a network will give, run by run: the restored image before it is scaled and clamped."""
    outputs: list[Tensor] = []
    model.register_forward_hook(lambda _model, _inputs, output: outputs.append(output[0]))
    return outputs


@pytest.mark.golden("restorers/networks/gfpgan_clean.npz")
def test_gfpgan(case, near, checkpoint):
    file, manifest = np.load(case), manifest_of(case)
    model = official.load(checkpoint(manifest), "GFPGANv1Clean")
    outputs = outputs_of(model)
    restored = official.gfpgan(model, image(manifest, "gfpgan512", 512, 512))
    check(near, file, "out", outputs[0])
    near("restored", restored, (outputs[0] / 2 + 0.5).clamp(0, 1), 0)


@pytest.mark.golden("restorers/networks/restoreformer.npz")
def test_restoreformer(case, near, checkpoint):
    file, manifest = np.load(case), manifest_of(case)
    model = official.load(checkpoint(manifest), "RestoreFormer")
    outputs = outputs_of(model)
    restored = official.restoreformer(model, image(manifest, "restoreformer512", 512, 512))
    check(near, file, "out", outputs[0])
    near("restored", restored, (outputs[0] / 2 + 0.5).clamp(0, 1), 0)


@pytest.mark.golden("restorers/networks/codeformer.npz")
def test_codeformer(case, near, checkpoint):
    pytest.importorskip("spandrel_extra_arches", reason="CodeFormer's package (extra `codeformer`) is not installed")
    file, manifest = np.load(case), manifest_of(case)
    model = official.load_codeformer(checkpoint(manifest))
    assert sum(parameter.numel() for parameter in model.parameters()) == manifest["parameters"]
    x = 2 * image(manifest, "codeformer512", 512, 512) - 1
    for block in model.encoder.blocks:
        block.forward = cache(block.forward)  # of one and the same photo: encoded once
    with torch.no_grad():
        for w in (0.0, 0.5):  # 0 leaves the fusion out, 1 takes twice as much
            check(near, file, f"out_w{10 * w:02.0f}_adain", model(x, weight=w)[0])
        logits, lq_feat = codeformer.predict_codes(model, x)
    check(near, file, "lq_feat", lq_feat)
    near("logits", logits[:, ::16, ::16], file["logits_s"], RELATIVE * logits.abs().max().item())
    assert logits.argmax(-1).flatten().tolist() == file["codes"].tolist()


@pytest.mark.golden("restorers/networks/arcface18.npz")
def test_arcface(case, near, checkpoint):
    file, manifest = np.load(case), manifest_of(case)
    model = arcface.load(checkpoint(manifest))
    assert sum(parameter.numel() for parameter in model.parameters()) == manifest["parameters"]
    faces = torch.cat([image(manifest, f"arc{n}", 128, 128)[:, :1] * 2 - 1 for n in range(len(file["embedding"]))])
    with torch.no_grad():
        embedding = model(faces)
    near("embedding", embedding, file["embedding"], RELATIVE * np.abs(file["embedding"]).max())
    near("angle, degrees", arcface.angles(embedding[:1], embedding[1:2])[0], file["angle_degrees"], 0.01)


@pytest.mark.golden("restorers/networks/fan98.npz")
def test_fan(case, near):
    awing = pytest.importorskip("facexlib.alignment.awing_arch", reason="facexlib (extra `faces`) is not installed")
    cv2 = pytest.importorskip("cv2")
    file, manifest = np.load(case), manifest_of(case)
    model = fill_module(awing.FAN(num_modules=4, num_landmarks=98, device="cpu"), manifest).eval()
    photo = cv2.resize(pixels(f"{manifest['salt']}|fan", 512, 512), (256, 256), interpolation=cv2.INTER_LINEAR)
    with torch.no_grad():
        heatmaps = model(torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255)[0][-1][:, :98]
    check(near, file, "heatmap", heatmaps)
    assert heatmaps.flatten(2).argmax(-1).flatten().tolist() == file["peaks"].tolist()


@pytest.mark.golden("restorers/networks/unet_discriminator_sn.npz")
def test_the_discriminator_does_one_power_iteration_per_training_forward(case, near):
    file, manifest = np.load(case), manifest_of(case)
    network = fill_module(UNetDiscriminator(OFFICIAL_WIDTH, seed=0), manifest).train()
    assert sum(parameter.numel() for parameter in network.parameters()) == manifest["parameters"]
    x = image(manifest, "disc64", 64, 64)
    with torch.no_grad():
        for name in ("train1", "train2"):
            check(near, file, name, network(x))
        check(near, file, "eval_after2", network.eval()(x))
    near("power iteration", network.conv1.weight_u, file["conv1_u_after2"], 1e-5)


# ------------------------------------------------------------------------------------- losses and steps


@pytest.mark.golden("restorers/finetune/gan_loss.npz")
def test_the_gan_losses(case, near):
    file = np.load(case)
    logits = torch.from_numpy(file["logits"])
    near("G, weighted", 0.1 * losses.labelled_real(logits), file["g_loss"], 1e-7)
    near("D, real", losses.labelled_real(logits), file["d_real"], 1e-6)
    near("D, fake", losses.labelled_fake(logits), file["d_fake"], 1e-6)


@pytest.mark.golden("restorers/finetune/code_losses.npz")
def test_the_code_losses(case, near):
    file = np.load(case)
    codebook, z, logits, lq_feat = (torch.from_numpy(file[key]) for key in ("codebook", "z", "logits", "lq_feat"))
    codes = codeformer.nearest_codes(codebook, z)
    assert codes.tolist() == file["indices"].tolist()
    logits.requires_grad_()
    lq_feat.requires_grad_()
    feature, code = codeformer.feature_loss(codebook, codes, lq_feat), 0.5 * codeformer.code_loss(logits, codes)
    near("feature loss", feature.detach(), file["feature_loss"], 1e-6)
    near("code loss", code.detach(), file["cross_entropy_loss_x05"], 1e-6)
    (feature + code).backward()
    near("gradient of the features", lq_feat.grad, file["grad_lq_feat"], 1e-7)
    near("gradient of the logits", logits.grad, file["grad_logits"], 1e-7)


def norm_of(tensors: Any) -> float:
    return float(np.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors)))


@pytest.mark.golden("restorers/finetune/codeformer_step.npz")
def test_two_steps_of_codeformer(case, near, checkpoint, tmp_path):
    pytest.importorskip("spandrel_extra_arches", reason="CodeFormer's package (extra `codeformer`) is not installed")
    file, manifest = np.load(case), manifest_of(case, "codeformer")
    model = official.load_codeformer(checkpoint(manifest))
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    batch = image(manifest, "cf_lq", 512, 512), image(manifest, "cf_gt", 512, 512)
    modules = sorted(key.partition("/")[2] for key in file.files if key.startswith("grad_norm/"))

    def moved(network: nn.Module, module: str) -> float:
        of_module = ((n, p) for n, p in network.named_parameters() if n.partition(".")[0] == module)
        return norm_of(parameter.detach() - start[name] for name, parameter in of_module)

    def compare(step: int, step_losses: codeformer.CodeLosses) -> None:
        near("feature loss", step_losses.feature, file[f"loss_feat_iter{step}"], 1e-5)
        near("code loss", step_losses.code, file[f"loss_ce_iter{step}"], 1e-5)
        for module in modules:
            if step == 1:
                gradients = [
                    p.grad for n, p in model.named_parameters() if n.partition(".")[0] == module and p.grad is not None
                ]
                expected = float(file[f"grad_norm/{module}"])
                near("gradient norm", norm_of(gradients), expected, 1e-3 * expected)
            expected = float(file[f"delta_norm_iter{step}/{module}"])
            near("distance moved", moved(model, module), expected, 2e-3 * expected)

    recipe = codeformer.CodeFineTune(
        recipe="codeformer", iterations=2, batch=1, lr=1e-4, milestones=(), ema=0.995, lambda_code=0.5
    )
    session = Session(Accelerator(cpu=True), tmp_path / "state.pt", 100, compare)
    averaged = codeformer.train(model, lambda step: batch, recipe, 0, session)
    for module in set(modules) - set(codeformer.FROZEN):
        expected = float(file[f"ema_delta_norm_iter2/{module}"])
        near("distance of the average", moved(averaged, module), expected, 2e-3 * expected)
