//! The tangent space in which normal maps are kept, as viewers rebuild it: per vertex by MikkTSpace
//! (Mikkelsen 2008), with texture coordinates as in glTF, the map's green channel upwards in the picture.

use crate::Mesh;
use crate::geometry::{cross, dot, sub, unit};

/// Three directions per vertex or texel: along the texture to the right, up in it, and out of the surface.
/// Need be neither unit nor at right angles where they are means of several.
pub type Frame = [[f32; 3]; 3];

/// Rounds to the nearest, and zero, which lies half-way between two steps, always upwards.
const ROUNDING: f32 = 0.502;

/// Unit tangents, one per vertex, and the sign of the third direction: the mean of its faces' directions of
/// growing u, laid into the plane of the vertex normal, each weighted by the face's angle there. The mesh
/// must have normals and texture coordinates, and no vertex on a seam between mirrored charts.
pub fn tangents(mesh: &Mesh) -> Vec<[f32; 4]> {
    let mut sums = vec![[0.0_f32; 4]; mesh.positions.len()];
    for &triangle in &mesh.triangles {
        let corners = mesh.corners(triangle);
        let [a, b, c] = triangle.map(|index| mesh.uvs[index as usize]);
        let (to_b, to_c) = ([b[0] - a[0], a[1] - b[1]], [c[0] - a[0], a[1] - c[1]]);
        let turn = to_b[0] * to_c[1] - to_b[1] * to_c[0];
        if turn == 0.0 {
            continue;
        }
        let (edge_b, edge_c) = (sub(corners[1], corners[0]), sub(corners[2], corners[0]));
        let sign = turn.signum();
        let along = [0, 1, 2].map(|k| (edge_b[k] * to_c[1] - edge_c[k] * to_b[1]) * sign);
        for k in 0..3 {
            let index = triangle[k] as usize;
            let laid = |direction| flat(direction, mesh.normals[index]);
            let [to, back] = [1, 2].map(|step| laid(sub(corners[(k + step) % 3], corners[k])));
            let angle = dot(to, back).clamp(-1.0, 1.0).acos();
            let tangent = laid(along);
            (0..3).for_each(|axis| sums[index][axis] += tangent[axis] * angle);
            sums[index][3] += sign * angle;
        }
    }
    sums.iter().zip(&mesh.normals).map(|(sum, normal)| tangent(*sum, *normal)).collect()
}

/// A direction in the plane of a normal, of unit length or zero.
fn flat(direction: [f32; 3], normal: [f32; 3]) -> [f32; 3] {
    let out = dot(direction, normal);
    unit([0, 1, 2].map(|k| direction[k] - normal[k] * out))
}

/// A vertex's tangent; where its faces say none, any that is at a right angle to the normal.
fn tangent(sum: [f32; 4], normal: [f32; 3]) -> [f32; 4] {
    let sign = if sum[3] < 0.0 { -1.0 } else { 1.0 };
    let mut found = unit([sum[0], sum[1], sum[2]]);
    if dot(found, found) < 0.5 {
        let aside = if normal[0].abs() < 0.9 { [1.0, 0.0, 0.0] } else { [0.0, 1.0, 0.0] };
        found = flat(aside, normal);
    }
    [found[0], found[1], found[2], sign]
}

/// The frame of a vertex.
pub fn frame(tangent: [f32; 4], normal: [f32; 3]) -> Frame {
    let along = [tangent[0], tangent[1], tangent[2]];
    [along, cross(normal, along).map(|value| value * tangent[3]), normal]
}

/// A direction as a texel of a normal map: what [`decoded`] makes the direction of again. Straight out is
/// (128, 128, 255); what points into the surface is taken for that.
pub fn encoded(direction: [f32; 3], frame: &Frame) -> [u8; 3] {
    let [along, up, out] = *frame;
    let found = [cross(up, out), cross(out, along), cross(along, up)].map(|axis| dot(direction, axis));
    let found = if dot(along, cross(up, out)) < 0.0 { found.map(|value| -value) } else { found };
    let found = unit(found);
    let found = if found[2] > 0.0 { found } else { [0.0, 0.0, 1.0] };
    found.map(|value| ((value * 0.5 + 0.5) * 255.0 + ROUNDING) as u8)
}

/// The direction that a texel means in a frame, of unit length.
pub fn decoded(texel: [u8; 3], frame: &Frame) -> [f32; 3] {
    let [x, y, z] = texel.map(|value| f32::from(value) / 127.5 - 1.0);
    unit([0, 1, 2].map(|k| x * frame[0][k] + y * frame[1][k] + z * frame[2][k]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::torus;
    use crate::smooth::vertex_normals;

    #[test]
    fn on_a_plane_the_tangent_goes_right_and_the_second_direction_up_in_the_picture() {
        let uv = |p: &[f32; 3]| [0.5 + 0.2 * p[0], 0.5 - 0.3 * p[1]];
        let positions = vec![[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]];
        let uvs: Vec<[f32; 2]> = positions.iter().map(uv).collect();
        let (normals, triangles) = (vec![[0.0, 0.0, 1.0]; 4], vec![[0, 1, 2], [0, 2, 3]]);
        let mut mesh = Mesh { positions, normals, uvs, triangles };
        let check = |mesh: &Mesh, expect: [f32; 4]| {
            for tangent in tangents(mesh) {
                assert!((0..4).all(|k| (tangent[k] - expect[k]).abs() < 1e-6), "{tangent:?}");
            }
        };
        check(&mesh, [1.0, 0.0, 0.0, 1.0]);
        assert_eq!(frame([1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0])[1], [0.0, 1.0, 0.0]);
        // Mirrored coordinates: the tangent turns round, and up stays up.
        mesh.uvs.iter_mut().for_each(|uv| uv[0] = 1.0 - uv[0]);
        check(&mesh, [-1.0, 0.0, 0.0, -1.0]);
        assert_eq!(frame([-1.0, 0.0, 0.0, -1.0], [0.0, 0.0, 1.0])[1], [0.0, 1.0, 0.0]);
        // Without any coordinates there is some direction, of unit length.
        mesh.uvs.fill([0.5; 2]);
        assert!(tangents(&mesh).iter().all(|t| t[2] == 0.0 && (t[0].hypot(t[1]) - 1.0).abs() < 1e-6));
    }

    #[test]
    fn what_is_encoded_is_decoded_in_any_frame() {
        let mut mesh = torus(1.0, 0.3, 40, 20);
        mesh.normals = vertex_normals(&mesh);
        mesh.uvs = mesh.positions.iter().map(|p| [p[0], p[2]]).collect();
        let tangents = tangents(&mesh);
        for (at, (tangent, normal)) in tangents.iter().zip(&mesh.normals).enumerate() {
            let frame = frame(*tangent, *normal);
            assert!(dot(frame[0], frame[2]).abs() < 1e-5);
            assert_eq!(encoded(*normal, &frame), [128, 128, 255]);
            let wave = |k: usize| ((at * 31 + k * 17) as f32).sin() * 0.4;
            let direction = unit([0, 1, 2].map(|k| normal[k] + wave(k)));
            if dot(direction, *normal) > 0.1 {
                let back = decoded(encoded(direction, &frame), &frame);
                assert!(dot(back, direction) > 0.999, "{back:?} for {direction:?}");
            }
        }
        assert_eq!(encoded([0.0, 0.0, -1.0], &frame([1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0])), [128, 128, 255]);
    }
}
