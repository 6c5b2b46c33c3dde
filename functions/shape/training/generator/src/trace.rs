//! What a camera sees of a scene from the front, and where the same rays leave it at the back.
//!
//! The camera looks along -z at a square from -1 to 1 around the origin of its space. A ray is followed by z:
//! at z it is at (x, y) times 1 - z / distance of the camera, so that parallel and central views are one.

use crate::lanes::{LANES, Lanes, Places};
use crate::scene::{Scene, Seen, Stand, distance, nearest};

/// Steps of a ray from one side; what has not arrived by then has missed.
const STEPS_MAX: usize = 72;
/// Share of a distance that is stepped: some solids' distances are a little too long.
const STEP_SHARE: f32 = 0.9;
/// Distance at which a ray has arrived.
const ARRIVED: f32 = 2e-3;
/// Rays of a tile: this many squared.
const TILE: usize = 4;

/// How the camera looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Camera {
    pub(crate) stand: Stand,
    /// One over its distance from the origin; zero: parallel rays.
    pub(crate) nearness: f32,
}

/// One pixel's ray.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    /// Signed distance from the silhouette, pixels, positive inside; exact near it only.
    pub(crate) inside_px: f32,
    /// z where the ray enters and leaves.
    pub(crate) front: f32,
    pub(crate) back: f32,
    /// Where it enters, what is there, and the normal; the camera's space.
    pub(crate) part: usize,
    pub(crate) normal: [f32; 3],
    /// How much of the sky the place sees, 0 to 1.
    pub(crate) open: f32,
}

/// A ray that hits nothing at all.
const MISSED: Hit =
    Hit { inside_px: -9.0, front: 0.0, back: 0.0, part: usize::MAX, normal: [0.0, 0.0, 1.0], open: 1.0 };

/// All pixels of a picture, row by row from the top. `whole`: with normals and backs, else the silhouette.
pub(crate) fn picture(scene: &Scene, camera: &Camera, side: usize, whole: bool) -> Vec<Hit> {
    let seen = scene.seen(&camera.stand);
    let mut hits = vec![MISSED; side * side];
    for top in (0..side).step_by(TILE) {
        for left in (0..side).step_by(TILE) {
            let tile = Tile::new(camera, side, [left, top], &seen);
            if !tile.parts.is_empty() {
                tile.trace(&mut hits, whole);
            }
        }
    }
    hits
}

struct Tile<'a> {
    camera: &'a Camera,
    side: usize,
    corner: [usize; 2],
    /// Parts that its rays may meet.
    parts: Vec<&'a Seen<'a>>,
    numbers: Vec<usize>,
    /// Between these z all of them lie.
    range: [f32; 2],
    rays: [Lanes; 2],
    /// Length of a ray per length along z.
    slant: Lanes,
}

impl<'a> Tile<'a> {
    fn new(camera: &'a Camera, side: usize, corner: [usize; 2], seen: &'a [Seen<'a>]) -> Tile<'a> {
        let pixel = 2.0 / side as f32;
        let middle = [0, 1].map(|k| (corner[k] + TILE / 2) as f32 * pixel - 1.0);
        let middle = [middle[0], -middle[1]];
        let meets = |part: &Seen<'_>| {
            let width = 1.0 - part.centre[2] * camera.nearness;
            let gap = [0, 1].map(|k| middle[k] * width - part.centre[k]);
            // Half of a tile's diagonal, two pixels around, and the slant of rays within a part's ball.
            let reach = part.radius * (1.0 + camera.nearness) + pixel * (TILE as f32 * 0.71 + 2.0);
            gap[0].hypot(gap[1]) < reach
        };
        let (numbers, parts): (Vec<usize>, Vec<&Seen<'_>>) =
            seen.iter().enumerate().filter(|(_, part)| meets(part)).unzip();
        let solid = parts.iter().filter(|seen| seen.part.join != crate::scene::Join::Cut);
        let range = solid.fold([f32::MAX, f32::MIN], |[low, high], seen| {
            [low.min(seen.centre[2] - seen.radius), high.max(seen.centre[2] + seen.radius)]
        });
        let place = |lane: usize, k: usize| {
            let at = corner[k] + [lane % TILE, lane / TILE][k];
            ((at as f32 + 0.5) * pixel - 1.0) * [1.0, -1.0][k]
        };
        let rays = [0, 1].map(|k| Lanes(std::array::from_fn(|lane| place(lane, k))));
        let squared = (rays[0] * rays[0] + rays[1] * rays[1]) * (camera.nearness * camera.nearness);
        let slant = (squared + 1.0).sqrt();
        // Only parts that are taken away: nothing is there.
        let (parts, numbers) = if range[0] > range[1] { (Vec::new(), Vec::new()) } else { (parts, numbers) };
        Tile { camera, side, corner, parts, numbers, range, rays, slant }
    }

    fn place(&self, z: Lanes) -> Places {
        let width = -(z * self.camera.nearness) + 1.0;
        [self.rays[0] * width, self.rays[1] * width, z]
    }

    /// Distances in the camera's lengths.
    fn distance(&self, p: Places) -> Lanes {
        distance(&self.parts, p) / self.camera.stand.scale
    }

    /// Follows the rays from one side; where they arrive, whether they did, and how near they came.
    fn follow(&self, forward: bool) -> (Lanes, Lanes, Lanes) {
        let [low, high] = self.range;
        let (start, end, way) = if forward { (high, low, -1.0) } else { (low, high, 1.0) };
        let (mut z, mut near) = (Lanes::all(start), Lanes::all(9.0));
        let mut gap = Lanes::all(9.0);
        for _ in 0..STEPS_MAX {
            gap = self.distance(self.place(z));
            near = near.min(gap);
            let step = gap.at_least(0.0) * STEP_SHARE / self.slant * way;
            // Those that have arrived or left stay where they are.
            let left = (z * way - end * way).0;
            let mut moving = false;
            for (k, left) in left.iter().enumerate() {
                if gap.0[k] > ARRIVED && *left < 0.0 {
                    z.0[k] += step.0[k];
                    moving = true;
                }
            }
            if !moving {
                break;
            }
        }
        (z, gap, near)
    }

    fn trace(&self, hits: &mut [Hit], whole: bool) {
        let (front, gap, near) = self.follow(true);
        let pixel = 2.0 / self.side as f32;
        let arrived: [bool; LANES] = std::array::from_fn(|k| gap.0[k] <= 4.0 * ARRIVED);
        let any = arrived.iter().any(|&is| is);
        let (back, middle) = if any {
            let back = self.follow(false).0.min(front);
            (back, self.distance(self.place((front + back) * 0.5)))
        } else {
            (front, front)
        };
        let (normal, open) = if any && whole { self.surface(front) } else { (Places::default(), front) };
        let parts = nearest(&self.parts, self.place(front));
        for k in 0..LANES {
            let [x, y] = [self.corner[0] + k % TILE, self.corner[1] + k / TILE];
            if x >= self.side || y >= self.side {
                continue;
            }
            let hit = &mut hits[y * self.side + x];
            hit.inside_px = -near.0[k].max(0.0) / pixel;
            if arrived[k] {
                let deep = (-middle.0[k]).max((front.0[k] - back.0[k]) * 0.25).max(1e-4);
                *hit = Hit {
                    inside_px: deep / pixel,
                    front: front.0[k],
                    back: back.0[k],
                    part: self.numbers[parts[k]],
                    normal: [0, 1, 2].map(|axis| normal[axis].0[k]),
                    open: open.0[k],
                };
            }
        }
    }

    /// Normals by differences, and how open the places are: how far away the surface is a little outwards.
    fn surface(&self, z: Lanes) -> (Places, Lanes) {
        const CORNERS: [[f32; 3]; 4] =
            [[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, 1.0, 1.0]];
        let p = self.place(z);
        let mut normal = [Lanes::all(0.0); 3];
        for corner in CORNERS {
            let value = self.distance([0, 1, 2].map(|k| p[k] + corner[k] * 2e-3));
            normal = [0, 1, 2].map(|k| normal[k] + value * corner[k]);
        }
        let whole = crate::lanes::length(normal) + 1e-9;
        let normal = normal.map(|side| side / whole);
        let mut open = Lanes::all(1.0);
        for step in [0.06, 0.2] {
            let away = self.distance([0, 1, 2].map(|k| p[k] + normal[k] * step));
            open = open * (away / step).at_least(0.0).at_most(1.0);
        }
        (normal, open)
    }
}
