//! First step of texturing: the surface cut into few charts, each seen from one of six sides.
//!
//! Front and back take all that they see at less than about 60 degrees; what remains, the band along the
//! silhouette, falls to the four other sides. A chart is projected along its side's axis, so that it is
//! stretched at most twofold, except in some percent of a surface: where a border was smoothed, or a crumb of
//! a chart had to go somewhere.

use mesh::Mesh;
use mesh::geometry::{face_normal, unit};

/// Front and back win over a side up to this factor.
const FRONT_BIAS: f32 = 1.7;
/// Passes in which a face follows two of its three neighbours, so that the borders between charts are smooth.
const SMOOTHING_PASSES: u32 = 4;
/// A face may follow only to a side that sees it at all.
const SEEN_COSINE_MIN: f32 = 0.15;
/// Charts with fewer faces, or a smaller share of them, join a neighbour.
const FACES_MIN: usize = 12;
const SHARE_MIN: f32 = 0.001;

/// A direction from which a chart is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side(u8);

impl Side {
    const ALL: [Side; 6] = [Side(0), Side(1), Side(2), Side(3), Side(4), Side(5)];

    /// How much a normal faces this side: +Z, -Z, +X, -X, +Y, -Y.
    pub fn cosine(self, normal: [f32; 3]) -> f32 {
        self.nearness(normal)
    }

    /// How near a point is to this side, metres.
    pub fn nearness(self, point: [f32; 3]) -> f32 {
        let value = point[[2, 0, 1][usize::from(self.0 / 2)]];
        if self.0.is_multiple_of(2) { value } else { -value }
    }

    /// Right and down as seen from this side, metres.
    pub fn project(self, [x, y, z]: [f32; 3]) -> [f32; 2] {
        match self.0 {
            0 => [x, -y],
            1 => [-x, -y],
            2 => [-z, -y],
            3 => [z, -y],
            4 => [x, z],
            _ => [x, -z],
        }
    }
}

/// A connected part of the surface and the side it is seen from.
#[derive(Clone, Debug)]
pub struct Chart {
    /// From where.
    pub side: Side,
    /// Its faces, as indices of triangles.
    pub faces: Vec<u32>,
}

/// Every face in exactly one chart. The mesh must have passed `check`.
pub fn cut(mesh: &Mesh) -> Vec<Chart> {
    let neighbours = neighbours(&mesh.triangles);
    let normals: Vec<[f32; 3]> =
        mesh.triangles.iter().map(|&triangle| unit(face_normal(mesh.corners(triangle)))).collect();
    let mut sides: Vec<Side> = mesh.triangles.iter().map(|&triangle| facing(mesh, triangle)).collect();
    for _ in 0..SMOOTHING_PASSES {
        sides = (0..sides.len()).map(|face| followed(face, &sides, &neighbours, &normals)).collect();
    }
    let charts = connected(&sides, &neighbours);
    merge_small(charts, &mut sides, &neighbours, &normals)
}

/// The three faces across each face's edges.
fn neighbours(triangles: &[[u32; 3]]) -> Vec<[u32; 3]> {
    let mut halves = Vec::with_capacity(triangles.len() * 3);
    for (face, &[a, b, c]) in triangles.iter().enumerate() {
        for (k, (from, to)) in [(a, b), (b, c), (c, a)].into_iter().enumerate() {
            halves.push((u64::from(from.min(to)) << 32 | u64::from(from.max(to)), (face * 3 + k) as u32));
        }
    }
    halves.sort_unstable();
    let mut found: Vec<[u32; 3]> = (0..triangles.len() as u32).map(|face| [face; 3]).collect();
    for pair in halves.chunks_exact(2) {
        let (one, other) = (pair[0].1 as usize, pair[1].1 as usize);
        found[one / 3][one % 3] = (other / 3) as u32;
        found[other / 3][other % 3] = (one / 3) as u32;
    }
    found
}

fn facing(mesh: &Mesh, triangle: [u32; 3]) -> Side {
    // The mean of the corners' normals is calmer than the face's own.
    let normal = [0, 1, 2].map(|axis| triangle.iter().map(|&k| mesh.normals[k as usize][axis]).sum::<f32>());
    let weighed = |side: Side| side.cosine(normal) * if side.0 < 2 { FRONT_BIAS } else { 1.0 };
    let best =
        Side::ALL.into_iter().reduce(|best, side| if weighed(side) > weighed(best) { side } else { best });
    best.unwrap_or(Side(0))
}

fn followed(face: usize, sides: &[Side], neighbours: &[[u32; 3]], normals: &[[f32; 3]]) -> Side {
    let [a, b, c] = neighbours[face].map(|near| sides[near as usize]);
    let wanted = if a == b || a == c { a } else { b };
    let majority = a == b || a == c || b == c;
    if majority && wanted.cosine(normals[face]) > SEEN_COSINE_MIN { wanted } else { sides[face] }
}

fn connected(sides: &[Side], neighbours: &[[u32; 3]]) -> Vec<Chart> {
    let mut seen = vec![false; sides.len()];
    let mut charts = Vec::new();
    for start in 0..sides.len() {
        if seen[start] {
            continue;
        }
        seen[start] = true;
        let (side, mut faces, mut at) = (sides[start], vec![start as u32], 0);
        while let Some(&face) = faces.get(at) {
            at += 1;
            for near in neighbours[face as usize] {
                if !seen[near as usize] && sides[near as usize] == side {
                    seen[near as usize] = true;
                    faces.push(near);
                }
            }
        }
        charts.push(Chart { side, faces });
    }
    charts
}

/// Small charts take the side of the neighbour with which they share most edges, where that side sees them.
fn merge_small(
    charts: Vec<Chart>,
    sides: &mut [Side],
    neighbours: &[[u32; 3]],
    normals: &[[f32; 3]],
) -> Vec<Chart> {
    let least = FACES_MIN.max((SHARE_MIN * sides.len() as f32) as usize);
    for chart in charts.iter().filter(|chart| chart.faces.len() < least) {
        let mut shared = [0_u32; 6];
        for near in chart.faces.iter().flat_map(|&face| neighbours[face as usize]) {
            shared[usize::from(sides[near as usize].0)] += 1;
        }
        let seen = |side: Side| {
            let mean = chart.faces.iter().map(|&face| side.cosine(normals[face as usize])).sum::<f32>();
            mean > SEEN_COSINE_MIN * chart.faces.len() as f32
        };
        let others = Side::ALL.into_iter().filter(|&side| side != chart.side && seen(side));
        let best = others.max_by_key(|&side| (shared[usize::from(side.0)], std::cmp::Reverse(side.0)));
        if let Some(best) = best.filter(|&side| shared[usize::from(side.0)] > 0) {
            chart.faces.iter().for_each(|&face| sides[face as usize] = best);
        }
    }
    connected(sides, neighbours)
}

/// The share of a chart's faces that its side sees turned away; for tests.
#[cfg(test)]
fn turned_away(mesh: &Mesh, chart: &Chart) -> f32 {
    let away = chart
        .faces
        .iter()
        .filter(|&&face| chart.side.cosine(face_normal(mesh.corners(mesh.triangles[face as usize]))) <= 0.0);
    away.count() as f32 / chart.faces.len() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh::geometry::{cross, dot};
    use mesh::sample::torus;
    use mesh::smooth::vertex_normals;

    #[test]
    fn a_torus_falls_into_few_charts_that_cover_it_once() {
        let mut mesh = torus(0.35, 0.15, 80, 40);
        mesh.normals = vertex_normals(&mesh);
        let charts = cut(&mesh);
        assert!(charts.len() <= 16, "{}", charts.len());
        let mut faces: Vec<u32> = charts.iter().flat_map(|chart| chart.faces.clone()).collect();
        faces.sort_unstable();
        assert!(faces.into_iter().eq(0..mesh.triangles.len() as u32));
        assert!(charts.iter().all(|chart| turned_away(&mesh, chart) < 0.01));
    }

    #[test]
    fn projections_keep_the_turning_direction() {
        // Seen from its own side, a counter-clockwise triangle stays so: right x down is then negative.
        for side in Side::ALL {
            let normal = [0, 1, 2].map(|axis| {
                let mut unit = [0.0; 3];
                unit[axis] = 1.0;
                side.cosine(unit)
            });
            let right = if normal[0] == 0.0 { [1.0, 0.0, 0.0] } else { [0.0, 1.0, 0.0] };
            let third = cross(normal, right);
            let (a, b) = (side.project(right), side.project(third));
            assert!(a[0] * b[1] - a[1] * b[0] < 0.0, "{side:?}");
            assert!(dot(normal, third).abs() < 1e-6);
        }
    }
}
