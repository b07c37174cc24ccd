"""The degradations as one would first write them: whole image, one step after another. What the benchmarks compare to.

They follow the order and the arithmetic of the released codes, and agree with `tasks/degradation` (benchmarks/
degradations.py checks it before it measures anything).
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from tasks.degradation.blur_jpeg import BlurJpegParams
from tasks.degradation.demosaic import bayer_network
from tasks.degradation.raw import RawParams

U8 = NDArray[np.uint8]


def blur_jpeg(hq: U8, params: BlurJpegParams, noise_unit: NDArray[np.float32]) -> U8:
    """Eq. 9 of DT-BFR: a 41 x 41 kernel over the whole image, resize, noise, JPEG, resize."""
    image = hq.astype(np.float32) / 255
    turn = np.array([[np.cos(params.theta), -np.sin(params.theta)], [np.sin(params.theta), np.cos(params.theta)]])
    covariance = turn @ np.diag([params.sigma_x**2, params.sigma_y**2]) @ turn.T
    axis = np.arange(-20, 21)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1)
    kernel = np.exp(-0.5 * np.sum((grid @ np.linalg.inv(covariance)) * grid, axis=2))
    image = cv2.filter2D(image, -1, kernel / kernel.sum())
    size = hq.shape[1::-1]
    image = cv2.resize(image, (int(size[0] // params.scale), int(size[1] // params.scale)))
    image = np.clip(image + noise_unit * (params.noise_sigma_255 / 255), 0, 1).astype(np.float32)
    _, data = cv2.imencode(".jpg", image[..., ::-1] * 255, [cv2.IMWRITE_JPEG_QUALITY, params.jpeg_quality])
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255
    image = cv2.resize(image, size)
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def raw(hq: U8, params: RawParams, noise_unit: NDArray[np.float64]) -> U8:
    """Eq. 10 of DT-BFR: linearise and go to camera colours at full size, then shrink, noise, demosaic, render."""
    linear = np.clip(hq / 255.0, 0, 1) ** 2.2
    inverse = np.linalg.inv(params.ccm / params.ccm.sum(axis=1, keepdims=True))
    camera = np.sum(inverse[None, None] * linear[:, :, None, :], axis=-1) / params.wb_gains
    height, width = hq.shape[0] // params.scale, hq.shape[1] // params.scale
    camera = np.clip(cv2.resize(camera, (width, height), interpolation=cv2.INTER_AREA), 0, 1)
    channels = ["RGB".index(colour) for colour in params.cfa]
    bayer = np.zeros((height, width))
    b1, b2 = np.zeros((height, width)), np.zeros((height, width))
    for position, channel in enumerate(channels):
        cell = np.s_[position // 2 :: 2, position % 2 :: 2]
        bayer[cell] = camera[..., channel][cell]
        b1[cell], b2[cell] = params.b1[position], params.b2[position]
    span = params.white_level - params.black_level
    dn = bayer * span + params.black_level
    dn = np.clip(dn + noise_unit * np.sqrt(np.maximum(b1 * dn + b2, 0)), 0, params.white_level)
    normalised = np.clip((dn - params.black_level) / span, 0, 1)
    sparse = np.zeros((3, height, width), dtype=np.float32)
    for position, channel in enumerate(channels):
        cell = np.s_[position // 2 :: 2, position % 2 :: 2]
        sparse[channel][cell] = normalised[cell]
    with torch.no_grad():
        rgb = bayer_network()(torch.from_numpy(sparse)[None])[0].clamp(0, 1).permute(1, 2, 0).numpy()
    balanced = np.clip(rgb * params.wb_gains, 0, 1)
    rendered = np.clip(np.sum(params.ccm[None, None] * balanced[:, :, None, :], axis=-1), 0, 1) ** (1 / 2.2)
    return np.floor(np.clip(cv2.resize(rendered, hq.shape[1::-1]), 0, 1) * 255).astype(np.uint8)
