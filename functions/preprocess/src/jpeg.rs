//! JPEG, read strictly: a file that ends too early or whose data is broken is refused, where lenient decoders
//! fill the rest with grey.

use crate::decode::{check_size, unreadable};
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use stage::StageError;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Pixels of all scans of a progressive picture together: forty of the largest. Each scan is a walk over all
/// pixels, however short its data; cameras and programs make at most a dozen.
const SCANNED_PIXELS_MAX: u64 = 1_600_000_000;
/// Scans of any picture.
const SCANS_MAX: u64 = 100;

/// Grey stays grey, everything else becomes RGB. Not turned yet.
pub(crate) fn decode(bytes: &[u8]) -> Result<(DynamicImage, Orientation), StageError> {
    // The headers leniently: cameras leave stray bytes between them. The limits are our own.
    let lenient = DecoderOptions::default().set_strict_mode(false);
    let lenient = lenient.set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), lenient);
    decoder.decode_headers().map_err(unreadable)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let (width, height) = (width as u32, height as u32);
    check_size(width, height)?;
    if !has_end(bytes) {
        return Err(unreadable("its end is missing"));
    }
    let scans = (SCANNED_PIXELS_MAX / (u64::from(width) * u64::from(height)).max(1)).clamp(1, SCANS_MAX);
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let wanted = if grey { ColorSpace::Luma } else { ColorSpace::RGB };
    let strict = lenient.set_strict_mode(true).jpeg_set_out_colorspace(wanted);
    let strict = strict.jpeg_set_max_scans(scans as usize);
    decoder.set_options(strict);
    let pixels = decoder.decode().map_err(unreadable)?;
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let image = if grey {
        GrayImage::from_raw(width, height, pixels).map(DynamicImage::from)
    } else {
        RgbImage::from_raw(width, height, pixels).map(DynamicImage::from)
    };
    let image = image.ok_or_else(|| unreadable("it has fewer pixels than it says"))?;
    Ok((image, orientation.unwrap_or(Orientation::NoTransforms)))
}

/// Whether an end-of-image marker follows the first scan. Segments before it are stepped over by their
/// length: a thumbnail inside one has an end of its own.
fn has_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xff, marker]) = bytes.get(at..at + 2) {
        match marker {
            // A fill byte.
            0xff => at += 1,
            // Start of scan. In its data, 0xff is followed by zero or a restart marker.
            0xda => break,
            _ => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
        }
    }
    bytes.get(at..).is_some_and(|rest| rest.windows(2).any(|pair| pair == [0xff, 0xd9]))
}
