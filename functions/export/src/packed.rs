//! The same GLB for the web: 16-bit positions and texture coordinates, 8-bit normals and tangents
//! (`KHR_mesh_quantization`), the textures as lossless WebP (`EXT_texture_webp`). Readers that do not know
//! both extensions refuse it, which is why the plain GLB exists beside it.

use crate::model::{Model, decoded};
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder};
use mesh::glb::{GlbError, Slot, assemble};
use mesh::tangent::tangents;
use serde_json::{Value, json};

/// `bufferView.target` of vertex data, and of indices.
const ARRAY_BUFFER: u32 = 34962;
const ELEMENT_ARRAY_BUFFER: u32 = 34963;
/// Component types of glTF.
const BYTE: u32 = 5120;
const UNSIGNED_SHORT: u32 = 5123;
const UNSIGNED_INT: u32 = 5125;
/// Largest value of 16 bits.
const STEPS: f32 = 65_535.0;

/// The file. `extras` goes to the asset.
///
/// # Errors
/// The texture or the container cannot be written.
pub(crate) fn write(model: &Model, extras: &Value) -> Result<Vec<u8>, GlbError> {
    let mesh = &model.textured.mesh;
    let mut parts = Parts::default();
    let [low, high] = mesh.bounds();
    let extent = (0..3).map(|k| high[k] - low[k]).fold(f32::MIN_POSITIVE, f32::max);
    let place = |p: &[f32; 3]| [0, 1, 2].map(|k| ((p[k] - low[k]) / extent * STEPS).round() as u16);
    let places: Vec<[u16; 3]> = mesh.positions.iter().map(place).collect();
    let bounds = |pick: fn(u16, u16) -> u16, start: u16| {
        [0, 1, 2].map(|k| places.iter().fold(start, |best, place| pick(best, place[k])))
    };
    let position = parts.shorts(&places, "VEC3");
    parts.accessors[position]["min"] = json!(bounds(u16::min, u16::MAX));
    parts.accessors[position]["max"] = json!(bounds(u16::max, 0));
    let mut attributes = json!({"POSITION": position});
    if !mesh.normals.is_empty() {
        attributes["NORMAL"] = json!(parts.directions(&mesh.normals));
    }
    let textures = textures(model)?;
    if textures.iter().any(|(slot, _)| *slot == Slot::Normal) {
        attributes["TANGENT"] = json!(parts.directions(&tangents(mesh)));
    }
    if !textures.is_empty() {
        let short = |value: f32| (value.clamp(0.0, 1.0) * STEPS).round() as u16;
        let uvs: Vec<[u16; 2]> = mesh.uvs.iter().map(|uv| uv.map(short)).collect();
        let accessor = parts.shorts(&uvs, "VEC2");
        parts.accessors[accessor]["normalized"] = json!(true);
        attributes["TEXCOORD_0"] = json!(accessor);
    }
    let indices = parts.indices(&mesh.triangles, mesh.positions.len());
    let primitive = json!({"attributes": attributes, "indices": indices, "material": 0});
    let step = extent / STEPS;
    let node = json!({"mesh": 0, "name": "model", "scale": [step, step, step], "translation": low});
    let mut used = vec!["KHR_mesh_quantization"];
    let mut material =
        json!({"name": "surface", "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.9}});
    let mut document = json!({
        "asset": {"version": "2.0", "generator": "meshwright", "extras": extras},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [{"name": "model", "primitives": [primitive]}],
    });
    if !textures.is_empty() {
        used.push("EXT_texture_webp");
    }
    for (place, (slot, webp)) in textures.iter().enumerate() {
        let view = parts.view(webp, None, None);
        let image = json!({"bufferView": view, "mimeType": "image/webp", "name": slot.name()});
        let texture = json!({"sampler": 0, "extensions": {"EXT_texture_webp": {"source": place}}});
        slot.bind(&mut document, &mut material, image, texture);
    }
    document["materials"] = json!([material]);
    document["extensionsUsed"] = json!(used);
    document["extensionsRequired"] = json!(used);
    parts.bin.resize(parts.bin.len().next_multiple_of(4), 0);
    document["buffers"] = json!([{"byteLength": parts.bin.len()}]);
    document["bufferViews"] = Value::Array(parts.views);
    document["accessors"] = Value::Array(parts.accessors);
    assemble(&document, &parts.bin)
}

/// The textures that the model has a use for, as WebP.
fn textures(model: &Model) -> Result<Vec<(Slot, Vec<u8>)>, GlbError> {
    let mesh = &model.textured.mesh;
    let mut textures = Vec::new();
    if let Some(texture) = model.texture.as_ref().filter(|_| !mesh.uvs.is_empty()) {
        textures.push((Slot::Colour, webp(texture)?));
    }
    let mapped = !mesh.uvs.is_empty() && !mesh.normals.is_empty();
    if let Some(png) = model.textured.normal_png.as_ref().filter(|_| mapped) {
        let map = decoded(png).map_err(|error| GlbError::Unwritable(error.to_string()))?;
        textures.push((Slot::Normal, webp(&map)?));
    }
    Ok(textures)
}

fn webp(texture: &image::RgbaImage) -> Result<Vec<u8>, GlbError> {
    let rgb = DynamicImage::from(texture.clone()).into_rgb8();
    let mut bytes = Vec::new();
    let encoder = WebPEncoder::new_lossless(&mut bytes);
    let written = encoder.write_image(rgb.as_raw(), rgb.width(), rgb.height(), ExtendedColorType::Rgb8);
    written.map_err(|error| GlbError::Unwritable(error.to_string()))?;
    Ok(bytes)
}

/// The binary chunk as it grows. Every row of vertex data begins at a multiple of four bytes.
#[derive(Default)]
struct Parts {
    bin: Vec<u8>,
    views: Vec<Value>,
    accessors: Vec<Value>,
}

impl Parts {
    fn view(&mut self, bytes: &[u8], target: Option<u32>, stride: Option<usize>) -> usize {
        self.bin.resize(self.bin.len().next_multiple_of(4), 0);
        let mut view = json!({"buffer": 0, "byteOffset": self.bin.len(), "byteLength": bytes.len()});
        if let Some(target) = target {
            view["target"] = json!(target);
        }
        if let Some(stride) = stride {
            view["byteStride"] = json!(stride);
        }
        self.bin.extend_from_slice(bytes);
        self.views.push(view);
        self.views.len() - 1
    }

    fn accessor(&mut self, accessor: Value) -> usize {
        self.accessors.push(accessor);
        self.accessors.len() - 1
    }

    fn shorts<const N: usize>(&mut self, rows: &[[u16; N]], kind: &str) -> usize {
        let stride = (2 * N).next_multiple_of(4);
        let mut bytes = Vec::with_capacity(stride * rows.len());
        for row in rows {
            row.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let view = self.view(&bytes, Some(ARRAY_BUFFER), Some(stride));
        let count = rows.len();
        self.accessor(
            json!({"bufferView": view, "componentType": UNSIGNED_SHORT, "count": count, "type": kind}),
        )
    }

    /// Unit directions, with a sign after them where there is one.
    fn directions<const N: usize>(&mut self, directions: &[[f32; N]]) -> usize {
        let byte = |value: &f32| (value * 127.0).round() as i8 as u8;
        let mut bytes = Vec::with_capacity(4 * directions.len());
        for direction in directions {
            bytes.extend(direction.iter().map(byte));
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let view = self.view(&bytes, Some(ARRAY_BUFFER), Some(4));
        self.accessor(json!({"bufferView": view, "componentType": BYTE, "normalized": true,
            "count": directions.len(), "type": format!("VEC{N}")}))
    }

    fn indices(&mut self, triangles: &[[u32; 3]], vertices: usize) -> usize {
        let corners = triangles.as_flattened();
        // 65535 is the primitive restart value and no index.
        let (bytes, kind): (Vec<u8>, u32) = if vertices <= 65_535 {
            (corners.iter().flat_map(|index| (*index as u16).to_le_bytes()).collect(), UNSIGNED_SHORT)
        } else {
            (corners.iter().flat_map(|index| index.to_le_bytes()).collect(), UNSIGNED_INT)
        };
        let view = self.view(&bytes, Some(ELEMENT_ARRAY_BUFFER), None);
        self.accessor(
            json!({"bufferView": view, "componentType": kind, "count": corners.len(), "type": "SCALAR"}),
        )
    }
}
