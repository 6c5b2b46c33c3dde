//! Reading and writing binary glTF 2.0, the file that every stage after shape hands on.
//!
//! What is written: one mesh with one primitive, its textures embedded, nothing external; on request a second
//! mesh that no scene shows, the dense surface from which normals are baked. What is read: the same, from
//! anybody; every offset, count and index is checked, and a file that names another file is refused.

use crate::tangent::tangents;
use crate::{Mesh, TexturedMesh};
use serde_json::{Value, json};

mod read;

pub use read::{dense, extras, read};

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

/// The binary chunk as it grows, with a view and an accessor for each part.
#[derive(Default)]
struct Parts {
    bin: Vec<u8>,
    views: Vec<Value>,
    accessors: Vec<Value>,
}

/// The name of the mesh that no scene shows.
const DENSE: &str = "dense";
/// `bufferView.target` of vertex data.
const ARRAY_BUFFER: u32 = 34962;
/// `bufferView.target` of indices.
const ELEMENT_ARRAY_BUFFER: u32 = 34963;
/// Component types of glTF.
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
        let kind = format!("VEC{N}");
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

    /// A mesh's only primitive, without its material.
    fn primitive(&mut self, mesh: &Mesh) -> Value {
        let mut attributes = json!({"POSITION": self.floats(&mesh.positions, true)});
        if !mesh.normals.is_empty() {
            attributes["NORMAL"] = json!(self.floats(&mesh.normals, false));
        }
        if !mesh.uvs.is_empty() {
            attributes["TEXCOORD_0"] = json!(self.floats(&mesh.uvs, false));
        }
        let indices = self.indices(&mesh.triangles, mesh.positions.len());
        json!({"attributes": attributes, "indices": indices})
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

/// The model as GLB. `extras` goes to the asset; use `Value::Null` for none. A model with a normal map gets
/// tangents.
///
/// # Errors
/// [`GlbError::Unwritable`]: no triangle, an index out of range, attributes not one per vertex, or a NaN.
pub fn write(model: &TexturedMesh, extras: &Value) -> Result<Vec<u8>, GlbError> {
    written(model, None, extras)
}

/// As [`write`], with the dense surface that the model stands for, with its normals: [`dense`] finds it
/// again.
///
/// # Errors
/// As [`write`].
pub fn write_with_dense(model: &TexturedMesh, dense: &Mesh, extras: &Value) -> Result<Vec<u8>, GlbError> {
    written(model, Some(dense), extras)
}

fn written(model: &TexturedMesh, dense: Option<&Mesh>, extras: &Value) -> Result<Vec<u8>, GlbError> {
    let mesh = &model.mesh;
    check_writable(mesh)?;
    let textures = textures(model);
    let mut parts = Parts::default();
    let mut primitive = parts.primitive(mesh);
    primitive["material"] = json!(0);
    if textures.iter().any(|texture| texture.slot == Slot::Normal) {
        primitive["attributes"]["TANGENT"] = json!(parts.floats(&tangents(mesh), false));
    }
    let mut meshes = vec![json!({"name": "model", "primitives": [primitive]})];
    let mut material =
        json!({"name": "surface", "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.9}});
    let mut document = json!({
        "asset": {"version": "2.0", "generator": "meshwright"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "model"}],
    });
    if !extras.is_null() {
        document["asset"]["extras"] = extras.clone();
    }
    for (place, texture) in textures.iter().enumerate() {
        let view = parts.view(texture.png, None);
        let image = json!({"bufferView": view, "mimeType": "image/png", "name": texture.slot.name()});
        texture.slot.bind(&mut document, &mut material, image, json!({"source": place, "sampler": 0}));
    }
    document["materials"] = json!([material]);
    if let Some(dense) = dense {
        check_writable(dense)?;
        meshes.push(json!({"name": DENSE, "primitives": [parts.primitive(dense)]}));
    }
    document["meshes"] = Value::Array(meshes);
    parts.bin.resize(parts.bin.len().next_multiple_of(4), 0);
    document["buffers"] = json!([{"byteLength": parts.bin.len()}]);
    document["bufferViews"] = Value::Array(parts.views);
    document["accessors"] = Value::Array(parts.accessors);
    assemble(&document, &parts.bin)
}

/// What a texture is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The base colour.
    Colour,
    /// The normal map.
    Normal,
}

impl Slot {
    /// As in the document.
    pub const fn name(self) -> &'static str {
        match self {
            Slot::Colour => "base colour",
            Slot::Normal => "normals",
        }
    }

    /// Adds an image and its texture to a document, and names it in the material. All textures have one
    /// sampler.
    pub fn bind(self, document: &mut Value, material: &mut Value, image: Value, texture: Value) {
        // Linear with mipmaps, clamped at the edge: charts have their own padding.
        document["samplers"] =
            json!([{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}]);
        let index = document["textures"].as_array().map_or(0, Vec::len);
        for (list, value) in [("images", image), ("textures", texture)] {
            match document[list].as_array_mut() {
                Some(values) => values.push(value),
                None => document[list] = json!([value]),
            }
        }
        match self {
            Slot::Colour => material["pbrMetallicRoughness"]["baseColorTexture"] = json!({"index": index}),
            Slot::Normal => material["normalTexture"] = json!({"index": index}),
        }
    }
}

struct Embedded<'a> {
    slot: Slot,
    png: &'a [u8],
}

/// The textures that a model has a use for: without coordinates or normals there is none.
fn textures(model: &TexturedMesh) -> Vec<Embedded<'_>> {
    let mapped = !model.mesh.uvs.is_empty();
    let colour = model.texture_png.as_ref().filter(|_| mapped);
    let normal = model.normal_png.as_ref().filter(|_| mapped && !model.mesh.normals.is_empty());
    let all = [(Slot::Colour, colour), (Slot::Normal, normal)];
    all.into_iter().filter_map(|(slot, png)| png.map(|png| Embedded { slot, png })).collect()
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
        TexturedMesh { mesh, texture_png: Some(b"\x89PNG not looked into".to_vec()), normal_png: None }
    }

    #[test]
    fn a_model_survives_writing_and_reading() {
        let glb = write(&tetrahedron(), &json!({"a": 1})).expect("a good model");
        assert_eq!(glb.len() % 4, 0);
        assert_eq!(read(&glb).expect("our own file"), tetrahedron());
    }

    #[test]
    fn a_normal_map_and_a_dense_surface_travel_along() {
        let mut model = tetrahedron();
        model.mesh.normals = crate::smooth::vertex_normals(&model.mesh);
        model.normal_png = Some(b"\x89PNG another".to_vec());
        let dense = crate::sample::ball(0.5, 6);
        let glb = write_with_dense(&model, &dense, &Value::Null).expect("a good model");
        assert_eq!(read(&glb).expect("our own file"), model);
        assert_eq!(super::dense(&glb).expect("our own file"), Some(dense));
        assert_eq!(super::dense(&write(&model, &Value::Null).expect("a good model")), Ok(None));
        // Without coordinates nothing can be mapped.
        model.mesh.uvs.clear();
        let glb = write(&model, &Value::Null).expect("a good model");
        assert_eq!(read(&glb).expect("our own file").normal_png, None);
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
