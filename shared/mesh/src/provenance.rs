//! What was done to a picture on its way to a model, carried inside the files that stages hand on: as a text
//! chunk of the cut-out, as `provenance` in a GLB's extras. Whoever gets the model can see which engines and
//! which networks went into it.

use image::RgbaImage;
use png::{BitDepth, ColorType, Compression, Encoder, Filter};
use serde_json::Value;

/// What each stage did, in order: objects with at least `stage`, and `model` where a network took part.
pub type Steps = Vec<Value>;

/// The text chunk's keyword.
const KEYWORD: &str = "meshwright";
/// The key in a GLB's extras.
const KEY: &str = "provenance";
/// More steps than stages exist are not ours.
const STEPS_MAX: usize = 16;
/// Longest text that is read.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// A cut-out as PNG, compressed quickly, with its provenance.
///
/// # Errors
/// The encoder's word; a picture without pixels.
pub fn write_cutout(image: &RgbaImage, steps: &Steps) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(ColorType::Rgba);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    encoder.set_filter(Filter::Up);
    let text = Value::from(steps.clone()).to_string();
    let written = encoder.add_itxt_chunk(KEYWORD.to_owned(), text).and_then(|()| encoder.write_header());
    let mut writer = written.map_err(|error| error.to_string())?;
    writer.write_image_data(image.as_raw()).map_err(|error| error.to_string())?;
    writer.finish().map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// The provenance in a cut-out; empty if it has none, as a picture from elsewhere.
pub fn of_cutout(png: &[u8]) -> Steps {
    let reader = png::Decoder::new(std::io::Cursor::new(png)).read_info();
    let Ok(reader) = reader else { return Steps::new() };
    let chunk = reader.info().utf8_text.iter().find(|chunk| chunk.keyword == KEYWORD);
    let text = chunk.and_then(|chunk| chunk.get_text().ok()).filter(|text| text.len() <= TEXT_BYTES_MAX);
    text.and_then(|text| serde_json::from_str(&text).ok()).map_or_else(Steps::new, limited)
}

/// The provenance in a GLB's extras; empty if it has none.
pub fn of_glb(glb: &[u8]) -> Steps {
    match crate::glb::extras(glb).get_mut(KEY).map(Value::take) {
        Some(Value::Array(steps)) => limited(steps),
        _ => Steps::new(),
    }
}

/// `extras` with the provenance: earlier steps, then this one.
pub fn extras(mut extras: Value, mut steps: Steps, own: Option<Value>) -> Value {
    steps.extend(own);
    extras[KEY] = Value::from(steps);
    extras
}

fn limited(mut steps: Steps) -> Steps {
    steps.retain(Value::is_object);
    steps.truncate(STEPS_MAX);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TexturedMesh, glb, sample::cube};
    use image::Rgba;
    use serde_json::json;

    #[test]
    fn steps_travel_in_a_cutout_and_in_a_glb() {
        let image = RgbaImage::from_pixel(3, 2, Rgba([1, 2, 3, 4]));
        let steps = vec![json!({"stage": "preprocess", "method": "ä"})];
        let png = write_cutout(&image, &steps).expect("a good picture");
        assert_eq!(image::load_from_memory(&png).expect("our own PNG").into_rgba8(), image);
        assert_eq!(of_cutout(&png), steps);
        let model = TexturedMesh { mesh: cube([0.0; 3], 0.5), ..TexturedMesh::default() };
        let extras = extras(json!({"a": 1}), steps.clone(), Some(json!({"stage": "shape"})));
        let glb = glb::write(&model, &extras).expect("a good mesh");
        assert_eq!(of_glb(&glb), [steps[0].clone(), json!({"stage": "shape"})]);
    }

    #[test]
    fn files_of_others_have_none() {
        assert!(of_cutout(b"no picture").is_empty());
        assert!(of_glb(b"no model").is_empty());
        let model = TexturedMesh { mesh: cube([0.0; 3], 0.5), ..TexturedMesh::default() };
        for extras in [json!(null), json!({"provenance": 7}), json!({"provenance": ["x"]})] {
            assert!(of_glb(&glb::write(&model, &extras).expect("a good mesh")).is_empty());
        }
    }
}
