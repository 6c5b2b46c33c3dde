//! Pictures of the model: `preview.png`, from the front, a little from the right and above; `turntable.webp`,
//! once around from there.

use crate::animation::{self, Frame};
use crate::gif;
use crate::model::Model;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::imageops;
use image::{ExtendedColorType, ImageEncoder, RgbaImage};
use mesh::Mesh;
use mesh::raster::{Rasteriser, View};
use stage::StageError;
use std::f32::consts::TAU;

/// Side of preview and turntable.
const SIDE_PX: u32 = 512;
/// Pictures in one turn.
const FRAMES: u16 = 36;
/// Each is shown that long.
const FRAME_MS: u32 = 100;
/// From the right, in radians: the sides show, the picture is still known.
const YAW: f32 = 0.5;
/// From above, in radians.
const PITCH: f32 = 0.25;
/// Room around the model.
const ROOM: f32 = 1.08;

pub(crate) fn png(model: &Model) -> Result<Vec<u8>, StageError> {
    // The turn begins with the same picture.
    let drawn = model.turn.get().and_then(|turn| turn.first()).cloned();
    let picture = drawn.unwrap_or_else(|| frames(model, 1).remove(0));
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Up);
    encoder
        .write_image(picture.as_raw(), SIDE_PX, SIDE_PX, ExtendedColorType::Rgba8)
        .map_err(|error| StageError::Failed(format!("encode the preview: {error}")))?;
    Ok(bytes)
}

/// A turn in 36 frames, lossless; the first one is the preview's view.
pub(crate) fn turntable(model: &Model) -> Result<Vec<u8>, StageError> {
    let mut frames = Vec::with_capacity(usize::from(FRAMES));
    for picture in turn(model) {
        let mut webp = Vec::new();
        WebPEncoder::new_lossless(&mut webp)
            .write_image(picture.as_raw(), SIDE_PX, SIDE_PX, ExtendedColorType::Rgba8)
            .map_err(|error| StageError::Failed(format!("encode the turntable: {error}")))?;
        frames.push(Frame { webp, ms: FRAME_MS });
    }
    animation::join(&frames, SIDE_PX).ok_or_else(|| StageError::Failed("join the turntable".to_owned()))
}

/// The same turn as GIF: 255 colours for all frames, and a pixel is there or not.
pub(crate) fn turntable_gif(model: &Model) -> Result<Vec<u8>, StageError> {
    gif::write(turn(model), FRAME_MS)
        .map_err(|error| StageError::Failed(format!("encode the turntable as GIF: {error}")))
}

/// The pictures of a turn, drawn once for both files.
fn turn(model: &Model) -> &[RgbaImage] {
    model.turn.get_or_init(|| frames(model, FRAMES))
}

/// The first pictures of a turn.
fn frames(model: &Model, count: u16) -> Vec<RgbaImage> {
    let mesh = &model.textured.mesh;
    let (texture, first) = (texture(model, SIDE_PX), view(mesh));
    let mut rasteriser = Rasteriser::default();
    let frame = |n: u16| {
        let view = View { yaw: YAW + TAU * f32::from(n) / f32::from(FRAMES), ..first };
        rasteriser.render(mesh, texture.as_ref(), &view)
    };
    (0..count).map(frame).collect()
}

/// The first view of the turn, at a scale at which nothing is cut off anywhere on it.
fn view(mesh: &Mesh) -> View {
    let [low, high] = mesh.bounds();
    let centre = [0, 1, 2].map(|k| (low[k] + high[k]) / 2.0);
    let (sin, cos) = PITCH.sin_cos();
    let reach = mesh.positions.iter().map(|p| {
        let [x, y, z] = [0, 1, 2].map(|k| p[k] - centre[k]);
        let radius = x.hypot(z);
        radius.max(y.abs() * cos + radius * sin)
    });
    let half_extent = reach.fold(f32::MIN_POSITIVE, f32::max) * ROOM;
    View { yaw: YAW, pitch: PITCH, size_px: SIDE_PX, half_extent, centre }
}

/// The texture, halved until a texel is not much smaller than a pixel: else the picture would flicker.
fn texture(model: &Model, size_px: u32) -> Option<RgbaImage> {
    let texture = model.texture.as_ref()?;
    let mut side = texture.width();
    // A chart has about half the texture's side, and about half the picture's.
    while side > 2 * size_px {
        side /= 2;
    }
    if side == texture.width() {
        return Some(texture.clone());
    }
    Some(imageops::thumbnail(texture, side, side))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::AnimationDecoder;
    use image::codecs::webp::WebPDecoder;
    use mesh::TexturedMesh;
    use mesh::sample::torus;
    use mesh::smooth::vertex_normals;

    fn model() -> Model {
        let mut mesh = torus(0.35, 0.15, 40, 20);
        // From lying to standing: else it looks the same all around.
        mesh.positions.iter_mut().for_each(|p| *p = [p[0], -p[2], p[1]]);
        mesh.normals = vertex_normals(&mesh);
        Model::of(TexturedMesh { mesh, ..TexturedMesh::default() }).expect("no texture to decode")
    }

    #[test]
    fn the_turn_begins_with_the_preview_whether_that_was_drawn_before_or_not() {
        let alone = png(&model()).expect("a preview");
        let preview = image::load_from_memory(&alone).expect("a PNG").into_rgba8();
        assert_eq!(preview.dimensions(), (512, 512));
        let turned = model();
        let webp = turntable(&turned).expect("a turn");
        assert!(png(&turned).expect("a preview") == alone);
        let frames = WebPDecoder::new(std::io::Cursor::new(webp)).expect("a WebP").into_frames();
        let frames = frames.collect_frames().expect("frames");
        assert_eq!(frames.len(), 36);
        assert!(frames[0].buffer() == &preview);
        assert!(frames[1].buffer() != &preview);
    }
}
