//! The reading half: what is looked up in a document, each index with a check.

use super::{DENSE, FLOAT, GlbError, UNSIGNED_INT, UNSIGNED_SHORT, check_writable};
use crate::{Mesh, TexturedMesh};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Most vertices and most triangles that are read.
const COUNT_MAX: usize = 20_000_000;
/// A component type of glTF that only indices of others have.
const UNSIGNED_BYTE: u32 = 5121;

fn malformed<T>(why: impl Into<String>) -> Result<T, GlbError> {
    Err(GlbError::Malformed(why.into()))
}

/// What is read of a glTF document. Everything else in it is ignored; every index is looked up with a check.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    asset: Asset,
    #[serde(default)]
    buffers: Vec<Buffer>,
    #[serde(default)]
    buffer_views: Vec<View>,
    #[serde(default)]
    accessors: Vec<Accessor>,
    #[serde(default)]
    meshes: Vec<Primitives>,
    #[serde(default)]
    materials: Vec<Material>,
    #[serde(default)]
    textures: Vec<Texture>,
    #[serde(default)]
    images: Vec<Image>,
}

#[derive(Default, Deserialize)]
struct Asset {
    #[serde(default)]
    extras: Value,
}

#[derive(Deserialize)]
struct Buffer {
    uri: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct View {
    #[serde(default)]
    buffer: usize,
    #[serde(default)]
    byte_offset: usize,
    byte_length: usize,
    byte_stride: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accessor {
    buffer_view: Option<usize>,
    #[serde(default)]
    byte_offset: usize,
    component_type: u32,
    count: usize,
    #[serde(rename = "type")]
    kind: String,
    sparse: Option<Value>,
}

#[derive(Deserialize)]
struct Primitives {
    name: Option<String>,
    primitives: Vec<Primitive>,
}

#[derive(Deserialize)]
struct Primitive {
    attributes: BTreeMap<String, usize>,
    indices: Option<usize>,
    material: Option<usize>,
    mode: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    pbr_metallic_roughness: Option<Surface>,
    normal_texture: Option<TextureAt>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Surface {
    base_color_texture: Option<TextureAt>,
}

#[derive(Deserialize)]
struct TextureAt {
    index: usize,
}

#[derive(Deserialize)]
struct Texture {
    source: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Image {
    buffer_view: Option<usize>,
    mime_type: Option<String>,
}

/// `primitive.mode` of triangles, which is also the default.
const TRIANGLES: u32 = 4;

/// The first primitive of the first mesh of a GLB, with its base colour texture and its normal map.
///
/// # Errors
/// [`GlbError::Malformed`] or [`GlbError::Unsupported`].
pub fn read(bytes: &[u8]) -> Result<TexturedMesh, GlbError> {
    let (document, bin) = split(bytes)?;
    document.alone()?;
    let primitive = document.meshes.first().and_then(|mesh| mesh.primitives.first());
    let primitive = primitive.ok_or_else(|| unsupported("it has no mesh"))?;
    let mesh = document.mesh(primitive, bin)?;
    let (texture_png, normal_png) = match primitive.material {
        None => (None, None),
        Some(material) => {
            let Some(material) = document.materials.get(material) else {
                return malformed("a missing material");
            };
            let colour = material.pbr_metallic_roughness.as_ref();
            let colour = colour.and_then(|surface| surface.base_color_texture.as_ref());
            (document.png(colour, bin)?, document.png(material.normal_texture.as_ref(), bin)?)
        }
    };
    Ok(TexturedMesh { mesh, texture_png, normal_png })
}

/// The dense surface that a GLB carries beside its model, if it does.
///
/// # Errors
/// As [`read`].
pub fn dense(bytes: &[u8]) -> Result<Option<Mesh>, GlbError> {
    let (document, bin) = split(bytes)?;
    document.alone()?;
    let dense = document.meshes.iter().find(|mesh| mesh.name.as_deref() == Some(DENSE));
    let primitive = dense.and_then(|mesh| mesh.primitives.first());
    primitive.map(|primitive| document.mesh(primitive, bin)).transpose()
}

fn unsupported(what: &str) -> GlbError {
    GlbError::Unsupported(what.to_owned())
}

/// The extras of a GLB's asset; null if it has none or cannot be read.
pub fn extras(bytes: &[u8]) -> Value {
    split(bytes).map_or(Value::Null, |(document, _)| document.asset.extras)
}

/// The two chunks of the container.
fn split(bytes: &[u8]) -> Result<(Document, &[u8]), GlbError> {
    let word = |at: usize| {
        let word = bytes.get(at..at + 4)?;
        Some(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
    };
    if bytes.get(..4) != Some(b"glTF") || word(4) != Some(2) {
        return malformed("it does not begin as binary glTF 2.0");
    }
    let chunk = |at: usize, kind: &[u8; 4]| {
        let length = word(at)? as usize;
        if bytes.get(at + 4..at + 8) != Some(kind) {
            return None;
        }
        bytes.get(at + 8..(at + 8).checked_add(length)?)
    };
    let Some(text) = chunk(12, b"JSON") else { return malformed("it has no JSON chunk") };
    let document =
        serde_json::from_slice(text).map_err(|error| GlbError::Malformed(format!("its JSON: {error}")))?;
    Ok((document, chunk(20 + text.len(), b"BIN\0").unwrap_or_default()))
}

impl Document {
    /// The bytes of a buffer view.
    fn view<'a>(&self, view: usize, bin: &'a [u8]) -> Result<(&View, &'a [u8]), GlbError> {
        let found = self.buffer_views.get(view).filter(|view| view.buffer == 0).and_then(|view| {
            let end = view.byte_offset.checked_add(view.byte_length)?;
            Some((view, bin.get(view.byte_offset..end)?))
        });
        found.map_or_else(|| malformed("a buffer view reaches outside the binary chunk"), Ok)
    }

    /// The elements of an accessor with this type and one of these component sizes, with the component type.
    fn elements<'a>(
        &self,
        accessor: usize,
        bin: &'a [u8],
        (kind, components): (&str, usize),
    ) -> Result<(u32, impl Iterator<Item = &'a [u8]> + use<'a>), GlbError> {
        let Some(accessor) = self.accessors.get(accessor) else { return malformed("a missing accessor") };
        let Some(view) = accessor.buffer_view.filter(|_| accessor.sparse.is_none()) else {
            return Err(GlbError::Unsupported("a sparse accessor".to_owned()));
        };
        let component = match accessor.component_type {
            UNSIGNED_BYTE => 1,
            UNSIGNED_SHORT => 2,
            UNSIGNED_INT | FLOAT => 4,
            other => return Err(GlbError::Unsupported(format!("component type {other}"))),
        };
        if accessor.kind != kind || accessor.count > COUNT_MAX {
            return malformed(format!("{} elements of type {}", accessor.count, accessor.kind));
        }
        let (size, count) = (component * components, accessor.count);
        let (view, data) = self.view(view, bin)?;
        let stride = view.byte_stride.unwrap_or(size).max(size);
        let length = count.checked_sub(1).map_or(Some(0), |last| last.checked_mul(stride)?.checked_add(size));
        let range =
            length.and_then(|length| Some(accessor.byte_offset..accessor.byte_offset.checked_add(length)?));
        let Some(data) = range.and_then(|range| data.get(range)) else {
            return malformed("an accessor reaches outside its buffer view");
        };
        Ok((accessor.component_type, (0..count).filter_map(move |n| data.get(n * stride..n * stride + size))))
    }

    fn floats<const N: usize>(&self, accessor: usize, bin: &[u8]) -> Result<Vec<[f32; N]>, GlbError> {
        let kind = if N == 2 { "VEC2" } else { "VEC3" };
        let (component, elements) = self.elements(accessor, bin, (kind, N))?;
        if component != FLOAT {
            return Err(GlbError::Unsupported("vertex data that is not f32".to_owned()));
        }
        let float = |bytes: &[u8], n: usize| {
            f32::from_le_bytes([bytes[4 * n], bytes[4 * n + 1], bytes[4 * n + 2], bytes[4 * n + 3]])
        };
        Ok(elements.map(|bytes| std::array::from_fn(|n| float(bytes, n))).collect())
    }

    fn triangles(&self, accessor: usize, bin: &[u8]) -> Result<Vec<[u32; 3]>, GlbError> {
        let (component, elements) = self.elements(accessor, bin, ("SCALAR", 1))?;
        if component == FLOAT {
            return malformed("indices that are not whole numbers");
        }
        let index = |bytes: &[u8]| bytes.iter().rev().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
        let flat: Vec<u32> = elements.map(index).collect();
        Ok(flat.as_chunks::<3>().0.to_vec())
    }

    /// Refuses a document that names another file.
    fn alone(&self) -> Result<(), GlbError> {
        if self.buffers.len() > 1 || self.buffers.iter().any(|buffer| buffer.uri.is_some()) {
            return Err(unsupported("it names another file"));
        }
        Ok(())
    }

    fn mesh(&self, primitive: &Primitive, bin: &[u8]) -> Result<Mesh, GlbError> {
        if primitive.mode.unwrap_or(TRIANGLES) != TRIANGLES {
            return Err(unsupported("it is not made of triangles"));
        }
        let attribute = |name: &str| primitive.attributes.get(name).copied();
        let position = attribute("POSITION").ok_or_else(|| unsupported("it has no positions"))?;
        let positions: Vec<[f32; 3]> = self.floats(position, bin)?;
        let normals = attribute("NORMAL").map_or(Ok(vec![]), |accessor| self.floats(accessor, bin))?;
        let uvs = attribute("TEXCOORD_0").map_or(Ok(vec![]), |accessor| self.floats(accessor, bin))?;
        let triangles = match primitive.indices {
            Some(accessor) => self.triangles(accessor, bin)?,
            None => (0..positions.len() as u32 / 3).map(|n| [3 * n, 3 * n + 1, 3 * n + 2]).collect(),
        };
        let mesh = Mesh { positions, normals, uvs, triangles };
        check_writable(&mesh).or_else(|error| malformed(error.to_string()))?;
        Ok(mesh)
    }

    /// The embedded picture of a texture, where a material names one.
    fn png(&self, texture: Option<&TextureAt>, bin: &[u8]) -> Result<Option<Vec<u8>>, GlbError> {
        let Some(texture) = texture else { return Ok(None) };
        let image = self.textures.get(texture.index).and_then(|texture| self.images.get(texture.source?));
        let Some(image) = image else { return malformed("a missing texture") };
        let Some(view) = image.buffer_view.filter(|_| image.mime_type.as_deref() == Some("image/png")) else {
            return Err(unsupported("a texture that is not an embedded PNG"));
        };
        Ok(Some(self.view(view, bin)?.1.to_vec()))
    }
}
