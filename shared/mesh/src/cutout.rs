//! The cut-out picture and where it stands in space: the one convention that shape (picture to mesh) and
//! texture (mesh back to picture) share, so that neither has to tell the other.

use image::{ImageFormat, ImageReader, Limits, Rgba, RgbaImage};

/// Alpha from which a pixel belongs to the object.
pub const OPAQUE_MIN: u8 = 128;
/// Parts with a smaller share of the object's pixels are specks: cleared before anything else.
pub const SPECK_SHARE: f64 = 0.005;
/// Largest side that is read; preprocess writes 512.
const SIDE_PX_MAX: u32 = 4096;

/// Why a picture cannot be used as a cut-out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutoutFault {
    /// The bytes are no PNG, or a too large one.
    #[error("the cut-out cannot be read: {0}")]
    Unreadable(String),
    /// No pixel is opaque.
    #[error("nothing in the picture is opaque")]
    Empty,
    /// Only specks, none of which has half a percent of the object.
    #[error("the object consists of {0} specks and no main part")]
    Specks(usize),
}

/// A cut-out without its specks.
#[derive(Clone, Debug)]
pub struct Cutout {
    /// Straight (not premultiplied) alpha; specks are transparent.
    pub image: RgbaImage,
    /// Where it stands.
    pub frame: CutoutFrame,
}

/// How a cut-out's pixels and a mesh's x and y belong together.
///
/// Pixel coordinates have (0, 0) at the picture's upper left corner, pixel centres at halves, y down. The
/// middle of the object's bounding box (where alpha crosses one half, between pixels too) is the mesh's
/// origin, and the longer side of that box is one metre. x goes right and y up, as the front (+Z) is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CutoutFrame {
    /// The middle of the bounding box, pixels.
    pub centre_px: [f32; 2],
    /// Width and height of the bounding box, pixels.
    pub size_px: [f32; 2],
}

impl CutoutFrame {
    /// Length of a pixel's side.
    pub fn metres_per_px(&self) -> f32 {
        1.0 / self.size_px[0].max(self.size_px[1])
    }

    /// Where a place in the picture is on the mesh.
    pub fn to_mesh(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let scale = self.metres_per_px();
        [(x - self.centre_px[0]) * scale, (self.centre_px[1] - y) * scale]
    }

    /// Where a place on the mesh is in the picture.
    pub fn to_px(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let scale = self.size_px[0].max(self.size_px[1]);
        [self.centre_px[0] + x * scale, self.centre_px[1] - y * scale]
    }
}

impl Cutout {
    /// Reads a PNG, clears specks and finds the frame.
    ///
    /// # Errors
    /// See [`CutoutFault`].
    pub fn read(png: &[u8]) -> Result<Cutout, CutoutFault> {
        let mut reader = ImageReader::with_format(std::io::Cursor::new(png), ImageFormat::Png);
        let mut limits = Limits::default();
        limits.max_image_width = Some(SIDE_PX_MAX);
        limits.max_image_height = Some(SIDE_PX_MAX);
        reader.limits(limits);
        let picture = reader.decode().map_err(|error| CutoutFault::Unreadable(error.to_string()))?;
        Cutout::of(picture.into_rgba8())
    }

    /// As [`Cutout::read`], from pixels.
    ///
    /// # Errors
    /// [`CutoutFault::Empty`], [`CutoutFault::Specks`].
    pub fn of(mut image: RgbaImage) -> Result<Cutout, CutoutFault> {
        clear_specks(&mut image)?;
        let frame = frame_of(&image);
        Ok(Cutout { image, frame })
    }
}

/// Makes parts (pixels that touch, at corners too) below the share transparent.
fn clear_specks(image: &mut RgbaImage) -> Result<(), CutoutFault> {
    let (labels, sizes) = parts(image);
    let total: usize = sizes.iter().sum();
    if total == 0 {
        return Err(CutoutFault::Empty);
    }
    let kept = |part: usize| sizes[part] as f64 >= SPECK_SHARE * total as f64;
    if !(0..sizes.len()).any(kept) {
        return Err(CutoutFault::Specks(sizes.len()));
    }
    for (pixel, &label) in image.pixels_mut().zip(&labels) {
        if label != u32::MAX && !kept(label as usize) {
            *pixel = Rgba([0; 4]);
        }
    }
    Ok(())
}

/// The part of each pixel (`u32::MAX`: none) and the pixels of each part.
fn parts(image: &RgbaImage) -> (Vec<u32>, Vec<usize>) {
    let (width, height) = (image.width() as i32, image.height() as i32);
    let opaque: Vec<bool> = image.pixels().map(|pixel| pixel[3] >= OPAQUE_MIN).collect();
    let mut labels = vec![u32::MAX; opaque.len()];
    let (mut sizes, mut open) = (Vec::new(), Vec::new());
    for start in 0..opaque.len() {
        if !opaque[start] || labels[start] != u32::MAX {
            continue;
        }
        let label = sizes.len() as u32;
        labels[start] = label;
        sizes.push(0);
        open.push(start);
        while let Some(at) = open.pop() {
            sizes[label as usize] += 1;
            let (x, y) = (at as i32 % width, at as i32 / width);
            for near_y in (y - 1).max(0)..(y + 2).min(height) {
                for near_x in (x - 1).max(0)..(x + 2).min(width) {
                    let near = (near_y * width + near_x) as usize;
                    if opaque[near] && labels[near] == u32::MAX {
                        labels[near] = label;
                        open.push(near);
                    }
                }
            }
        }
    }
    (labels, sizes)
}

fn frame_of(image: &RgbaImage) -> CutoutFrame {
    let mut columns = vec![0_u8; image.width() as usize];
    let mut rows = vec![0_u8; image.height() as usize];
    for (x, y, pixel) in image.enumerate_pixels() {
        columns[x as usize] = columns[x as usize].max(pixel[3]);
        rows[y as usize] = rows[y as usize].max(pixel[3]);
    }
    let ([left, right], [top, bottom]) = (extent(&columns), extent(&rows));
    CutoutFrame {
        centre_px: [(left + right) * 0.5, (top + bottom) * 0.5],
        size_px: [(right - left).max(1.0), (bottom - top).max(1.0)],
    }
}

/// Where the largest alpha per line crosses one half, first and last, between pixel centres.
fn extent(profile: &[u8]) -> [f32; 2] {
    let threshold = f32::from(OPAQUE_MIN) - 0.5;
    let crossing = |at: usize, outside: Option<&u8>| {
        let (inside, outside) = (f32::from(profile[at]), outside.map_or(0.0, |&alpha| f32::from(alpha)));
        (inside - threshold) / (inside - outside)
    };
    let first = profile.iter().position(|&alpha| alpha >= OPAQUE_MIN).unwrap_or(0);
    let last = profile.iter().rposition(|&alpha| alpha >= OPAQUE_MIN).unwrap_or(0);
    let before = first.checked_sub(1).and_then(|at| profile.get(at));
    [first as f32 + 0.5 - crossing(first, before), last as f32 + 0.5 + crossing(last, profile.get(last + 1))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(side: u32, alpha: impl Fn(u32, u32) -> u8) -> RgbaImage {
        RgbaImage::from_fn(side, side, |x, y| Rgba([9, 9, 9, alpha(x, y)]))
    }

    #[test]
    fn the_frame_is_the_box_of_the_object_and_its_longer_side_a_metre() {
        let inside = |x, y| (10..30).contains(&x) && (20..60).contains(&y);
        let cutout = Cutout::of(picture(64, |x, y| 255 * u8::from(inside(x, y)))).expect("an object");
        let frame = cutout.frame;
        assert_eq!(frame.centre_px, [20.0, 40.0]);
        assert!((frame.size_px[1] - 40.0).abs() < 0.01, "{frame:?}");
        let upper_left = frame.to_mesh([10.0, 20.0]);
        assert!((upper_left[0] + 0.25).abs() < 1e-3 && (upper_left[1] - 0.5).abs() < 1e-3);
        let back = frame.to_px(frame.to_mesh([13.0, 57.0]));
        assert!((back[0] - 13.0).abs() < 1e-3 && (back[1] - 57.0).abs() < 1e-3);
    }

    #[test]
    fn specks_are_cleared_and_do_not_move_the_frame() {
        let object = |x: u32, y: u32| (20..40).contains(&x) && (20..40).contains(&y);
        let plain = Cutout::of(picture(64, |x, y| 255 * u8::from(object(x, y)))).expect("an object");
        let specked = picture(64, |x, y| 255 * u8::from(object(x, y) || (x, y) == (2, 3)));
        let specked = Cutout::of(specked).expect("an object");
        assert_eq!((specked.frame, specked.image.get_pixel(2, 3)[3]), (plain.frame, 0));
    }

    #[test]
    fn nothing_and_dust_are_refused() {
        assert_eq!(Cutout::of(picture(64, |_, _| 100)).expect_err("empty"), CutoutFault::Empty);
        let dust = picture(64, |x, y| 255 * u8::from(x % 3 == 0 && y % 3 == 0));
        assert_eq!(Cutout::of(dust).expect_err("dust"), CutoutFault::Specks(22 * 22));
        assert!(matches!(Cutout::read(b"no png"), Err(CutoutFault::Unreadable(_))));
    }
}
