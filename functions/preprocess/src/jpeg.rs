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

/// Pixels of all scans together: forty of the largest picture. Each scan is a walk over all pixels, however
/// short its data; cameras and programs make at most a dozen.
const SCANNED_PIXELS_MAX: u64 = 1_600_000_000;

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
    let data = after_headers(bytes);
    if markers(data, 0xd9).next().is_none() {
        return Err(unreadable("its end is missing"));
    }
    let scans = markers(data, 0xda).count() as u64;
    if scans.saturating_mul(u64::from(width) * u64::from(height)) > SCANNED_PIXELS_MAX {
        return Err(unreadable(format!("it is stored in {scans} passes")));
    }
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let wanted = if grey { ColorSpace::Luma } else { ColorSpace::RGB };
    let strict = lenient.set_strict_mode(true).jpeg_set_out_colorspace(wanted);
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

/// From the first scan on. Segments before it are stepped over by their length: a thumbnail inside one has
/// scans and an end of its own.
fn after_headers(bytes: &[u8]) -> &[u8] {
    let mut at = 2;
    while let Some(&[0xff, marker]) = bytes.get(at..at + 2) {
        match marker {
            // A fill byte.
            0xff => at += 1,
            // Start of scan. In its data, 0xff is followed by zero or a restart marker.
            0xda => break,
            _ => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return &[] };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
        }
    }
    bytes.get(at..).unwrap_or_default()
}

/// The places of a marker.
fn markers(data: &[u8], marker: u8) -> impl Iterator<Item = &[u8]> {
    data.windows(2).filter(move |pair| **pair == [0xff, marker])
}
