//! Bytes of a stranger -> upright RGBA. Every limit is checked before memory is taken; metadata is dropped.

use crate::{jpeg, tone};
use domain::{PICTURE_PIXELS_MAX, PICTURE_SIDE_PX_MAX};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbaImage};
use stage::StageError;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Largest upload.
const BYTES_MAX: usize = 25_000_000;
/// What the decoder may allocate.
const DECODER_BYTES_MAX: u64 = 256 << 20;
/// OpenEXR's decoder holds the whole picture twice.
const EXR_COPIES: u64 = 2;
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

/// What a person is told of a file that a decoder gives up on.
pub(crate) fn unreadable(why: impl std::fmt::Display) -> StageError {
    rejected(format!("the picture cannot be read: {why}; save it again as png or jpeg"))
}

/// Refuses what is too large, before its pixels take memory.
pub(crate) fn check_size(width: u32, height: u32) -> Result<(), StageError> {
    let pixels = u64::from(width) * u64::from(height);
    if width.max(height) > PICTURE_SIDE_PX_MAX || pixels > PICTURE_PIXELS_MAX {
        return Err(rejected(format!(
            "the picture has {width} x {height} pixels; at most {PICTURE_SIDE_PX_MAX} a side and 40 million \
             in all are taken"
        )));
    }
    if pixels == 0 {
        return Err(rejected("the picture has no pixels; save it again as png or jpeg"));
    }
    Ok(())
}

/// Reads a PNG, JPEG, WebP or TIFF by its magic bytes, and an OpenEXR where that is wanted; of an animation
/// or of several pages, the first.
pub(crate) fn decode(bytes: &[u8], takes_exr: bool) -> Result<Decoded, StageError> {
    if bytes.len() > BYTES_MAX {
        return Err(rejected(format!("the file has {} bytes; at most 25 MB are taken", bytes.len())));
    }
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP | ImageFormat::Tiff)) => format,
        Ok(ImageFormat::OpenExr) if takes_exr => ImageFormat::OpenExr,
        Ok(other) => {
            return Err(rejected(format!("{other:?} pictures are not taken; use png, jpeg, webp or tiff")));
        }
        Err(_) => return Err(rejected("this is no picture; use png, jpeg, webp or tiff")),
    };
    // A decoder that panics has met a file that it cannot read: no better the next time.
    let read = || if format == ImageFormat::Jpeg { jpeg::decode(bytes) } else { plain(bytes, format) };
    let read = catch_unwind(AssertUnwindSafe(read));
    let (image, orientation) = read.unwrap_or_else(|_| Err(unreadable("its decoder broke down")))?;
    let source_px = [image.width(), image.height()];
    // Shrunk first: then there is less to turn.
    let mut image = DynamicImage::from(working_size(image));
    image.apply_orientation(orientation);
    let turned = orientation != Orientation::NoTransforms;
    Ok(Decoded { image: image.into_rgba8(), source_px, turned })
}

/// All but JPEG.
fn plain(bytes: &[u8], format: ImageFormat) -> Result<(DynamicImage, Orientation), StageError> {
    let too_large =
        || rejected("the picture needs more than 256 MB when unpacked; use fewer pixels or 8 bits a channel");
    let refused = |error: ImageError| match error {
        ImageError::Limits(_) => too_large(),
        other => unreadable(other),
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    // Sides are checked below, where the sentence can name them.
    (limits.max_image_width, limits.max_image_height) = (None, None);
    limits.max_alloc = Some(DECODER_BYTES_MAX);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(refused)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    // Some decoders ignore the limit on allocations: what the whole picture needs is known here.
    let bytes_needed = match format {
        ImageFormat::OpenExr => exr_bytes(bytes)?.saturating_mul(EXR_COPIES),
        _ => decoder.total_bytes(),
    };
    if bytes_needed > DECODER_BYTES_MAX {
        return Err(too_large());
    }
    let orientation = match format {
        ImageFormat::Tiff => decoder.orientation().ok(),
        _ => decoder.exif_metadata().ok().flatten().and_then(|exif| orientation_of(&exif)),
    };
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(refused)?;
    Ok((
        if format == ImageFormat::OpenExr { tone::mapped(image.into_rgba32f()).into() } else { image },
        orientation,
    ))
}

/// What an EXR's layers need: what is stored may be far larger than the window that is shown, and the decoder
/// allocates for it what no limit knows of.
fn exr_bytes(bytes: &[u8]) -> Result<u64, StageError> {
    let meta = exr::meta::MetaData::read_from_buffered(Cursor::new(bytes), false).map_err(unreadable)?;
    let mut largest = 0;
    for header in &meta.headers {
        let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
        check_size(side(header.layer_size.width()), side(header.layer_size.height()))?;
        let area = header.layer_size.area() as u64;
        largest = largest.max(area.saturating_mul(header.channels.bytes_per_pixel as u64));
    }
    Ok(largest)
}

/// What an EXIF chunk says. Some programs write JPEG's prefix into every format.
fn orientation_of(exif: &[u8]) -> Option<Orientation> {
    Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif))
}

/// Shrinks by averaging whole blocks, colours weighted by alpha, so that transparent pixels lend nobody their
/// colour.
fn working_size(image: DynamicImage) -> RgbaImage {
    let size = [image.width(), image.height()];
    let factor = size[0].max(size[1]).div_ceil(WORK_SIDE_PX);
    if factor <= 1 {
        return image.into_rgba8();
    }
    match image {
        DynamicImage::ImageLuma8(pixels) => averaged(pixels.as_raw(), size, factor, |&[v]| [v, v, v, 255]),
        DynamicImage::ImageRgb8(pixels) => {
            averaged(pixels.as_raw(), size, factor, |&[r, g, b]| [r, g, b, 255])
        }
        other => averaged(other.into_rgba8().as_raw(), size, factor, |&pixel| pixel),
    }
}

fn averaged<const N: usize>(
    raw: &[u8],
    [width, height]: [u32; 2],
    factor: u32,
    rgba: impl Fn(&[u8; N]) -> [u8; 4],
) -> RgbaImage {
    let (columns, rows) = (width.div_ceil(factor), height.div_ceil(factor));
    let mut small = RgbaImage::new(columns, rows);
    let mut sums = vec![[0_u32; 4]; columns as usize];
    let band = width as usize * N * factor as usize;
    for (source, row) in raw.chunks(band).zip(small.chunks_exact_mut(columns as usize * 4)) {
        sums.fill([0; 4]);
        for line in source.chunks_exact(width as usize * N) {
            for (block, sum) in line.chunks(N * factor as usize).zip(&mut sums) {
                for pixel in block.as_chunks::<N>().0 {
                    let [r, g, b, a] = rgba(pixel).map(u32::from);
                    *sum = [sum[0] + r * a, sum[1] + g * a, sum[2] + b * a, sum[3] + a];
                }
            }
        }
        let lines = (source.len() / (width as usize * N)) as u32;
        for (x, (pixel, [r, g, b, alpha])) in (0..).zip(row.as_chunks_mut::<4>().0.iter_mut().zip(&sums)) {
            let count = lines * factor.min(width - x * factor);
            let mean = |sum: &u32| sum.checked_div(*alpha).unwrap_or(0) as u8;
            *pixel = [mean(r), mean(g), mean(b), (alpha / count) as u8];
        }
    }
    small
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
        png.extend_from_slice(&[8, 6, 0, 0, 0, 0xe3, 0x70, 0x46, 0x39]);
        png.extend_from_slice(b"\0\0\0\x04IDAT\0\0\0\0");
        let refused = decode(&png, false).err().expect("too large").to_string();
        assert!(refused.contains("20000 x 20000 pixels; at most 8192 a side"), "{refused}");
    }

    #[test]
    fn shrinking_weighs_colours_by_alpha() {
        let image = RgbaImage::from_fn(WORK_SIDE_PX * 2, 2, |x, _| {
            if x % 2 == 0 { image::Rgba([200, 0, 0, 255]) } else { image::Rgba([0, 255, 0, 0]) }
        });
        let small = working_size(image.into());
        assert_eq!(small.dimensions(), (WORK_SIDE_PX, 1));
        assert_eq!(small.get_pixel(3, 0).0, [200, 0, 0, 127]);
    }
}
