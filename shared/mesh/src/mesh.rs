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

impl Mesh {
    /// Smallest and largest coordinates; zeros for a mesh without vertices.
    pub fn bounds(&self) -> [[f32; 3]; 2] {
        let Some(&first) = self.positions.first() else { return [[0.0; 3]; 2] };
        self.positions.iter().fold([first, first], |[low, high], p| {
            [[0, 1, 2].map(|k| low[k].min(p[k])), [0, 1, 2].map(|k| high[k].max(p[k]))]
        })
    }

    /// The three corners of a triangle. Its indices must be in range, as `check` proves.
    #[inline]
    pub fn corners(&self, triangle: [u32; 3]) -> [[f32; 3]; 3] {
        triangle.map(|index| self.positions[index as usize])
    }
}

/// A mesh with its textures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TexturedMesh {
    /// The mesh; it has UVs if there is a texture.
    pub mesh: Mesh,
    /// The base colour texture as PNG (sRGB), if any.
    pub texture_png: Option<Vec<u8>>,
    /// The normal map as PNG, in the tangent space of `tangent`, if any.
    pub normal_png: Option<Vec<u8>>,
}
