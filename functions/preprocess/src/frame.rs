//! Letterboxes the subject to 85 % of 512².

use crate::mask::Parts;
use image::{Rgba, Rgba32FImage, RgbaImage, imageops};

/// Side of the cut-out.
pub(crate) const SIDE_PX: u32 = 512;
/// Longer side of the subject in it: 85 %.
const SUBJECT_PX: f64 = 435.0;
/// Subjects at least this long keep a pixel of rim around them.
const RIM_FROM_PX: u32 = 16;

/// The subject, scaled and centred. Colours are weighted by alpha while scaling, so that what is transparent
/// lends nothing.
pub(crate) fn letterbox(cutout: &RgbaImage, parts: &Parts) -> RgbaImage {
    let ([x0, y0, x1, y1], longest) = (parts.bounds, parts.longest_px());
    // One pixel around keeps the soft rim, where it is not as large as the subject.
    let around = u32::from(longest >= RIM_FROM_PX);
    let (x0, y0) = (x0.saturating_sub(around), y0.saturating_sub(around));
    let (x1, y1) = ((x1 + around).min(cutout.width() - 1), (y1 + around).min(cutout.height() - 1));
    let (width, height) = (x1 - x0 + 1, y1 - y0 + 1);
    let subject = Rgba32FImage::from_fn(width, height, |x, y| {
        let pixel = cutout.get_pixel(x0 + x, y0 + y);
        let alpha = f32::from(pixel[3]) / 255.0;
        Rgba([0, 1, 2, 3].map(|c| if c == 3 { alpha } else { f32::from(pixel[c]) / 255.0 * alpha }))
    });
    let scale = SUBJECT_PX / f64::from(longest);
    let size = |side: u32| ((f64::from(side) * scale).round() as u32).clamp(1, SIDE_PX);
    let filter = if scale > 1.0 { imageops::FilterType::CatmullRom } else { imageops::FilterType::Triangle };
    let scaled = imageops::resize(&subject, size(width), size(height), filter);
    let mut framed = RgbaImage::new(SIDE_PX, SIDE_PX);
    let (left, top) = ((SIDE_PX - scaled.width()) / 2, (SIDE_PX - scaled.height()) / 2);
    for (x, y, pixel) in scaled.enumerate_pixels() {
        let alpha = pixel[3].clamp(0.0, 1.0);
        if alpha > 0.5 / 255.0 {
            let colour = |c: usize| (pixel[c] / alpha * 255.0).clamp(0.0, 255.0).round() as u8;
            let straight = [colour(0), colour(1), colour(2), (alpha * 255.0).round() as u8];
            framed.put_pixel(left + x, top + y, Rgba(straight));
        }
    }
    framed
}
