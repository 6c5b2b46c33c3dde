//! The triangle mesh that stages hand on: Y up, front +Z, metres, counter-clockwise seen from outside.

/// An indexed triangle mesh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mesh {
    /// Vertex positions in metres.
    pub positions: Vec<[f32; 3]>,
    /// Unit vertex normals, one per position, or empty.
    pub normals: Vec<[f32; 3]>,
    /// Texture coordinates as in glTF ((0,0) is the top left texel corner), one per position, or empty.
    pub uvs: Vec<[f32; 2]>,
    /// Triangles, counter-clockwise seen from outside.
    pub triangles: Vec<[u32; 3]>,
}

/// A mesh with its base colour texture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TexturedMesh {
    /// The mesh; it has UVs if there is a texture.
    pub mesh: Mesh,
    /// The base colour texture as PNG (sRGB), if any.
    pub texture_png: Option<Vec<u8>>,
}
