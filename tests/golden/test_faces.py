"""The face detector against the package that its weights come from."""

import numpy as np
import pytest

from tasks.faces.mtcnn import Mtcnn


@pytest.mark.golden("faces/mtcnn.npz")
@pytest.mark.parametrize("photo", ["three", "cut", "none"])
def test_mtcnn(case, near, photo):
    golden = np.load(case)
    faces = Mtcnn().detect(golden[f"{photo}.photo"])
    near("boxes", faces.boxes, golden[f"{photo}.boxes"], 0.05)
    near("points", faces.points, golden[f"{photo}.points"], 0.05)
    near("scores", faces.scores, golden[f"{photo}.scores"], 1e-4)
