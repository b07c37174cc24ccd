"""Alignment like FFHQ's: the similarity that brings a face's five points nearest to the template, and the crop by it.

Points are x, y in pixels, where the centre of the first pixel is (0, 0). A matrix [2, 3] leads from the photo's pixels
to the crop's.
"""

import math

import cv2
import numpy as np

TEMPLATE = np.array(  # eyes, tip of the nose, corners of the mouth in a crop of 512 pixels; the viewer's left first
    [
        (192.98138, 239.94708),
        (318.90277, 240.1936),
        (256.63416, 314.01935),
        (201.26117, 371.41043),
        (313.08905, 371.15118),
    ]
)
TEMPLATE_SIDE = 512
MARGIN = 4  # pixels beside a crop that the cubic kernel may look at


def template(size: int) -> np.ndarray:
    """The five points [5, 2] in a crop of `size` pixels."""
    return (TEMPLATE + 0.5) * (size / TEMPLATE_SIDE) - 0.5


def similarity(points: np.ndarray, size: int) -> np.ndarray:
    """The matrix, float64 [2, 3], that turns, scales and shifts five points [5, 2] to the template of a crop.

    Least squares, in closed form: Umeyama 1991, without reflection. Raises ValueError for points that coincide.
    """
    source, target = np.asarray(points, np.float64), template(size)
    a, b = source - source.mean(0), target - target.mean(0)
    spread = (a**2).sum()
    if not spread > 0:
        raise ValueError(f"the five points of a face coincide: {source[0]}")
    cos = (a * b).sum() / spread
    sin = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / spread
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([turn, target.mean(0) - turn @ source.mean(0)])


def scale_of(matrix: np.ndarray) -> float:
    """Pixels of the crop for one of the photo."""
    return math.hypot(matrix[0, 0], matrix[1, 0])


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points [..., 2] of the photo, seen in the crop."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def inverse(matrix: np.ndarray) -> np.ndarray:
    """The matrix that leads back from the crop to the photo."""
    return np.asarray(cv2.invertAffineTransform(matrix))


def cut_out(photo: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """The crop [size, size, C] of a photo uint8 [H, W, C]; what lies beyond the frame is the photo mirrored."""
    corners = moved(np.array([(0, 0), (size, 0), (0, size), (size, size)], np.float64), inverse(matrix))
    first, last = np.floor(corners.min(0)).astype(int) - MARGIN, np.ceil(corners.max(0)).astype(int) + MARGIN
    columns, rows = (
        mirrored(np.arange(*ends), side) for *ends, side in zip(first, last, photo.shape[1::-1], strict=True)
    )
    inside = np.column_stack([matrix[:, :2], moved(first.astype(np.float64), matrix)])
    return warped(photo[np.ix_(rows, columns)], inside, (size, size))


def mirrored(at: np.ndarray, length: int) -> np.ndarray:
    """Numbers of pixels in a row of `length` pixels and its mirror images, which share their first and last pixels."""
    period = max(1, 2 * (length - 1))
    return np.minimum(at % period, period - at % period)


def warped(picture: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture [H, W, C], moved by a matrix into one of `size` (width, height), cubic, with mirrored borders.

    Where that shrinks, several samples are taken for each pixel and averaged, so that nothing aliases.
    """
    finer = max(1, math.ceil(1 / scale_of(matrix) - 1e-3))
    fine = matrix * finer
    fine[:, 2] += (finer - 1) / 2
    flags, border = cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101
    large = cv2.warpAffine(picture, fine, (size[0] * finer, size[1] * finer), flags=flags, borderMode=border)
    small = large if finer == 1 else cv2.resize(large, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small if small.ndim == picture.ndim else small[..., None])
