"""Loss of colour: a known linear degradation, as a mask is (Yue & Loy, Section V)."""

import numpy as np

from tasks.degradation.blur_jpeg import to_float, to_gray, to_u8
from tasks.degradation.preset import ImageU8, Preset

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue in a gray photo


class Gray(Preset):
    """The preset: a photo's luminance in all three channels."""

    def degrade(self, hq: ImageU8, rng: np.random.Generator, position: int = 0) -> ImageU8:
        return to_u8(to_gray(to_float(hq)))


PRESETS = {"gray": Gray()}
