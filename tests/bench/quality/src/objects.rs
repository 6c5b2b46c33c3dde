//! The objects: things as people photograph them, made of solids, so that they carry no licence.

use crate::solids::{P, all, at, ball, capsule, cuboid, cylinder, grown, ring, turned, without};
use mesh::smooth::vertex_normals;
use mesh::{Mesh, check};
use shape::engine::Surface;
use shape::{Field, mesher};

/// Points of the field along each axis: edges of a hundredth of the object.
const SIDE: usize = 160;
/// Half of what the field covers.
const REACH: f32 = 1.1;

/// A thing.
pub(crate) struct Object {
    pub(crate) name: &'static str,
    solid: fn(P) -> f32,
}

impl Object {
    /// Its surface, closed, with normals.
    pub(crate) fn mesh(&self) -> Mesh {
        let pitch = 2.0 * REACH / (SIDE - 1) as f32;
        let place = |n: usize| n as f32 * pitch - REACH;
        let value =
            |k: usize| (self.solid)([place(k % SIDE), place(k / SIDE % SIDE), place(k / SIDE / SIDE)]);
        let values = (0..SIDE * SIDE * SIDE).map(value).collect();
        let field = Field { size: [SIDE; 3], values, origin: [-REACH; 3], pitch };
        let mut mesh = mesher::surface(&Surface::Field(field));
        check::check(&mesh).expect("a solid's surface is closed");
        mesh.normals = vertex_normals(&mesh);
        mesh
    }
}

/// All there are.
pub(crate) const ALL: [Object; 14] = [
    Object { name: "ball", solid: |p| ball(p, 0.8) },
    Object { name: "box", solid: |p| cuboid(p, [0.7, 0.5, 0.4], 0.06) },
    Object { name: "mug", solid: mug },
    Object { name: "vase", solid: |p| turned(p, &[0.3, 0.34, 0.45, 0.56, 0.6, 0.5, 0.33, 0.22, 0.2, 0.3]) },
    Object {
        name: "bottle",
        solid: |p| turned(p, &[0.3, 0.32, 0.32, 0.32, 0.32, 0.3, 0.2, 0.11, 0.1, 0.12]),
    },
    Object { name: "chair", solid: chair },
    Object { name: "lamp", solid: lamp },
    Object { name: "figure", solid: figure },
    Object { name: "car", solid: car },
    Object { name: "duck", solid: duck },
    Object { name: "ring", solid: |p| ring(p, 0.6, 0.25) },
    Object { name: "star", solid: star },
    Object { name: "mushroom", solid: mushroom },
    Object { name: "shoe", solid: shoe },
];

fn mug(p: P) -> f32 {
    let body = at(p, [-0.15, 0.0, 0.0]);
    let shell =
        without(cylinder(body, 0.55, 0.7, 0.05), cylinder(at(body, [0.0, 0.2, 0.0]), 0.47, 0.72, 0.05));
    let handle = ring(at(p, [0.4, 0.0, 0.0]), 0.38, 0.09);
    // The handle is outside of the body only.
    all(&[shell, without(handle, cylinder(body, 0.5, 0.7, 0.0))])
}

fn chair(p: P) -> f32 {
    let leg = |x: f32, z: f32| cuboid(at(p, [x, -0.5, z]), [0.06, 0.45, 0.06], 0.02);
    let seat = cuboid(at(p, [0.0, -0.05, 0.0]), [0.45, 0.07, 0.45], 0.03);
    let back = cuboid(at(p, [0.0, 0.45, -0.4]), [0.42, 0.5, 0.06], 0.03);
    all(&[seat, back, leg(0.37, 0.37), leg(-0.37, 0.37), leg(0.37, -0.37), leg(-0.37, -0.37)])
}

fn lamp(p: P) -> f32 {
    let shade = turned(at(p, [0.0, 0.55, 0.0]), &[0.0, 0.0, 0.0, 0.0, 0.65, 0.52, 0.39, 0.26]);
    let shade = without(shade, (p[1] - 0.95).max(0.35 - p[1]));
    let foot = cylinder(at(p, [0.0, -0.9, 0.0]), 0.4, 0.07, 0.04);
    all(&[shade, foot, cylinder(at(p, [0.0, -0.2, 0.0]), 0.06, 0.7, 0.0)])
}

fn figure(p: P) -> f32 {
    let body = capsule(p, [0.0, -0.1, 0.0], [0.0, 0.35, 0.0], 0.24);
    let head = ball(at(p, [0.0, 0.78, 0.03]), 0.2);
    let limb = |from: P, to: P| capsule(p, from, to, 0.1);
    let arms = all(&[limb([0.2, 0.35, 0.0], [0.55, 0.0, 0.15]), limb([-0.2, 0.35, 0.0], [-0.5, 0.6, 0.1])]);
    let legs =
        all(&[limb([0.12, -0.2, 0.0], [0.18, -0.9, 0.05]), limb([-0.12, -0.2, 0.0], [-0.18, -0.9, -0.1])]);
    grown(grown(body, all(&[arms, legs]), 0.12), head, 0.08)
}

fn car(p: P) -> f32 {
    let wheel = |x: f32, z: f32| {
        let [x, y, z] = at(p, [x, -0.28, z]);
        cylinder([x, z, y], 0.2, 0.08, 0.03)
    };
    let body = cuboid(at(p, [0.0, -0.1, 0.0]), [0.95, 0.18, 0.4], 0.1);
    let cabin = cuboid(at(p, [-0.1, 0.16, 0.0]), [0.5, 0.2, 0.34], 0.12);
    let wheels = [wheel(0.58, 0.36), wheel(0.58, -0.36), wheel(-0.58, 0.36), wheel(-0.58, -0.36)];
    grown(body, cabin, 0.06).max(all(&wheels))
}

fn duck(p: P) -> f32 {
    let body = cuboid(at(p, [-0.1, -0.3, 0.0]), [0.65, 0.36, 0.42], 0.35);
    let head = ball(at(p, [0.4, 0.35, 0.0]), 0.33);
    let beak = cuboid(at(p, [0.78, 0.28, 0.0]), [0.16, 0.05, 0.13], 0.04);
    let tail = capsule(p, [-0.6, -0.2, 0.0], [-0.85, 0.1, 0.0], 0.1);
    all(&[grown(grown(body, head, 0.25), tail, 0.2), beak])
}

fn star(p: P) -> f32 {
    let angle = p[0].atan2(p[1]);
    let radius = 0.62 + 0.25 * (5.0 * angle).cos();
    (0.7 * (radius - p[0].hypot(p[1]))).min(0.18 - p[2].abs())
}

fn mushroom(p: P) -> f32 {
    let cap = ball([p[0], (p[1] - 0.2) * 1.5, p[2]], 0.8).min(p[1] - 0.15);
    grown(cap, capsule(p, [0.0, -0.75, 0.0], [0.05, 0.2, 0.0], 0.2), 0.1)
}

fn shoe(p: P) -> f32 {
    let sole = cuboid(at(p, [0.0, -0.42, 0.0]), [0.9, 0.08, 0.3], 0.07);
    let toe = ball([(p[0] - 0.45) * 0.62, (p[1] + 0.3) * 1.1, p[2]], 0.29);
    let heel = cuboid(at(p, [-0.45, -0.05, 0.0]), [0.4, 0.42, 0.27], 0.2);
    let upper = grown(toe, heel, 0.35);
    all(&[sole, without(upper, cuboid(at(p, [-0.5, 0.5, 0.0]), [0.26, 0.6, 0.18], 0.1))])
}
