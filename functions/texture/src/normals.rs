//! Normal map: what the dense surface looked like before decimation, baked for the faces that are left.
//!
//! A chart is seen along one axis, so that dense and decimated surface are laid over each other by looking
//! at both from there: a texel takes the normal of the dense surface that is nearest to its own depth.

use crate::bake::{Canvas, cover};
use crate::unwrap::{Placed, Unwrapped};
use mesh::Mesh;
use mesh::geometry::{dot, face_normal};
use mesh::tangent::{Frame, encoded, frame, tangents};

/// Dense faces that look less than this (cosine) to a chart's side are seen too edgewise to be heard.
const SEEN_COSINE_MIN: f32 = 0.03;
/// How far apart both surfaces may be along the chart's axis, metres: decimation moves by 0.002 where it
/// can, and a slope of one in six multiplies that.
const REACH_METRES: f32 = 0.02;
/// No triangle of the mesh covers the texel.
const NOTHING: u32 = u32::MAX;

/// The texture, in the tangent space of the unwrapped mesh, complete up to the last texel. The dense mesh
/// has normals.
pub fn baked(unwrapped: &Unwrapped, dense: &Mesh, side_px: u32) -> Canvas {
    let side = side_px as usize;
    let mut texels = Texels::of(unwrapped, side);
    for chart in &unwrapped.charts {
        for &triangle in &dense.triangles {
            texels.see(chart, dense, triangle);
        }
    }
    let mesh = &unwrapped.mesh;
    let tangents = tangents(mesh);
    let frames: Vec<Frame> =
        tangents.iter().zip(&mesh.normals).map(|(tangent, normal)| frame(*tangent, *normal)).collect();
    let mut canvas = Canvas::new(side_px);
    for (number, &triangle) in (0_u32..).zip(&mesh.triangles) {
        let corners = triangle.map(|index| frames[index as usize]);
        cover(side, texel_uvs(mesh, triangle, side), |at, weights| {
            if texels.owner[at] == number {
                let frame = mixed(&corners, weights);
                let direction = texels.found[at].unwrap_or(frame[2]);
                canvas.set(at, encoded(direction, &frame));
            }
        });
    }
    canvas.dilate();
    canvas
}

/// For each texel which triangle owns it, how near that is to its chart's side, and what was seen there.
struct Texels {
    side: usize,
    owner: Vec<u32>,
    nearness: Vec<f32>,
    /// Least distance along the axis of what was found.
    distance: Vec<f32>,
    found: Vec<Option<[f32; 3]>>,
}

impl Texels {
    fn of(unwrapped: &Unwrapped, side: usize) -> Texels {
        let mut texels = Texels {
            side,
            owner: vec![NOTHING; side * side],
            nearness: vec![0.0; side * side],
            distance: vec![REACH_METRES; side * side],
            found: vec![None; side * side],
        };
        let mesh = &unwrapped.mesh;
        for chart in &unwrapped.charts {
            for number in chart.triangles.clone() {
                let triangle = mesh.triangles[number];
                let near = mesh.corners(triangle).map(|corner| chart.side.nearness(corner));
                cover(side, texel_uvs(mesh, triangle, side), |at, weights| {
                    texels.owner[at] = number as u32;
                    texels.nearness[at] = dot(near, weights);
                });
            }
        }
        texels
    }

    /// Looks at a dense face from a chart's side.
    fn see(&mut self, chart: &Placed, dense: &Mesh, triangle: [u32; 3]) {
        let corners = dense.corners(triangle);
        let normal = face_normal(corners);
        if chart.side.cosine(normal) <= SEEN_COSINE_MIN * dot(normal, normal).sqrt() {
            return;
        }
        let near = corners.map(|corner| chart.side.nearness(corner));
        let normals = triangle.map(|index| dense.normals[index as usize]);
        let (own, side) = (chart.triangles.start as u32..chart.triangles.end as u32, self.side);
        cover(side, corners.map(|corner| chart.texel(corner)), |at, weights| {
            let distance = (dot(near, weights) - self.nearness[at]).abs();
            if own.contains(&self.owner[at]) && distance < self.distance[at] {
                self.distance[at] = distance;
                let sum = |k: usize| (0..3).map(|corner| weights[corner] * normals[corner][k]).sum();
                self.found[at] = Some([sum(0), sum(1), sum(2)]);
            }
        });
    }
}

fn texel_uvs(mesh: &Mesh, triangle: [u32; 3], side: usize) -> [[f32; 2]; 3] {
    triangle.map(|index| mesh.uvs[index as usize].map(|value| value * side as f32))
}

/// The frame between three, as a viewer interpolates it: not unit any more.
fn mixed(corners: &[Frame; 3], weights: [f32; 3]) -> Frame {
    let mix = |axis: usize, k: usize| (0..3).map(|corner| weights[corner] * corners[corner][axis][k]).sum();
    [0, 1, 2].map(|axis| [0, 1, 2].map(|k| mix(axis, k)))
}
