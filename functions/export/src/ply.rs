//! Binary PLY with a colour per vertex.

use mesh::Mesh;

/// A mesh in millimetres and the sRGB colour of each of its vertices.
pub(crate) fn write(mesh: &Mesh, colours: &[[u8; 3]]) -> Vec<u8> {
    let header = format!(
        "ply\nformat binary_little_endian 1.0\ncomment Meshwright, millimetres, Z up\nelement vertex {}\n\
         property float x\nproperty float y\nproperty float z\n\
         property uchar red\nproperty uchar green\nproperty uchar blue\n\
         element face {}\nproperty list uchar int vertex_indices\nend_header\n",
        mesh.positions.len(),
        mesh.triangles.len()
    );
    let mut bytes = header.into_bytes();
    bytes.reserve(15 * mesh.positions.len() + 13 * mesh.triangles.len());
    for (position, colour) in mesh.positions.iter().zip(colours) {
        position.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        bytes.extend_from_slice(colour);
    }
    for triangle in &mesh.triangles {
        bytes.push(3);
        triangle.iter().for_each(|index| bytes.extend_from_slice(&index.to_le_bytes()));
    }
    bytes
}
