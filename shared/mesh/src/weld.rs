//! Merging of vertices that share a position: undoes the doubling along texture seams, so that a textured
//! mesh can be checked and printed as the closed surface that it is.

use crate::Mesh;

/// A mesh with one vertex per position, and where the original's vertices went.
#[derive(Clone, Debug, PartialEq)]
pub struct Welded {
    /// Without normals and texture coordinates.
    pub mesh: Mesh,
    /// The new vertex of each old one.
    pub vertex_of: Vec<u32>,
}

/// The mesh with one vertex per position (the first of each, in order), without normals and texture
/// coordinates. Indices must be in range.
pub fn weld(mesh: &Mesh) -> Mesh {
    welded(mesh).mesh
}

/// As [`weld`], with the way from old vertices to new ones.
pub fn welded(mesh: &Mesh) -> Welded {
    // Adding zero makes -0 and 0 the same bits.
    let key = |index: u32| mesh.positions[index as usize].map(|value| (value + 0.0).to_bits());
    let mut order: Vec<u32> = (0..mesh.positions.len() as u32).collect();
    order.sort_unstable_by_key(|&index| (key(index), index));
    let mut first = vec![0_u32; order.len()];
    let mut leader = 0;
    for (at, &index) in order.iter().enumerate() {
        if at == 0 || key(index) != key(leader) {
            leader = index;
        }
        first[index as usize] = leader;
    }
    let mut number = vec![0_u32; order.len()];
    let mut positions = Vec::with_capacity(order.len());
    for (index, &leader) in first.iter().enumerate() {
        if leader as usize == index {
            number[index] = positions.len() as u32;
            positions.push(mesh.positions[index]);
        }
    }
    let vertex_of: Vec<u32> = first.iter().map(|leader| number[*leader as usize]).collect();
    let rename = |index: u32| vertex_of[index as usize];
    let triangles = mesh.triangles.iter().map(|triangle| triangle.map(rename)).collect();
    Welded { mesh: Mesh { positions, triangles, ..Mesh::default() }, vertex_of }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::check;
    use crate::sample::cube;

    #[test]
    fn a_cube_of_loose_faces_becomes_a_cube() {
        let cube = cube([0.0; 3], 0.5);
        let mut loose = Mesh::default();
        for &triangle in &cube.triangles {
            let start = loose.positions.len() as u32;
            loose.positions.extend(cube.corners(triangle));
            loose.triangles.push([start, start + 1, start + 2]);
        }
        assert!(check(&loose).is_err());
        let facts = check(&weld(&loose)).expect("closed again");
        assert_eq!((facts.vertices, facts.triangles), (8, 12));
    }
}
