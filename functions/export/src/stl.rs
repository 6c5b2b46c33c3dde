//! Binary STL.

use mesh::Mesh;
use mesh::geometry::{face_normal, unit};

/// The file's first 80 bytes; they must not begin with `solid`.
const HEADER: &[u8] = b"Meshwright binary STL, millimetres, Z up";

/// A closed mesh in millimetres. Always 84 + 50 x triangles bytes.
pub(crate) fn write(mesh: &Mesh) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(84 + 50 * mesh.triangles.len());
    bytes.extend_from_slice(HEADER);
    bytes.resize(80, 0);
    bytes.extend_from_slice(&(mesh.triangles.len() as u32).to_le_bytes());
    for triangle in &mesh.triangles {
        let corners = mesh.corners(*triangle);
        let normal = unit(face_normal(corners));
        for value in normal.iter().chain(corners.as_flattened()) {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(&[0, 0]);
    }
    bytes
}

#[cfg(test)]
pub(crate) mod tests {
    use mesh::geometry::{dot, face_normal, unit};

    #[test]
    fn facet_normals_are_unit_and_point_outwards() {
        let stl = super::write(&mesh::sample::cube([1.0, 2.0, 3.0], 35.0));
        for (facet, corners) in stl[84..].chunks_exact(50).zip(vertices(&stl).as_chunks::<3>().0) {
            let float = |k: usize| f32::from_le_bytes([0, 1, 2, 3].map(|byte| facet[4 * k + byte]));
            let normal = [float(0), float(1), float(2)];
            assert!((dot(normal, normal) - 1.0).abs() < 1e-5, "{normal:?}");
            assert!(dot(normal, unit(face_normal(*corners))) > 0.999);
        }
    }

    /// All corners of a binary STL.
    pub(crate) fn vertices(stl: &[u8]) -> Vec<[f32; 3]> {
        let float = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let corner = |bytes: &[u8]| [float(bytes), float(&bytes[4..]), float(&bytes[8..])];
        let triangle = |bytes: &[u8]| [corner(&bytes[12..]), corner(&bytes[24..]), corner(&bytes[36..])];
        stl[84..].chunks_exact(50).flat_map(triangle).collect()
    }
}
