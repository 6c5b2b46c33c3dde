//! `preview.png`: the model from the front, a little from the right and above.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbaImage};
use mesh::TexturedMesh;
use mesh::raster::{View, render};
use stage::StageError;

/// Side of the preview.
const SIDE_PX: u32 = 512;
/// From the right, in radians: the sides show, the picture is still known.
const YAW: f32 = 0.5;
/// From above, in radians.
const PITCH: f32 = 0.25;
/// Room around the model.
const ROOM: f32 = 1.08;

pub(crate) fn png(model: &TexturedMesh) -> Result<Vec<u8>, StageError> {
    let [low, high] = model.mesh.bounds();
    let centre = [0, 1, 2].map(|k| (low[k] + high[k]) / 2.0);
    let half = [0, 1, 2].map(|k| (high[k] - low[k]) / 2.0);
    // The sphere around the box fits from every side; the longest half axis is closer for what is flat.
    let sphere = half.iter().map(|half| half * half).sum::<f32>().sqrt();
    let longest = half.into_iter().fold(0.0, f32::max);
    let half_extent = (longest * 1.1).min(sphere).max(f32::MIN_POSITIVE) * ROOM;
    let texture = texture(model)?;
    let view = View { yaw: YAW, pitch: PITCH, size_px: SIDE_PX, half_extent, centre };
    let picture = render(&model.mesh, texture.as_ref(), &view);
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive);
    encoder
        .write_image(picture.as_raw(), SIDE_PX, SIDE_PX, ExtendedColorType::Rgba8)
        .map_err(|error| StageError::Failed(format!("encode the preview: {error}")))?;
    Ok(bytes)
}

fn texture(model: &TexturedMesh) -> Result<Option<RgbaImage>, StageError> {
    let Some(png) = &model.texture_png else { return Ok(None) };
    let decoded = image::load_from_memory_with_format(png, image::ImageFormat::Png);
    decoded
        .map(|texture| Some(texture.into_rgba8()))
        .map_err(|error| StageError::Failed(format!("decode the texture: {error}")))
}
