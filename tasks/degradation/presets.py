"""Synthetic degradations by name. To add one: an entry of its family's PRESETS, or a family's module and its line here.

Another camera: `PRESETS["raw_x4_severe"].with_camera(path, iso=3200)`.
"""

from typing import Annotated

from tasks.basics import PickedFrom, one_of
from tasks.degradation import bicubic, blur_jpeg, celeba_test, gray, masks, raw
from tasks.degradation.preset import Preset

PRESETS: dict[str, Preset] = {
    **blur_jpeg.PRESETS,
    **raw.PRESETS,
    **bicubic.PRESETS,
    **celeba_test.PRESETS,
    **masks.PRESETS,
    **gray.PRESETS,
}

DegradationName = Annotated[str, one_of("degradation", PRESETS), PickedFrom(PRESETS)]
