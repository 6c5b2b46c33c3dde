//! What every mesh must be before it is written: closed, consistently oriented, of positive volume, without
//! a flaw.

use crate::Mesh;
use crate::geometry::{area, cross, dot, sub};

/// Twice the area (m²) under which a face counts as having none: a triangle of 0.3 µm, below what f32
/// resolves at 1 m.
pub(crate) const DOUBLE_AREA_MIN: f32 = 1e-13;

/// What is known of a mesh that passed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeshFacts {
    /// Vertices.
    pub vertices: usize,
    /// Triangles.
    pub triangles: usize,
    /// Enclosed volume, m³.
    pub volume: f64,
    /// Smallest and largest coordinates, m.
    pub bounds: [[f32; 3]; 2],
    /// Parts that share no vertex.
    pub components: usize,
}

/// The first flaw found in a mesh.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum MeshFault {
    /// There is nothing.
    #[error("the mesh has no triangles")]
    Empty,
    /// A triangle names a vertex that is not there.
    #[error("triangle {0} names a vertex that is not there")]
    IndexOutOfRange(usize),
    /// A number is NaN or infinite.
    #[error("vertex {0} is not a number")]
    NotFinite(usize),
    /// Normals or texture coordinates do not match the positions in number.
    #[error("{attributes} attributes for {vertices} vertices")]
    AttributeCount {
        /// How many there are.
        attributes: usize,
        /// How many vertices.
        vertices: usize,
    },
    /// A triangle without area.
    #[error("triangle {0} has no area")]
    ZeroArea(usize),
    /// An edge that does not have exactly two faces with opposite directions.
    #[error("edge {0}-{1} does not have exactly two faces with opposite directions")]
    OpenEdge(u32, u32),
    /// Inside out, or flat.
    #[error("the volume is {0} m³, not positive")]
    Volume(f64),
}

/// Every edge has exactly two faces with opposite directions, the volume is positive, no number is NaN,
/// indices are in range, no face has zero area.
///
/// # Errors
/// The first [`MeshFault`] found.
pub fn check(mesh: &Mesh) -> Result<MeshFacts, MeshFault> {
    if mesh.triangles.is_empty() {
        return Err(MeshFault::Empty);
    }
    numbers(mesh)?;
    for (at, &triangle) in mesh.triangles.iter().enumerate() {
        let [a, b, c] = triangle.map(|index| mesh.positions[index as usize]);
        if area([a, b, c]) * 2.0 <= DOUBLE_AREA_MIN {
            return Err(MeshFault::ZeroArea(at));
        }
    }
    edges(&mesh.triangles)?;
    let volume = volume(mesh);
    if volume <= 0.0 {
        return Err(MeshFault::Volume(volume));
    }
    let (labels, components) = crate::components::label(mesh);
    debug_assert_eq!(labels.len(), mesh.triangles.len());
    Ok(MeshFacts {
        vertices: mesh.positions.len(),
        triangles: mesh.triangles.len(),
        volume,
        bounds: mesh.bounds(),
        components,
    })
}

fn numbers(mesh: &Mesh) -> Result<(), MeshFault> {
    let vertices = mesh.positions.len();
    let out = |triangle: &[u32; 3]| triangle.iter().any(|&index| index as usize >= vertices);
    if let Some(at) = mesh.triangles.iter().position(out) {
        return Err(MeshFault::IndexOutOfRange(at));
    }
    for attributes in [mesh.normals.len(), mesh.uvs.len()] {
        if attributes != 0 && attributes != vertices {
            return Err(MeshFault::AttributeCount { attributes, vertices });
        }
    }
    let bad3 = |values: &[[f32; 3]]| values.iter().position(|v| v.iter().any(|x| !x.is_finite()));
    let bad_uv = mesh.uvs.iter().position(|v| v.iter().any(|x| !x.is_finite()));
    match bad3(&mesh.positions).or(bad3(&mesh.normals)).or(bad_uv) {
        Some(at) => Err(MeshFault::NotFinite(at)),
        None => Ok(()),
    }
}

/// Sorted half-edges: each must stand once, next to its opposite.
fn edges(triangles: &[[u32; 3]]) -> Result<(), MeshFault> {
    let mut halves = Vec::with_capacity(triangles.len() * 3);
    for &[a, b, c] in triangles {
        for (from, to) in [(a, b), (b, c), (c, a)] {
            let forward = u64::from(from < to);
            halves.push(u64::from(from.min(to)) << 33 | u64::from(from.max(to)) << 1 | forward);
        }
    }
    halves.sort_unstable();
    let open = |half: u64| MeshFault::OpenEdge((half >> 33) as u32, (half >> 1) as u32);
    for pair in halves.chunks(2) {
        if pair.len() < 2 || pair[0] ^ pair[1] != 1 {
            return Err(open(pair[0]));
        }
    }
    // An edge with four faces, two each way, has two equal pairs beside each other: sorted, 0 0 1 1, caught
    // above.
    Ok(())
}

/// Enclosed volume by the divergence theorem, in f64, relative to the first vertex against cancellation.
pub fn volume(mesh: &Mesh) -> f64 {
    mesh.triangles.iter().map(|&triangle| volume_below(mesh, triangle)).sum()
}

/// What one face adds to the volume: that of the body between it and the mesh's first vertex.
pub(crate) fn volume_below(mesh: &Mesh, triangle: [u32; 3]) -> f64 {
    let [a, b, c] = triangle.map(|index| sub(mesh.positions[index as usize], mesh.positions[0]));
    f64::from(dot(a, cross(b, c))) / 6.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{cube, torus};

    #[test]
    fn a_cube_and_a_torus_pass_with_their_facts() {
        let facts = check(&cube([1.0, 2.0, 3.0], 0.5)).expect("a cube is closed");
        assert!((facts.volume - 1.0).abs() < 1e-6);
        assert_eq!((facts.vertices, facts.triangles, facts.components), (8, 12, 1));
        assert_eq!(facts.bounds, [[0.5, 1.5, 2.5], [1.5, 2.5, 3.5]]);
        let facts = check(&torus(1.0, 0.25, 64, 32)).expect("a torus is closed");
        let exact = 2.0 * std::f64::consts::PI.powi(2) * 0.0625;
        assert!((facts.volume - exact).abs() < 0.02 * exact, "{}", facts.volume);
    }

    fn broken(change: impl FnOnce(&mut Mesh)) -> MeshFault {
        let mut mesh = cube([0.0; 3], 0.5);
        change(&mut mesh);
        check(&mesh).expect_err("it is broken")
    }

    #[test]
    fn every_flaw_is_named() {
        assert_eq!(broken(|m| m.triangles.clear()), MeshFault::Empty);
        assert_eq!(broken(|m| m.triangles[3][1] = 8), MeshFault::IndexOutOfRange(3));
        assert_eq!(broken(|m| m.positions[5][2] = f32::NAN), MeshFault::NotFinite(5));
        assert!(matches!(broken(|m| m.uvs.push([0.0; 2])), MeshFault::AttributeCount { .. }));
        assert!(matches!(broken(|m| m.positions[1] = m.positions[0]), MeshFault::ZeroArea(_)));
        assert!(matches!(broken(|m| assert!(m.triangles.pop().is_some())), MeshFault::OpenEdge(..)));
        assert!(matches!(broken(|m| m.triangles[0].reverse()), MeshFault::OpenEdge(..)));
        assert!(matches!(broken(|m| m.triangles.iter_mut().for_each(|t| t.reverse())), MeshFault::Volume(_)));
    }

    #[test]
    fn an_edge_with_four_faces_is_refused() {
        let mut mesh = cube([0.0; 3], 0.5);
        let other = cube([1.0, 1.0, 0.0], 0.5);
        // Two cubes that touch along one edge, its two vertices shared: 3 of the first is 0 of the second.
        let name = |index: u32| if index == 0 || index == 4 { index + 3 } else { index + 8 };
        mesh.positions.extend(&other.positions);
        mesh.triangles.extend(other.triangles.iter().map(|t| t.map(name)));
        assert!(matches!(check(&mesh), Err(MeshFault::OpenEdge(3, 7))));
    }
}
