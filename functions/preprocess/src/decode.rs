//! Bytes of a stranger -> upright RGBA. Every limit is checked before memory is taken; metadata is dropped.

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbaImage};
use stage::StageError;
use std::io::Cursor;

/// Largest upload.
const BYTES_MAX: usize = 25_000_000;
/// Longest side.
const SIDE_PX_MAX: u32 = 8192;
/// Most pixels.
const PIXELS_MAX: u64 = 40_000_000;
/// What the decoder may allocate.
const DECODER_BYTES_MAX: u64 = 256 << 20;
/// Longest side that is worked on: the cut-out has 512, finer detail does not reach it.
const WORK_SIDE_PX: u32 = 1280;

/// An upright picture of working size.
pub(crate) struct Decoded {
    pub(crate) image: RgbaImage,
    /// Width and height as uploaded, before turning.
    pub(crate) source_px: [u32; 2],
    /// Whether the camera said to turn it.
    pub(crate) turned: bool,
}

fn rejected(reason: impl Into<String>) -> StageError {
    StageError::Rejected(reason.into())
}

/// Reads a PNG, JPEG or WebP by its magic bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<Decoded, StageError> {
    if bytes.len() > BYTES_MAX {
        return Err(rejected(format!("the file has {} bytes; at most 25 MB are taken", bytes.len())));
    }
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) => format,
        Ok(other) => {
            return Err(rejected(format!("{other:?} pictures are not taken; use png, jpeg or webp")));
        }
        Err(_) => return Err(rejected("this is no picture; use png, jpeg or webp")),
    };
    let unreadable = |error: image::ImageError| rejected(format!("the picture cannot be read: {error}"));
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_PX_MAX);
    limits.max_image_height = Some(SIDE_PX_MAX);
    limits.max_alloc = Some(DECODER_BYTES_MAX);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(unreadable)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if width > SIDE_PX_MAX || height > SIDE_PX_MAX || pixels > PIXELS_MAX {
        return Err(rejected(format!(
            "the picture has {width} x {height} pixels; at most 8192 a side and 40 million in all are taken"
        )));
    }
    if pixels == 0 {
        return Err(rejected("the picture has no pixels"));
    }
    // Some decoders ignore the limit on allocations: what the whole picture needs is known here.
    if decoder.total_bytes() > DECODER_BYTES_MAX {
        return Err(rejected(
            "the picture needs more than 256 MB when unpacked; use fewer pixels or 8 bits a channel",
        ));
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
    image.apply_orientation(orientation);
    let turned = orientation != Orientation::NoTransforms;
    Ok(Decoded { image: working_size(image.into_rgba8()), source_px: [width, height], turned })
}

/// Shrinks by averaging whole blocks, colours weighted by alpha, so that transparent pixels lend nobody their
/// colour.
fn working_size(image: RgbaImage) -> RgbaImage {
    let (width, height) = image.dimensions();
    let factor = width.max(height).div_ceil(WORK_SIDE_PX);
    if factor <= 1 {
        return image;
    }
    RgbaImage::from_fn(width.div_ceil(factor), height.div_ceil(factor), |x, y| {
        let (mut colour, mut alpha, mut count) = ([0u32; 3], 0u32, 0u32);
        for sy in y * factor..((y + 1) * factor).min(height) {
            for sx in x * factor..((x + 1) * factor).min(width) {
                let pixel = image.get_pixel(sx, sy);
                let a = u32::from(pixel[3]);
                colour = [0, 1, 2].map(|c| colour[c] + u32::from(pixel[c]) * a);
                (alpha, count) = (alpha + a, count + 1);
            }
        }
        let [r, g, b] = colour.map(|sum| sum.checked_div(alpha).unwrap_or(0) as u8);
        image::Rgba([r, g, b, (alpha / count.max(1)) as u8])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_refused_by_its_header() {
        // A PNG header that promises 20000² pixels, and nothing behind it.
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend_from_slice(&20_000u32.to_be_bytes());
        png.extend_from_slice(&20_000u32.to_be_bytes());
        png.extend_from_slice(&[8, 6, 0, 0, 0, 0, 0, 0, 0]);
        assert!(matches!(decode(&png), Err(StageError::Rejected(_))));
    }

    #[test]
    fn shrinking_weighs_colours_by_alpha() {
        let image = RgbaImage::from_fn(WORK_SIDE_PX * 2, 2, |x, _| {
            if x % 2 == 0 { image::Rgba([200, 0, 0, 255]) } else { image::Rgba([0, 255, 0, 0]) }
        });
        let small = working_size(image);
        assert_eq!(small.dimensions(), (WORK_SIDE_PX, 1));
        assert_eq!(small.get_pixel(3, 0).0, [200, 0, 0, 127]);
    }
}
