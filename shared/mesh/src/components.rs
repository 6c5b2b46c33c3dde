//! Parts of a mesh that hang together, and leaving out the crumbs among them.

use crate::Mesh;

/// The component of each triangle, numbered from 0 in order of appearance, and how many there are.
/// Indices must be in range.
pub fn label(mesh: &Mesh) -> (Vec<u32>, usize) {
    let mut parent: Vec<u32> = (0..mesh.positions.len() as u32).collect();
    for &[a, b, c] in &mesh.triangles {
        let root = find(&mut parent, a);
        for other in [b, c] {
            let other = find(&mut parent, other);
            parent[other as usize] = root;
        }
    }
    let mut number = vec![u32::MAX; parent.len()];
    let mut count = 0;
    let labels = mesh.triangles.iter().map(|triangle| {
        let slot = &mut number[find(&mut parent, triangle[0]) as usize];
        if *slot == u32::MAX {
            *slot = count;
            count += 1;
        }
        *slot
    });
    let labels = labels.collect();
    (labels, count as usize)
}

fn find(parent: &mut [u32], mut at: u32) -> u32 {
    while parent[at as usize] != at {
        parent[at as usize] = parent[parent[at as usize] as usize];
        at = parent[at as usize];
    }
    at
}

/// The mesh without the components that have less than `share` (0 to 1) of all faces, and without unused
/// vertices.
pub fn drop_small(mesh: &Mesh, share: f32) -> Mesh {
    let (labels, count) = label(mesh);
    let mut faces = vec![0_usize; count];
    labels.iter().for_each(|&component| faces[component as usize] += 1);
    let least = share * mesh.triangles.len() as f32;
    let kept = mesh.triangles.iter().zip(&labels);
    let kept = kept.filter(|&(_, &component)| faces[component as usize] as f32 >= least);
    let triangles = kept.map(|(&triangle, _)| triangle).collect();
    compact(Mesh { triangles, ..mesh.clone() })
}

/// The mesh without vertices that no triangle uses; the others keep their order.
pub fn compact(mut mesh: Mesh) -> Mesh {
    let mut used = vec![false; mesh.positions.len()];
    mesh.triangles.iter().flatten().for_each(|&index| used[index as usize] = true);
    if used.iter().all(|&used| used) {
        return mesh;
    }
    let mut next = 0;
    let renamed: Vec<u32> =
        used.iter().map(|&used| if used { (next, next += 1).0 } else { u32::MAX }).collect();
    let keep3 = |values: &mut Vec<[f32; 3]>| {
        let mut at = 0;
        values.retain(|_| (used[at], at += 1).0);
    };
    keep3(&mut mesh.positions);
    if !mesh.normals.is_empty() {
        keep3(&mut mesh.normals);
    }
    let mut at = 0;
    mesh.uvs.retain(|_| (used[at], at += 1).0);
    mesh.triangles.iter_mut().flatten().for_each(|index| *index = renamed[*index as usize]);
    mesh
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{cube, torus};

    fn both() -> Mesh {
        let mut mesh = cube([5.0; 3], 0.1);
        let big = torus(1.0, 0.3, 60, 30);
        mesh.triangles.extend(big.triangles.iter().map(|t| t.map(|index| index + 8)));
        mesh.positions.extend(big.positions);
        mesh
    }

    #[test]
    fn parts_are_counted() {
        assert_eq!(label(&both()).1, 2);
        assert_eq!(label(&Mesh::default()).1, 0);
    }

    #[test]
    fn the_crumb_goes_and_the_rest_stays_closed() {
        let kept = drop_small(&both(), 0.005);
        assert_eq!(kept, torus(1.0, 0.3, 60, 30));
        assert_eq!(drop_small(&both(), 0.001), both());
    }
}
