//! How round the rim is at each vertex: texturing lays the picture around it.

use mesh::Mesh;

/// Sines of the angle to the silhouette's plane between which the radius can be read off: height over sine.
const READABLE: std::ops::Range<f32> = 0.25..0.6;
/// Rounds in which the vertices between take the mean of their neighbours: more than a rim has rows of
/// vertices.
const ROUNDS: u32 = 12;

/// Radius of the rim's profile, metres, per vertex; 0 where there is no rim nearby. The mesh must have
/// normals.
pub fn radii(mesh: &Mesh) -> Vec<f32> {
    let read = |(position, normal): (&[f32; 3], &[f32; 3])| {
        let sine = normal[2].abs();
        if READABLE.contains(&sine) { position[2].abs() / sine } else { 0.0 }
    };
    let mut radii: Vec<f32> = mesh.positions.iter().zip(&mesh.normals).map(read).collect();
    let open: Vec<bool> =
        radii.iter().zip(&mesh.normals).map(|(r, n)| *r == 0.0 && n[2].abs() < READABLE.start).collect();
    let mut sums = vec![[0.0_f32; 2]; radii.len()];
    for _ in 0..ROUNDS {
        sums.fill([0.0; 2]);
        for &[a, b, c] in &mesh.triangles {
            for (from, to) in [(a, b), (b, c), (c, a)] {
                let radius = radii[to as usize];
                if open[from as usize] && radius > 0.0 {
                    sums[from as usize][0] += radius;
                    sums[from as usize][1] += 1.0;
                }
            }
        }
        for ((radius, sum), _) in radii.iter_mut().zip(&sums).zip(&open).filter(|(_, open)| **open) {
            if sum[1] > 0.0 {
                *radius = sum[0] / sum[1];
            }
        }
    }
    radii
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh::sample::torus;
    use mesh::smooth::vertex_normals;

    #[test]
    fn a_standing_ring_has_its_tubes_radius_along_the_silhouette() {
        let mut mesh = torus(0.35, 0.1, 96, 32);
        // From lying to standing: the hole looks to the front.
        mesh.positions.iter_mut().for_each(|p| *p = [p[0], -p[2], p[1]]);
        mesh.normals = vertex_normals(&mesh);
        let radii = radii(&mesh);
        for (normal, radius) in mesh.normals.iter().zip(&radii).filter(|(normal, _)| normal[2].abs() < 0.2) {
            assert!((radius - 0.1).abs() < 0.01, "{radius} at {normal:?}");
        }
    }
}
