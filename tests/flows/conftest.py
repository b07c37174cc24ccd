"""A user's folder of photos, good and bad ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def user_folder(tmp_path) -> Path:
    folder = tmp_path / "my photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("good.png", (80, 80)), ("wide ünï.jpg", (120, 80)), ("tiny.png", (3, 3))):
        Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(folder / name)
    (folder / "empty.jpg").touch()
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:300])
    return folder
