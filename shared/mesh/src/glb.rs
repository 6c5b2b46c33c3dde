//! Reading and writing binary glTF 2.0, the file that every stage after shape hands on.
//!
//! What is written: one mesh with one primitive, its texture embedded, nothing external. What is read: the
//! same, from anybody; every offset, count and index is checked, and a file that names another file is
//! refused.

use crate::{Mesh, TexturedMesh};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most vertices and most triangles that are read.
const COUNT_MAX: usize = 20_000_000;

/// Why a GLB cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlbError {
    /// The bytes are no binary glTF 2.0, or contradict themselves.
    #[error("not a readable GLB: {0}")]
    Malformed(String),
    /// It is well formed, but not one embedded triangle mesh.
    #[error("a GLB that is not supported here: {0}")]
    Unsupported(String),
    /// The model cannot be written.
    #[error("not a writable model: {0}")]
    Unwritable(String),
}

fn malformed<T>(why: impl Into<String>) -> Result<T, GlbError> {
    Err(GlbError::Malformed(why.into()))
}

/// The binary chunk as it grows, with a view and an accessor for each part.
#[derive(Default)]
struct Parts {
    bin: Vec<u8>,
    views: Vec<Value>,
    accessors: Vec<Value>,
}

/// `bufferView.target` of vertex data.
const ARRAY_BUFFER: u32 = 34962;
/// `bufferView.target` of indices.
const ELEMENT_ARRAY_BUFFER: u32 = 34963;
/// Component types of glTF.
const UNSIGNED_BYTE: u32 = 5121;
const UNSIGNED_SHORT: u32 = 5123;
const UNSIGNED_INT: u32 = 5125;
const FLOAT: u32 = 5126;

impl Parts {
    fn view(&mut self, bytes: &[u8], target: Option<u32>) -> usize {
        self.bin.resize(self.bin.len().next_multiple_of(4), 0);
        let mut view = json!({"buffer": 0, "byteOffset": self.bin.len(), "byteLength": bytes.len()});
        if let Some(target) = target {
            view["target"] = json!(target);
        }
        self.bin.extend_from_slice(bytes);
        self.views.push(view);
        self.views.len() - 1
    }

    fn floats<const N: usize>(&mut self, values: &[[f32; N]], with_bounds: bool) -> usize {
        let bytes: Vec<u8> = values.as_flattened().iter().flat_map(|value| value.to_le_bytes()).collect();
        let view = self.view(&bytes, Some(ARRAY_BUFFER));
        let kind = if N == 2 { "VEC2" } else { "VEC3" };
        let mut accessor =
            json!({"bufferView": view, "componentType": FLOAT, "count": values.len(), "type": kind});
        if with_bounds {
            let bound = |pick: fn(f32, f32) -> f32, start: f32| {
                let fold = |axis: usize| values.iter().fold(start, |best, value| pick(best, value[axis]));
                (0..N).map(fold).collect::<Vec<f32>>()
            };
            accessor["min"] = json!(bound(f32::min, f32::INFINITY));
            accessor["max"] = json!(bound(f32::max, f32::NEG_INFINITY));
        }
        self.accessors.push(accessor);
        self.accessors.len() - 1
    }

    fn indices(&mut self, triangles: &[[u32; 3]], vertices: usize) -> usize {
        // 65535 is the primitive restart value and no index.
        let (bytes, kind): (Vec<u8>, u32) = if vertices <= 65_535 {
            let short = |index: &u32| (*index as u16).to_le_bytes();
            (triangles.as_flattened().iter().flat_map(short).collect(), UNSIGNED_SHORT)
        } else {
            (triangles.as_flattened().iter().flat_map(|index| index.to_le_bytes()).collect(), UNSIGNED_INT)
        };
        let view = self.view(&bytes, Some(ELEMENT_ARRAY_BUFFER));
        let count = triangles.len() * 3;
        self.accessors
            .push(json!({"bufferView": view, "componentType": kind, "count": count, "type": "SCALAR"}));
        self.accessors.len() - 1
    }
}

fn check_writable(mesh: &Mesh) -> Result<(), GlbError> {
    let unwritable = |why: &str| Err(GlbError::Unwritable(why.to_owned()));
    let vertices = mesh.positions.len();
    if mesh.triangles.is_empty() {
        return unwritable("it has no triangle");
    }
    if mesh.triangles.as_flattened().iter().any(|index| *index as usize >= vertices) {
        return unwritable("a triangle names a vertex that does not exist");
    }
    let fits = |count: usize| count == 0 || count == vertices;
    if !fits(mesh.normals.len()) || !fits(mesh.uvs.len()) {
        return unwritable("normals or texture coordinates are not one per vertex");
    }
    let positions = mesh.positions.as_flattened().iter().chain(mesh.normals.as_flattened());
    if !positions.chain(mesh.uvs.as_flattened()).all(|value| value.is_finite()) {
        return unwritable("a coordinate is not a number");
    }
    Ok(())
}

/// The model as GLB. `extras` goes to the asset; use `Value::Null` for none.
///
/// # Errors
/// [`GlbError::Unwritable`]: no triangle, an index out of range, attributes not one per vertex, or a NaN.
pub fn write(model: &TexturedMesh, extras: &Value) -> Result<Vec<u8>, GlbError> {
    let mesh = &model.mesh;
    check_writable(mesh)?;
    let mut parts = Parts::default();
    let mut attributes = json!({"POSITION": parts.floats(&mesh.positions, true)});
    if !mesh.normals.is_empty() {
        attributes["NORMAL"] = json!(parts.floats(&mesh.normals, false));
    }
    if !mesh.uvs.is_empty() {
        attributes["TEXCOORD_0"] = json!(parts.floats(&mesh.uvs, false));
    }
    let indices = parts.indices(&mesh.triangles, mesh.positions.len());
    let mut material =
        json!({"name": "surface", "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.9}});
    let primitive = json!({"attributes": attributes, "indices": indices, "material": 0});
    let mut document = json!({
        "asset": {"version": "2.0", "generator": "meshwright"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "model"}],
        "meshes": [{"name": "model", "primitives": [primitive]}],
    });
    if !extras.is_null() {
        document["asset"]["extras"] = extras.clone();
    }
    if let Some(png) = model.texture_png.as_ref().filter(|_| !mesh.uvs.is_empty()) {
        let view = parts.view(png, None);
        document["images"] = json!([{"bufferView": view, "mimeType": "image/png", "name": "base colour"}]);
        // Linear with mipmaps, clamped at the edge: charts have their own padding.
        document["samplers"] =
            json!([{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}]);
        document["textures"] = json!([{"source": 0, "sampler": 0}]);
        material["pbrMetallicRoughness"]["baseColorTexture"] = json!({"index": 0});
    }
    document["materials"] = json!([material]);
    parts.bin.resize(parts.bin.len().next_multiple_of(4), 0);
    document["buffers"] = json!([{"byteLength": parts.bin.len()}]);
    document["bufferViews"] = Value::Array(parts.views);
    document["accessors"] = Value::Array(parts.accessors);
    assemble(&document, &parts.bin)
}

/// A document and its binary chunk as one file.
///
/// # Errors
/// [`GlbError::Unwritable`]: it is larger than 4 GiB.
pub fn assemble(document: &Value, bin: &[u8]) -> Result<Vec<u8>, GlbError> {
    let unwritable = |why: String| GlbError::Unwritable(why);
    let mut text = serde_json::to_vec(document).map_err(|error| unwritable(error.to_string()))?;
    text.resize(text.len().next_multiple_of(4), b' ');
    let total = 12 + 8 + text.len() + 8 + bin.len();
    let length = |n: usize| u32::try_from(n).map_err(|_| unwritable("it is larger than 4 GiB".to_owned()));
    let mut glb = Vec::with_capacity(total);
    glb.extend_from_slice(b"glTF");
    glb.extend_from_slice(&2u32.to_le_bytes());
    glb.extend_from_slice(&length(total)?.to_le_bytes());
    glb.extend_from_slice(&length(text.len())?.to_le_bytes());
    glb.extend_from_slice(b"JSON");
    glb.extend_from_slice(&text);
    glb.extend_from_slice(&length(bin.len())?.to_le_bytes());
    glb.extend_from_slice(b"BIN\0");
    glb.extend_from_slice(bin);
    Ok(glb)
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

/// The first primitive of the first mesh of a GLB, with its base colour texture.
///
/// # Errors
/// [`GlbError::Malformed`] or [`GlbError::Unsupported`].
pub fn read(bytes: &[u8]) -> Result<TexturedMesh, GlbError> {
    let (document, bin) = split(bytes)?;
    let unsupported = |what: &str| GlbError::Unsupported(what.to_owned());
    if document.buffers.len() > 1 || document.buffers.iter().any(|buffer| buffer.uri.is_some()) {
        return Err(unsupported("it names another file"));
    }
    let primitive = document.meshes.first().and_then(|mesh| mesh.primitives.first());
    let primitive = primitive.ok_or_else(|| unsupported("it has no mesh"))?;
    if primitive.mode.unwrap_or(TRIANGLES) != TRIANGLES {
        return Err(unsupported("it is not made of triangles"));
    }
    let attribute = |name: &str| primitive.attributes.get(name).copied();
    let position = attribute("POSITION").ok_or_else(|| unsupported("it has no positions"))?;
    let positions: Vec<[f32; 3]> = document.floats(position, bin)?;
    let normals = attribute("NORMAL").map_or(Ok(vec![]), |accessor| document.floats(accessor, bin))?;
    let uvs = attribute("TEXCOORD_0").map_or(Ok(vec![]), |accessor| document.floats(accessor, bin))?;
    let triangles = match primitive.indices {
        Some(accessor) => document.triangles(accessor, bin)?,
        None => (0..positions.len() as u32 / 3).map(|n| [3 * n, 3 * n + 1, 3 * n + 2]).collect(),
    };
    let texture_png = document.base_colour(primitive, bin)?;
    let mesh = Mesh { positions, normals, uvs, triangles };
    check_writable(&mesh).or_else(|error| malformed(error.to_string()))?;
    Ok(TexturedMesh { mesh, texture_png })
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

    /// The base colour texture of a primitive's material, if it has one.
    fn base_colour(&self, primitive: &Primitive, bin: &[u8]) -> Result<Option<Vec<u8>>, GlbError> {
        let Some(material) = primitive.material else { return Ok(None) };
        let Some(material) = self.materials.get(material) else { return malformed("a missing material") };
        let surface = material.pbr_metallic_roughness.as_ref();
        let Some(texture) = surface.and_then(|surface| surface.base_color_texture.as_ref()) else {
            return Ok(None);
        };
        let image = self.textures.get(texture.index).and_then(|texture| self.images.get(texture.source?));
        let Some(image) = image else { return malformed("a missing texture") };
        let Some(view) = image.buffer_view.filter(|_| image.mime_type.as_deref() == Some("image/png")) else {
            return Err(GlbError::Unsupported("a texture that is not an embedded PNG".to_owned()));
        };
        Ok(Some(self.view(view, bin)?.1.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tetrahedron() -> TexturedMesh {
        let mesh = Mesh {
            positions: vec![[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            normals: vec![],
            uvs: vec![[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]],
            triangles: vec![[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]],
        };
        TexturedMesh { mesh, texture_png: Some(b"\x89PNG not looked into".to_vec()) }
    }

    #[test]
    fn a_model_survives_writing_and_reading() {
        let glb = write(&tetrahedron(), &json!({"a": 1})).expect("a good model");
        assert_eq!(glb.len() % 4, 0);
        assert_eq!(read(&glb).expect("our own file"), tetrahedron());
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let mut model = tetrahedron();
        model.mesh.triangles.push([0, 1, 9]);
        assert!(write(&model, &Value::Null).is_err());
        let mut model = tetrahedron();
        model.mesh.positions[0][0] = f32::NAN;
        assert!(write(&model, &Value::Null).is_err());
    }

    #[test]
    fn a_file_that_names_another_file_is_refused() {
        let document =
            json!({"asset": {"version": "2.0"}, "buffers": [{"byteLength": 4, "uri": "file:///etc/passwd"}]});
        assert!(read(&assemble(&document, &[0; 4]).expect("small")).is_err());
    }

    proptest! {
        #[test]
        fn mutated_files_never_panic(place in 0usize..2000, byte: u8, cut in 0usize..2000) {
            let mut glb = write(&tetrahedron(), &Value::Null).expect("a good model");
            let place = place % glb.len();
            glb[place] = byte;
            let _model_or_error = read(&glb);
            glb.truncate(cut % (glb.len() + 1));
            let _model_or_error = read(&glb);
        }
    }
}
