//! Smoothing that keeps the volume, and vertex normals.

use crate::Mesh;
use crate::geometry::{dot, face_normal, sub, unit};

/// Taubin's pass band: a shrinking step and a slightly larger growing one. (Taubin 1995; pass frequency
/// 1/λ + 1/μ = 0.11.)
const SHRINK: f32 = 0.5;
const GROW: f32 = -0.53;

/// Taubin smoothing of a closed mesh: high frequencies go, the volume stays within about a percent.
/// Each vertex moves along the mean of its neighbours; topology is untouched.
pub fn taubin(mesh: &mut Mesh, rounds: u32) {
    let mut sums = vec![[0.0_f32; 4]; mesh.positions.len()];
    for step in (0..rounds).flat_map(|_| [SHRINK, GROW]) {
        sums.fill([0.0; 4]);
        for &[a, b, c] in &mesh.triangles {
            // In a closed mesh each neighbour is the end of exactly one half-edge.
            for (from, to) in [(a, b), (b, c), (c, a)] {
                let end = mesh.positions[to as usize];
                let sum = &mut sums[from as usize];
                (0..3).for_each(|k| sum[k] += end[k]);
                sum[3] += 1.0;
            }
        }
        for (position, sum) in mesh.positions.iter_mut().zip(&sums) {
            if sum[3] > 0.0 {
                (0..3).for_each(|k| position[k] += step * (sum[k] / sum[3] - position[k]));
            }
        }
    }
}

/// Unit normals, one per vertex: the mean of its faces, each weighted by its angle there (Thürmer and
/// Wüthrich 1998), so that on an edge it does not matter how the faces were cut. A vertex without faces looks
/// up.
pub fn vertex_normals(mesh: &Mesh) -> Vec<[f32; 3]> {
    let mut normals = vec![[0.0_f32; 3]; mesh.positions.len()];
    for &triangle in &mesh.triangles {
        let corners = mesh.corners(triangle);
        let normal = unit(face_normal(corners));
        for k in 0..3 {
            let [to, back] = [1, 2].map(|step| unit(sub(corners[(k + step) % 3], corners[k])));
            let angle = dot(to, back).clamp(-1.0, 1.0).acos();
            (0..3).for_each(|axis| normals[triangle[k] as usize][axis] += normal[axis] * angle);
        }
    }
    let direction = |normal: [f32; 3]| match unit(normal) {
        [0.0, 0.0, 0.0] => [0.0, 1.0, 0.0],
        direction => direction,
    };
    normals.into_iter().map(direction).collect()
}

/// Normals that take the mean of themselves and their neighbours, as often as said: without the jitter of a
/// surface whose faces are long and thin. `normals` has one per vertex of the closed mesh.
pub fn calm_normals(mesh: &Mesh, normals: &[[f32; 3]], rounds: u32) -> Vec<[f32; 3]> {
    let mut normals = normals.to_vec();
    for _ in 0..rounds {
        let mut sums = normals.clone();
        for &[a, b, c] in &mesh.triangles {
            for (from, to) in [(a, b), (b, c), (c, a)] {
                (0..3).for_each(|k| sums[from as usize][k] += normals[to as usize][k]);
            }
        }
        // Opposite normals that cancel out, on a sheet's edge, leave the vertex with its own.
        let mean =
            |(sum, own): (&[f32; 3], &[f32; 3])| if dot(*sum, *sum) > 1e-6 { unit(*sum) } else { *own };
        normals = sums.iter().zip(&normals).map(mean).collect();
    }
    normals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{check, volume};
    use crate::sample::{cube, torus};

    #[test]
    fn noise_goes_and_the_volume_stays() {
        let clean = torus(1.0, 0.3, 90, 40);
        let mut noisy = clean.clone();
        for (k, p) in noisy.positions.iter_mut().enumerate() {
            let wobble = ((k * 7919) % 101) as f32 / 101.0 - 0.5;
            (0..3).for_each(|axis| p[axis] *= 1.0 + 0.02 * wobble);
        }
        let distance = |mesh: &Mesh| {
            let gap = mesh.positions.iter().map(|p| (p[0].hypot(p[2]) - 1.0).hypot(p[1]) - 0.3);
            gap.map(|gap| gap * gap).sum::<f32>()
        };
        let before = distance(&noisy);
        taubin(&mut noisy, 8);
        assert!(distance(&noisy) < 0.3 * before, "{} of {before}", distance(&noisy));
        assert!((volume(&noisy) / volume(&clean) - 1.0).abs() < 0.01);
        assert!(check(&noisy).is_ok());
    }

    #[test]
    fn jitter_of_normals_goes_and_they_stay_unit() {
        let mesh = torus(1.0, 0.3, 90, 40);
        let clean = vertex_normals(&mesh);
        let jitter =
            |k: usize, n: [f32; 3]| unit([n[0] + ((k * 7919) % 101) as f32 / 200.0 - 0.25, n[1], n[2]]);
        let noisy: Vec<[f32; 3]> = clean.iter().enumerate().map(|(k, &n)| jitter(k, n)).collect();
        let gap =
            |normals: &[[f32; 3]]| normals.iter().zip(&clean).map(|(a, b)| 1.0 - dot(*a, *b)).sum::<f32>();
        let calm = calm_normals(&mesh, &noisy, 3);
        assert!(gap(&calm) < 0.5 * gap(&noisy), "{} of {}", gap(&calm), gap(&noisy));
        assert!(calm.iter().all(|n| (dot(*n, *n) - 1.0).abs() < 1e-5));
    }

    #[test]
    fn however_a_cubes_sides_are_cut_its_corners_look_out_evenly() {
        let even = 1.0 / 3.0_f32.sqrt();
        for normal in vertex_normals(&cube([0.0; 3], 0.5)) {
            assert!(normal.iter().all(|value| (value.abs() - even).abs() < 1e-5), "{normal:?}");
        }
    }

    #[test]
    fn normals_point_outwards_and_are_unit() {
        let mesh = cube([0.0; 3], 0.5);
        for (normal, position) in vertex_normals(&mesh).iter().zip(&mesh.positions) {
            assert!((dot(*normal, *normal) - 1.0).abs() < 1e-5);
            assert!(dot(*normal, *position) > 0.0);
        }
    }
}
