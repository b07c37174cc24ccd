"""Compiled loops of the renderer: triangles, shadows, hair density, strands, noise, creases. Serial, one core.

No `fastmath`: the order of the sums is the written one, so a machine repeats itself exactly.
"""

import numpy as np
from numba import njit

FAR = 1e9
compiled = njit(cache=True, nogil=True)


@compiled
def _box(a, b, c, side):
    """Pixels whose centres a triangle may cover: x0, x1, y0, y1 (inclusive)."""
    x0 = max(0, int(np.ceil(min(a[0], b[0], c[0]) - 0.5)))
    x1 = min(side - 1, int(np.floor(max(a[0], b[0], c[0]) - 0.5)))
    y0 = max(0, int(np.ceil(min(a[1], b[1], c[1]) - 0.5)))
    y1 = min(side - 1, int(np.floor(max(a[1], b[1], c[1]) - 0.5)))
    return x0, x1, y0, y1


@compiled
def rasterize(points, triangles, side):
    """The nearest triangle of every pixel.

    points: [V, 3], x and y in pixels, depth. Returns depth [side, side], triangle [side, side] (-1: none) and the
    barycentric weights of corners 1 and 2, [side, side, 2].
    """
    depth = np.full((side, side), FAR, np.float32)
    index = np.full((side, side), -1, np.int32)
    weights = np.zeros((side, side, 2), np.float32)
    for t in range(len(triangles)):
        a, b, c = points[triangles[t, 0]], points[triangles[t, 1]], points[triangles[t, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if abs(area) < 1e-9:
            continue
        x0, x1, y0, y1 = _box(a, b, c, side)
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                px, py = x + 0.5 - a[0], y + 0.5 - a[1]
                u = (px * (c[1] - a[1]) - (c[0] - a[0]) * py) / area
                v = ((b[0] - a[0]) * py - px * (b[1] - a[1])) / area
                if u >= 0 and v >= 0 and u + v <= 1:
                    d = a[2] + u * (b[2] - a[2]) + v * (c[2] - a[2])
                    if d < depth[y, x]:
                        depth[y, x] = d
                        index[y, x] = t
                        weights[y, x, 0], weights[y, x, 1] = u, v
    return depth, index, weights


@compiled
def light_view(points, light, side, radius):
    """Points [N, 3] as the light sees them, orthographic: x, y in pixels of a map of the ball of `radius`, depth.

    light: unit vector towards the light.
    """
    up = np.array([0.0, 1.0, 0.0]) if abs(light[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    right = np.cross(up, light)
    right /= np.sqrt((right * right).sum())
    above = np.cross(light, right)
    seen = np.empty((len(points), 3), np.float32)
    k = side / (2 * radius)
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        seen[i, 0] = (x * right[0] + y * right[1] + z * right[2]) * k + side / 2
        seen[i, 1] = (x * above[0] + y * above[1] + z * above[2]) * k + side / 2
        seen[i, 2] = -(x * light[0] + y * light[1] + z * light[2])
    return seen


@compiled
def lit_share(seen, depth, bias, reach):
    """Share [N] of the (2 reach + 1)^2 window of a shadow map that does not lie before the point: soft shadows."""
    side = depth.shape[0]
    share = np.ones(len(seen), np.float32)
    for i in range(len(seen)):
        x, y = int(np.floor(seen[i, 0])), int(np.floor(seen[i, 1]))
        lit = 0
        for yy in range(y - reach, y + reach + 1):
            for xx in range(x - reach, x + reach + 1):
                outside = xx < 0 or yy < 0 or xx >= side or yy >= side
                if outside or depth[yy, xx] > seen[i, 2] - bias:
                    lit += 1
        share[i] = lit / (2 * reach + 1) ** 2
    return share


@compiled
def march(density, origin, cell, x, y, z, light, steps, stride):
    """Hair between a point and the light: the density grid summed along the ray, times length (strides in cells)."""
    total = 0.0
    n = density.shape[0]
    x, y, z = (x - origin[0]) / cell, (y - origin[1]) / cell, (z - origin[2]) / cell
    for s in range(1, steps + 1):
        i, j, k = int(x + light[0] * s * stride), int(y + light[1] * s * stride), int(z + light[2] * s * stride)
        if i < 0 or j < 0 or k < 0 or i >= n or j >= n or k >= n:
            break
        total += density[i, j, k]
    return total * cell * stride


@compiled
def march_all(density, origin, cell, points, light, steps, stride):
    """`march` from every one of points [N, 3]."""
    total = np.empty(len(points), np.float32)
    for i in range(len(points)):
        total[i] = march(density, origin, cell, points[i, 0], points[i, 1], points[i, 2], light, steps, stride)
    return total


@compiled
def irradiance(points, normals, triangles, lights, radiance, radius, density, origin, cell):
    """Light [V, 3] that vertices receive from the surroundings, shaded by mesh and hair, and their open share [V].

    lights: [D, 3] directions spread evenly over the sphere; radiance: [D, 3] of each.
    """
    received = np.zeros((len(points), 3), np.float32)
    open_share = np.zeros(len(points), np.float32)
    for k in range(len(lights)):
        light = lights[k]
        seen = light_view(points, light, 72, radius)
        lit = lit_share(seen, rasterize(seen, triangles, 72)[0], 0.07, 1)
        for i in range(len(points)):
            n = normals[i]
            cosine = n[0] * light[0] + n[1] * light[1] + n[2] * light[2]
            if cosine <= 0 or lit[i] == 0:
                continue
            p = points[i] + 0.06 * n
            hair = march(density, origin, cell, p[0], p[1], p[2], light, 10, 1.5)
            w = cosine * lit[i] * 4.0 / len(lights) * np.exp(-1.6 * hair)
            open_share[i] += w
            for channel in range(3):
                received[i, channel] += w * radiance[k, channel]
    return received, open_share


@compiled
def splat(points, amounts, origin, cell, n):
    """Amounts [N] summed in the cells of a grid [n, n, n] that points [N, 3] fall in."""
    grid = np.zeros((n, n, n), np.float32)
    for p in range(len(points)):
        i = int(np.floor((points[p, 0] - origin[0]) / cell))
        j = int(np.floor((points[p, 1] - origin[1]) / cell))
        k = int(np.floor((points[p, 2] - origin[2]) / cell))
        if i >= 0 and j >= 0 and k >= 0 and i < n and j < n and k < n:
            grid[i, j, k] += amounts[p]
    return grid


@compiled
def draw_segments(start, end, colour0, colour1, width, alpha, order, depth, bias, canvas):
    """Blend line segments in `order` (far to near) over canvas [S, S, 4] (premultiplied RGB, alpha).

    start, end: [N, 3] x, y in pixels, depth; width: pixels, below 1 it thins `alpha` instead. A segment is hidden where
    the mesh (`depth`) is nearer by more than `bias`.
    """
    side = depth.shape[0]
    for o in order:
        ax, ay, bx, by = start[o, 0], start[o, 1], end[o, 0], end[o, 1]
        half = max(width[o], 1.0) / 2
        peak = alpha[o] * min(1.0, width[o])
        x0, x1 = max(0, int(min(ax, bx) - half - 0.5)), min(side - 1, int(max(ax, bx) + half + 0.5))
        y0, y1 = max(0, int(min(ay, by) - half - 0.5)), min(side - 1, int(max(ay, by) + half + 0.5))
        dx, dy = bx - ax, by - ay
        length2 = dx * dx + dy * dy + 1e-9
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                t = min(1.0, max(0.0, ((x + 0.5 - ax) * dx + (y + 0.5 - ay) * dy) / length2))
                ex, ey = x + 0.5 - ax - t * dx, y + 0.5 - ay - t * dy
                cover = half + 0.5 - np.sqrt(ex * ex + ey * ey)
                if cover <= 0 or start[o, 2] + t * (end[o, 2] - start[o, 2]) > depth[y, x] + bias:
                    continue
                a = peak * min(1.0, cover)
                for c in range(3):
                    paint = colour0[o, c] + t * (colour1[o, c] - colour0[o, c])
                    canvas[y, x, c] = canvas[y, x, c] * (1 - a) + a * paint
                canvas[y, x, 3] = canvas[y, x, 3] * (1 - a) + a


@compiled
def value_noise(volume, points, frequency):
    """Smooth noise [N] at points [N, 3], mean 0, variance about 1, `frequency` bumps a dm.

    volume: [n, n, n] standard normal values, n a power of 2; it repeats.
    """
    last = volume.shape[0] - 1
    value = np.zeros(len(points), np.float32)
    for i in range(len(points)):
        x, y, z = points[i, 0] * frequency + 900, points[i, 1] * frequency + 900, points[i, 2] * frequency + 900
        a, b, c = int(x), int(y), int(z)
        u, v, w = x - a, y - b, z - c
        u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
        a0, b0, c0 = a & last, b & last, c & last
        a1, b1, c1 = (a + 1) & last, (b + 1) & last, (c + 1) & last
        near = volume[a0, b0, c0] * (1 - u) + volume[a1, b0, c0] * u
        far = volume[a0, b1, c0] * (1 - u) + volume[a1, b1, c0] * u
        low = near * (1 - v) + far * v
        near = volume[a0, b0, c1] * (1 - u) + volume[a1, b0, c1] * u
        far = volume[a0, b1, c1] * (1 - u) + volume[a1, b1, c1] * u
        value[i] = 2.0 * (low * (1 - w) + (near * (1 - v) + far * v) * w)
    return value


@compiled
def crease_field(points, lines):
    """Depth [N] and slope [N, 2] (along x, y) of grooves on the face.

    points: [N, 2] of the rest face; lines: [L, 6] segments as x0, y0, x1, y1, depth, width (dm), Gaussian profile.
    Along one polyline the deepest segment counts at its joints as well (distance to the segment).
    """
    depth = np.zeros(len(points), np.float32)
    slope = np.zeros((len(points), 2), np.float32)
    for k in range(len(lines)):
        ax, ay, bx, by, deep, width = lines[k]
        dx, dy = bx - ax, by - ay
        length2 = dx * dx + dy * dy + 1e-12
        reach = 3 * width
        for i in range(len(points)):
            px, py = points[i, 0] - ax, points[i, 1] - ay
            t = min(1.0, max(0.0, (px * dx + py * dy) / length2))
            ex, ey = px - t * dx, py - t * dy
            if abs(ex) > reach or abs(ey) > reach:
                continue
            g = deep * np.exp(-(ex * ex + ey * ey) / (2 * width * width))
            if g > depth[i]:
                depth[i] = g
                slope[i, 0], slope[i, 1] = -ex / width * g, -ey / width * g
    return depth, slope
