"""Draws the demo's sample pictures: run it with the Python of `infra/tools.py path mesh-python`. The result is committed.

Every shape is a signed distance in the plane; its height is a rounded inflation of that distance, lit by one lamp from the upper
left. Procedural, so nobody else's art is in it.
"""

import pathlib
import numpy as np
from PIL import Image

SIDE, OVER = 640, 2
N = SIDE * OVER
Y, X = np.mgrid[0:N, 0:N].astype(np.float32)
X, Y = (X - N / 2) / (N / 2), (N / 2 - Y) / (N / 2)  # -1..1, y up
HERE = pathlib.Path(__file__).parent


def circle(cx, cy, r):
    return np.hypot(X - cx, Y - cy) - r


def ellipse(cx, cy, rx, ry):
    return (np.hypot((X - cx) / rx, (Y - cy) / ry) - 1) * min(rx, ry)


def box(cx, cy, hx, hy, r):
    dx, dy = np.abs(X - cx) - hx + r, np.abs(Y - cy) - hy + r
    return np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - r


def capsule(ax, ay, bx, by, r):
    px, py, vx, vy = X - ax, Y - ay, bx - ax, by - ay
    t = np.clip((px * vx + py * vy) / (vx * vx + vy * vy), 0, 1)
    return np.hypot(px - t * vx, py - t * vy) - r


def smooth(a, b, k):
    h = np.clip(0.5 + 0.5 * (b - a) / k, 0, 1)
    return b + (a - b) * h - k * h * (1 - h)


class Canvas:
    def __init__(self):
        self.rgb, self.a = np.zeros((N, N, 3), np.float32), np.zeros((N, N), np.float32)

    def add(self, d, colour, round_=0.35, shine=0.35, lift=0.0):
        inside = np.clip(-d, 0, round_)
        t = 1 - inside / round_
        height = round_ * np.sqrt(np.clip(1 - t * t, 0, 1)) + lift
        gy, gx = np.gradient(height, 2 / N)
        normal = np.stack([-gx, gy, np.ones_like(gx)], -1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        lamp = np.array([-0.45, 0.55, 0.72])
        lamp /= np.linalg.norm(lamp)
        diffuse = np.clip(normal @ lamp, 0, 1)
        half = lamp + np.array([0, 0, 1])
        half /= np.linalg.norm(half)
        spot = np.clip(normal @ half, 0, 1) ** 40 * shine
        colour = colour if isinstance(colour, np.ndarray) else np.broadcast_to(np.array(colour, np.float32), (N, N, 3))
        lit = colour * (0.38 + 0.68 * diffuse[..., None]) + spot[..., None]
        cover = np.clip(0.5 - d * N / 4, 0, 1)[..., None]
        self.rgb = self.rgb * (1 - cover) + np.clip(lit, 0, 1) * cover
        self.a = np.maximum(self.a, cover[..., 0])
        return self

    def image(self, ground=None):
        rgba = np.dstack([self.rgb * 255, self.a * 255])
        if ground is not None:
            flat = self.rgb * self.a[..., None] + np.array(ground) / 255 * (1 - self.a[..., None])
            rgba = np.dstack([flat * 255, np.full((N, N), 255)])
        premultiplied = rgba.copy()
        premultiplied[..., :3] *= rgba[..., 3:] / 255
        small = premultiplied.reshape(SIDE, OVER, SIDE, OVER, 4).mean((1, 3))
        alpha = np.maximum(small[..., 3:], 1e-3)
        small[..., :3] = small[..., :3] * 255 / alpha
        return Image.fromarray(np.clip(small + 0.5, 0, 255).astype(np.uint8), "RGBA")


def two(mask, one, other):
    return np.where(mask[..., None], np.array(one, np.float32), np.array(other, np.float32))


def mug():
    c = Canvas()
    ring = np.abs(ellipse(0.42, -0.02, 0.3, 0.34)) - 0.075
    c.add(ring, (0.82, 0.2, 0.16), 0.075)
    body = box(-0.12, -0.03, 0.5, 0.6, 0.12)
    stripe = two(np.abs(Y + 0.03) < 0.13, (0.97, 0.93, 0.85), (0.82, 0.2, 0.16))
    dots = np.hypot((X + 0.12 + 0.15) % 0.3 - 0.15, Y + 0.03) < 0.06
    return c.add(body, np.where(dots[..., None], np.float32([0.13, 0.36, 0.55]), stripe), 0.42)


def rocket():
    c = Canvas()
    for side in (-1, 1):
        c.add(capsule(side * 0.2, -0.42, side * 0.4, -0.72, 0.1), (0.86, 0.24, 0.2), 0.1)
    c.add(smooth(ellipse(0, -0.78, 0.13, 0.16), circle(0, -0.62, 0.1), 0.05), (0.98, 0.7, 0.2), 0.12)
    hull = np.maximum(ellipse(0, -0.1, 0.32, 0.98), -(Y + 0.66))
    paint = two(Y > 0.42, (0.86, 0.24, 0.2), (0.93, 0.94, 0.96))
    paint = np.where((np.abs(Y + 0.42) < 0.05)[..., None], np.float32([0.16, 0.32, 0.6]), paint)
    c.add(hull, paint, 0.3)
    c.add(circle(0, 0.14, 0.15), (0.16, 0.32, 0.6), 0.06, lift=0.02)
    return c.add(circle(0, 0.14, 0.1), (0.5, 0.85, 0.96), 0.1, 0.9)


def cactus():
    c = Canvas()
    ribs = 0.06 * np.cos(X * 60)[..., None]
    green = np.clip(np.array([0.25, 0.6, 0.3], np.float32) + ribs.astype(np.float32), 0, 1)
    stem = capsule(0, -0.3, 0, 0.55, 0.24)
    left = smooth(capsule(-0.15, -0.05, -0.45, -0.05, 0.11), capsule(-0.45, -0.05, -0.45, 0.26, 0.11), 0.06)
    right = smooth(capsule(0.15, 0.1, 0.42, 0.1, 0.1), capsule(0.42, 0.1, 0.42, 0.46, 0.1), 0.06)
    c.add(left, green, 0.11).add(right, green, 0.1).add(stem, green, 0.24)
    c.add(circle(0.03, 0.79, 0.09), (0.95, 0.45, 0.62), 0.09)
    pot = np.maximum(box(0, -0.62, 0.36 + 0.0, 0.28, 0.05), np.abs(X) - (0.40 + 0.22 * (Y + 0.62)))
    c.add(pot, (0.78, 0.42, 0.25), 0.3)
    return c.add(box(0, -0.38, 0.43, 0.08, 0.05), (0.85, 0.48, 0.3), 0.08)


def pear():
    c = Canvas()
    c.add(capsule(0.02, 0.5, 0.1, 0.82, 0.035), (0.4, 0.27, 0.15), 0.035)
    leaf = np.maximum(circle(0.26, 0.58, 0.24), circle(0.3, 0.92, 0.24))
    c.add(leaf, (0.3, 0.6, 0.24), 0.06)
    body = smooth(circle(0, -0.28, 0.52), circle(0.02, 0.3, 0.27), 0.35)
    blush = np.clip(0.9 - np.hypot(X - 0.35, Y + 0.25), 0, 1)[..., None].astype(np.float32)
    colour = np.array([0.78, 0.8, 0.25], np.float32) * (1 - 0.7 * blush) + np.array([0.9, 0.42, 0.2], np.float32) * 0.7 * blush
    return c.add(body, colour, 0.5)


def duck():
    c = Canvas()
    beak = smooth(ellipse(0.63, 0.33, 0.19, 0.06), ellipse(0.6, 0.25, 0.14, 0.05), 0.03)
    c.add(beak, (0.95, 0.52, 0.12), 0.06)
    tail = capsule(-0.62, -0.2, -0.8, 0.06, 0.1)
    body = smooth(ellipse(-0.12, -0.35, 0.66, 0.4), tail, 0.12)
    c.add(smooth(body, circle(0.28, 0.34, 0.3), 0.16), (0.98, 0.82, 0.2), 0.34)
    c.add(smooth(ellipse(-0.2, -0.3, 0.34, 0.2), capsule(-0.4, -0.26, -0.58, -0.12, 0.07), 0.1), (0.93, 0.72, 0.14), 0.12, 0.2)
    c.add(circle(0.38, 0.44, 0.062), (0.98, 0.98, 0.98), 0.03, lift=0.01)
    return c.add(circle(0.395, 0.44, 0.036), (0.05, 0.05, 0.07), 0.036, 0.9)


if __name__ == "__main__":
    mug().image().save(HERE / "mug.png", optimize=True)
    rocket().image().save(HERE / "rocket.png", optimize=True)
    cactus().image((238, 236, 230)).convert("RGB").save(HERE / "cactus.jpg", quality=90)
    pear().image().save(HERE / "pear.webp", lossless=False, quality=88)
    duck().image((196, 214, 226)).convert("RGB").save(HERE / "duck.png", optimize=True)
    (HERE / "not-a-picture.png").write_text("A shopping list is no picture, whatever its name says: milk, bread, a 3D model.\n")
