//! Merging of vertices that share a position: undoes the doubling along texture seams, so that a textured
//! mesh can be checked and printed as the closed surface that it is.

use crate::Mesh;

/// The mesh with one vertex per position (the first of each, in order), without normals and texture
/// coordinates. Indices must be in range.
pub fn weld(mesh: &Mesh) -> Mesh {
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
    let rename = |index: u32| number[first[index as usize] as usize];
    let triangles = mesh.triangles.iter().map(|triangle| triangle.map(rename)).collect();
    Mesh { positions, triangles, ..Mesh::default() }
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
