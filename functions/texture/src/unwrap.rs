//! The mesh with texture coordinates: charts packed, vertices doubled along the seams, nothing moved.

use crate::charts::{Chart, Side, cut};
use crate::pack::pack;
use mesh::Mesh;
use std::ops::Range;

/// A mesh that can carry a texture.
pub struct Unwrapped {
    /// With normals and texture coordinates; merged by position it is the original.
    pub mesh: Mesh,
    /// Which vertex of the original each vertex is.
    pub origin: Vec<u32>,
    /// Side of a texel on the surface, metres.
    pub texel_metres: f32,
    /// The charts in the order of their triangles.
    pub charts: Vec<Placed>,
}

/// A chart in the texture.
#[derive(Clone, Debug)]
pub struct Placed {
    /// From where it is seen.
    pub side: Side,
    /// Its triangles.
    pub triangles: Range<usize>,
    /// What is seen at its upper left corner, metres, and where that is, texels.
    corner: ([f32; 2], [f32; 2]),
    texels_per_metre: f32,
}

impl Placed {
    /// Where the chart shows a point, texels.
    pub fn texel(&self, point: [f32; 3]) -> [f32; 2] {
        let ((low, place), seen) = (self.corner, self.side.project(point));
        [0, 1].map(|k| place[k] + (seen[k] - low[k]) * self.texels_per_metre)
    }
}

/// Texels around each chart: what two mip levels below the smallest preset need.
pub fn padding(side_px: u32) -> u32 {
    (side_px / 256).max(2)
}

/// Cuts, packs and doubles. The mesh must have passed `check` and have normals. None if its charts are so
/// many that not even their padding fits.
pub fn unwrap(mesh: &Mesh, side_px: u32) -> Option<Unwrapped> {
    let charts = cut(mesh);
    let boxes: Vec<[[f32; 2]; 2]> = charts.iter().map(|chart| bounds(mesh, chart)).collect();
    let sizes: Vec<[f32; 2]> = boxes.iter().map(|[low, high]| [high[0] - low[0], high[1] - low[1]]).collect();
    let packing = pack(&sizes, side_px, padding(side_px))?;
    let mut result = Mesh::default();
    let mut origin = Vec::with_capacity(mesh.positions.len() * 5 / 4);
    // The chart in which each vertex was last met, and its number there.
    let mut met = vec![(usize::MAX, 0_u32); mesh.positions.len()];
    let mut placed = Vec::with_capacity(charts.len());
    for (number, chart) in charts.iter().enumerate() {
        let begins = result.triangles.len();
        let shown = Placed {
            side: chart.side,
            triangles: begins..begins + chart.faces.len(),
            corner: (boxes[number][0], packing.places[number].map(|texel| texel as f32 + 0.5)),
            texels_per_metre: packing.scale,
        };
        for &face in &chart.faces {
            let triangle = mesh.triangles[face as usize].map(|index| {
                let slot = &mut met[index as usize];
                if slot.0 != number {
                    *slot = (number, origin.len() as u32);
                    origin.push(index);
                    let position = mesh.positions[index as usize];
                    result.positions.push(position);
                    result.normals.push(mesh.normals[index as usize]);
                    result.uvs.push(shown.texel(position).map(|texel| texel / side_px as f32));
                }
                slot.1
            });
            result.triangles.push(triangle);
        }
        placed.push(shown);
    }
    Some(Unwrapped { mesh: result, origin, texel_metres: 1.0 / packing.scale, charts: placed })
}

fn bounds(mesh: &Mesh, chart: &Chart) -> [[f32; 2]; 2] {
    let corners = chart.faces.iter().flat_map(|&face| mesh.triangles[face as usize]);
    let seen = corners.map(|index| chart.side.project(mesh.positions[index as usize]));
    seen.fold([[f32::INFINITY; 2], [f32::NEG_INFINITY; 2]], |[low, high], p| {
        [[0, 1].map(|k| low[k].min(p[k])), [0, 1].map(|k| high[k].max(p[k]))]
    })
}
