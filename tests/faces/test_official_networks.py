"""RetinaFace, ParseNet and Real-ESRGAN with stand-in weights: as facexlib has them, and what `bfr restore` does with
them."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from faces.drawn import Head, draw
from PIL import Image
from torch import Tensor, nn

from flows import whole_photos
from flows.whole_photos import Options, files_of, restore_photos
from tasks.basics import BadInput
from tasks.data.photo import read_photo
from tasks.faces import parsing, retinaface
from tasks.faces.mtcnn import Mtcnn
from tasks.restorers import enlarge
from tasks.stages import find_faces, paste_faces
from tasks.weights import fetch
from tasks.weights.official import PARSENET, REALESRGAN_X2, RETINAFACE

CPU = torch.device("cpu")


def shaken(net: nn.Module) -> nn.Module:
    """Random numbers also where a new network has zeros and ones."""
    rng = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if value.is_floating_point() and value.dim() == 1:
            value.copy_(torch.rand(value.shape, generator=rng) * 0.4 + (0.8 if "var" in name else 0))
    return net.eval()


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (100, 132, 3), dtype=np.uint8)


def test_retinaface_finds_what_facexlib_s_finds(noise, tmp_path, monkeypatch):
    theirs = pytest.importorskip("facexlib.detection.retinaface", reason="facexlib (extra `faces`) is not installed")
    torch.manual_seed(0)
    reference = shaken(theirs.RetinaFace("resnet50", device=CPU))
    path = tmp_path / RETINAFACE.place
    torch.save({f"module.{key}": value for key, value in reference.state_dict().items()}, path)
    with torch.no_grad():
        scores = reference(torch.from_numpy(noise[..., ::-1].copy()).permute(2, 0, 1)[None] - reference.mean_tensor)[1]
    sure = scores[0, :, 1].sort().values[-40].item()
    monkeypatch.setattr(retinaface, "SURE", sure)
    reference.requires_grad_(False)
    expected = reference.detect_faces(noise[..., ::-1], conf_threshold=sure, nms_threshold=0.4)
    found = retinaface.RetinaFace(path).detect(noise, 16)
    assert len(found) == len(expected) > 2
    assert (np.diff((found.boxes[:, 2] - found.boxes[:, 0]) * (found.boxes[:, 3] - found.boxes[:, 1])) <= 0).all()
    order, theirs_order = found.scores.argsort(), expected[:, 4].argsort()
    np.testing.assert_allclose(found.scores[order], expected[theirs_order, 4], atol=1e-5)
    np.testing.assert_allclose(found.boxes[order] + 0.5, expected[theirs_order, :4], atol=0.02)
    np.testing.assert_allclose(found.points[order].reshape(-1, 10) + 0.5, expected[theirs_order, 5:], atol=0.02)


def test_faces_in_a_shrunk_photo_lie_where_they_are_in_the_whole_one():
    boxes, points = torch.tensor([[10.0, 10, 30, 30], [2, 2, 60, 60]]), torch.full((2, 5, 2), 20.0)
    found = retinaface.faces(boxes, points, torch.tensor([0.99, 0.98]), torch.tensor([0.5, 0.25]))
    np.testing.assert_allclose(found.boxes, [[3.5, 7.5, 119.5, 239.5], [19.5, 39.5, 59.5, 119.5]])
    np.testing.assert_allclose(found.points[0, 0], [39.5, 79.5])
    assert len(retinaface.faces(boxes, points, torch.tensor([0.5, 0.96]), torch.ones(2))) == 0


def test_parsenet_says_what_facexlib_s_says(noise):
    theirs = pytest.importorskip("facexlib.parsing.parsenet", reason="facexlib (extra `faces`) is not installed")
    torch.manual_seed(0)
    reference = shaken(theirs.ParseNet(in_size=512, out_size=512, parsing_ch=19))
    ours = parsing.ParseNet().eval()
    ours.load_state_dict(reference.state_dict())
    x = torch.from_numpy(noise[:64, :96]).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        torch.testing.assert_close(ours(x), reference(x)[0], rtol=1e-4, atol=1e-4)


def test_the_region_of_a_face_is_soft_and_ends_before_the_crop_does():
    scores = torch.zeros(1, 19, 512, 512)
    scores[:, 1, :, :256], scores[:, 18, :, 256:] = 1, 1  # skin, clothes
    mask = parsing.region(lambda x: scores, CPU, np.zeros((128, 128, 3), np.uint8))  # type: ignore[arg-type]
    assert mask.shape == (128, 128, 1)
    assert mask[64, 32] == pytest.approx(1, abs=1e-3)
    assert 0.4 < mask[64, 63:65].mean() < 0.6
    assert mask[64, 100] == 0
    assert not mask[0].any()
    assert not mask[:, 0].any()


def rrdb(scale: int, shuffle: int | None) -> nn.Module:
    from spandrel.architectures.ESRGAN import ESRGAN

    torch.manual_seed(0)
    channels = 3 * (shuffle or 1) ** 2
    return ESRGAN(in_nc=channels, num_filters=8, num_blocks=1, scale=scale, shuffle_factor=shuffle).eval()


@pytest.mark.parametrize(("scale", "shuffle", "factor"), [(4, 2, 2), (4, None, 4)])
def test_a_photo_is_enlarged_tile_by_tile_as_in_one_piece(tmp_path, monkeypatch, noise, scale, shuffle, factor):
    torch.save({"params_ema": rrdb(scale, shuffle).state_dict()}, tmp_path / "x.pth")
    network = enlarge.load(tmp_path / "x.pth", CPU)
    photo = noise[:75, :102].astype(np.float32) / 255
    with torch.no_grad():
        whole = network(torch.from_numpy(photo).permute(2, 0, 1)[None])[0].permute(1, 2, 0).clamp(0, 1).numpy()
    monkeypatch.setattr(enlarge, "TILE", 32)
    monkeypatch.setattr(enlarge, "MARGIN", 48)
    found = enlarge.enlarged(network, photo, CPU)
    assert found.shape == (75 * factor, 102 * factor, 3)
    np.testing.assert_allclose(found, whole[: len(found), : found.shape[1]], atol=1e-5)


class Doubling(nn.Module):
    """Twice as large, and a little darker."""

    scale, shuffle_factor = 2, None

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3) * 0.5


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_what_is_enhanced_keeps_bits_and_transparency(channels, kind, factor):
    pixels = np.full((6, 5, channels), np.iinfo(kind).max - 1, kind)
    found = paste_faces.enhanced(Doubling(), CPU, pixels, factor)
    assert found.shape == (6 * factor, 5 * factor, channels)
    assert found.dtype == kind
    colours = 1 if channels < 3 else 3
    np.testing.assert_allclose(found[..., :colours], np.rint((np.iinfo(kind).max - 1) / 2), atol=1)
    assert (found[..., colours:] == np.iinfo(kind).max - 1).all()


# ------------------------------------------------------------------------------------------------ in a restoration
@pytest.fixture
def restored(tmp_path, monkeypatch) -> Callable[..., np.ndarray]:
    """restored(**options): what becomes of a photo with a face, whose left half is drawn at x < 100."""
    monkeypatch.setattr(whole_photos, "WEIGHTS", tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    Image.fromarray(draw([Head(5, 140, 100, 90, -8)], 220, 190)[0]).save(tmp_path / "one.png")

    def run(**options: object) -> np.ndarray:
        given = Options.model_validate(options)
        done = restore_photos([tmp_path / "one.png"], str(tmp_path / "out"), "demo", "pretrained", given)
        return read_photo(done.root / "photos" / "one.png").astype(int)

    return run


def test_the_background_is_enhanced_by_a_network_and_comes_in_the_size_that_is_asked_for(restored, tmp_path):
    plain = restored()
    torch.save(rrdb(4, 2).state_dict(), tmp_path / "weights" / REALESRGAN_X2.place)
    enhanced = restored(background="realesrgan")
    assert enhanced.shape == plain.shape
    assert (enhanced[:, 185:] != plain[:, 185:]).mean() > 0.9
    own = restored(background=str(tmp_path / "weights" / REALESRGAN_X2.place), upscale=2)
    assert own.shape == (380, 440, 3)


def test_parsing_keeps_changes_to_the_face(restored, tmp_path, monkeypatch):
    (tmp_path / "weights" / PARSENET.place).write_bytes(b"stand-in")
    photo, plain = read_photo(tmp_path / "one.png").astype(int), restored()

    def left(crop: np.ndarray) -> np.ndarray:
        return np.repeat(np.arange(len(crop))[None] < len(crop) // 2, len(crop), 0)[..., None].astype(np.float32)

    monkeypatch.setattr(paste_faces, "load", lambda weights, device: left)
    half = restored(parsing=True)
    changed, before = (half != photo).any(2), (plain != photo).any(2)
    assert changed[60:120, 60:90].mean() > 0.9
    assert changed[60:120, 115:160].mean() < 0.02 < before[60:120, 115:150].mean()


def test_another_detector_is_asked_where_it_is_wanted(restored, tmp_path, monkeypatch):
    with pytest.raises(BadInput, match=RETINAFACE.place):
        restored(detector="retinaface")
    (tmp_path / "weights" / RETINAFACE.place).write_bytes(b"stand-in")
    asked: list[Path] = []

    def built(weights: Path) -> SimpleNamespace:
        asked.append(weights)
        return SimpleNamespace(detect=Mtcnn().detect)

    monkeypatch.setattr(find_faces, "RetinaFace", built)
    assert restored(detector="retinaface").shape == (190, 220, 3)
    assert [path.name for path in asked] == [RETINAFACE.place]


def test_what_the_options_need_is_fetched_with_the_method_and_said_where_it_is_missing(tmp_path):
    everything = Options(detector="retinaface", background="realesrgan", parsing=True)
    needed = {file.place for file in files_of("demo", "pretrained", everything)}
    assert needed == {RETINAFACE.place, PARSENET.place, REALESRGAN_X2.place}
    [check] = Options(parsing=True).checks
    with pytest.raises(BadInput, match=f"bfr fetch {PARSENET.place}"):
        check()
    assert fetch.known(Path("mine.pth").absolute()) is None
