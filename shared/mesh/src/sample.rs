//! Meshes made from formulas, for the tests of this crate and of those that use it.

use crate::Mesh;

/// An axis-parallel cube.
pub fn cube(centre: [f32; 3], half_side: f32) -> Mesh {
    let corner = |k: usize| {
        let sign = |bit: usize| if k >> bit & 1 == 1 { half_side } else { -half_side };
        [centre[0] + sign(0), centre[1] + sign(1), centre[2] + sign(2)]
    };
    let quads = [[4, 5, 7, 6], [1, 0, 2, 3], [5, 1, 3, 7], [0, 4, 6, 2], [6, 7, 3, 2], [0, 1, 5, 4]];
    let triangles = quads.iter().flat_map(|&[a, b, c, d]| [[a, b, c], [a, c, d]]).collect();
    Mesh { positions: (0..8).map(corner).collect(), triangles, ..Mesh::default() }
}

/// A torus around Y, `major` segments around the axis and `minor` around the tube.
pub fn torus(radius: f32, tube: f32, major: u32, minor: u32) -> Mesh {
    let mut mesh = Mesh::default();
    for i in 0..major {
        for k in 0..minor {
            let (sin_u, cos_u) = (i as f32 / major as f32 * std::f32::consts::TAU).sin_cos();
            let (sin_v, cos_v) = (k as f32 / minor as f32 * std::f32::consts::TAU).sin_cos();
            let ring = radius + tube * cos_v;
            mesh.positions.push([ring * cos_u, tube * sin_v, ring * sin_u]);
            let at = |i: u32, k: u32| (i % major) * minor + k % minor;
            let (a, b, c, d) = (at(i, k), at(i, k + 1), at(i + 1, k + 1), at(i + 1, k));
            mesh.triangles.extend([[a, b, c], [a, c, d]]);
        }
    }
    mesh
}

/// A ball around the origin: `rings` rows of `2 * rings` vertices between two poles on Y. At least 2 rings.
pub fn ball(radius: f32, rings: u32) -> Mesh {
    let columns = 2 * rings;
    let mut mesh = Mesh { positions: vec![[0.0, radius, 0.0], [0.0, -radius, 0.0]], ..Mesh::default() };
    let at = |ring: u32, column: u32| 2 + ring * columns + column % columns;
    for ring in 0..rings {
        let (sin, cos) = ((ring + 1) as f32 / (rings + 1) as f32 * std::f32::consts::PI).sin_cos();
        for column in 0..columns {
            let (east, north) = (column as f32 / columns as f32 * std::f32::consts::TAU).sin_cos();
            mesh.positions.push([radius * sin * east, radius * cos, radius * sin * north]);
            if ring == 0 {
                mesh.triangles.push([0, at(0, column), at(0, column + 1)]);
            } else {
                let (a, b) = (at(ring - 1, column), at(ring, column));
                let (c, d) = (at(ring, column + 1), at(ring - 1, column + 1));
                mesh.triangles.extend([[a, b, c], [a, c, d]]);
            }
            if ring == rings - 1 {
                mesh.triangles.push([1, at(ring, column + 1), at(ring, column)]);
            }
        }
    }
    mesh
}
