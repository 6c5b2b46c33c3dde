//! Regions of a picture: connected pixels that satisfy a test; and the subject's parts, which every later
//! step asks for.

use crate::ALPHA_MIN;
use image::{Rgba, RgbaImage};
use mesh::cutout::SPECK_SHARE;
use stage::StageError;

/// The parts of a cut-out that make up its subject.
pub(crate) struct Parts {
    /// Pixels of each part.
    pub(crate) sizes: Vec<usize>,
    /// First and last column and row: x0, y0, x1, y1.
    pub(crate) bounds: [u32; 4],
}

impl Parts {
    /// Finds them, and clears specks: they must not decide where the frame is.
    ///
    /// # Errors
    /// Rejected: nothing is opaque, or there are only specks.
    pub(crate) fn of(cutout: &mut RgbaImage) -> Result<Parts, StageError> {
        let subject: Vec<bool> = cutout.pixels().map(|pixel| pixel[3] >= ALPHA_MIN).collect();
        let (labels, sizes) = regions(&subject, cutout.width() as usize);
        let total: usize = sizes.iter().sum();
        let kept = |label: u32| sizes[label as usize] as f64 >= SPECK_SHARE * total as f64;
        let mut bounds = [u32::MAX, u32::MAX, 0, 0];
        for ((x, y, pixel), label) in cutout.enumerate_pixels_mut().zip(labels) {
            if label == 0 {
                continue;
            }
            if kept(label) {
                let [x0, y0, x1, y1] = bounds;
                bounds = [x0.min(x), y0.min(y), x1.max(x), y1.max(y)];
            } else {
                *pixel = Rgba([0; 4]);
            }
        }
        let specks = sizes.len() - 1;
        let sizes: Vec<usize> =
            (1..=specks).filter(|label| kept(*label as u32)).map(|label| sizes[label]).collect();
        match (specks, sizes.is_empty()) {
            (0, _) => Err(nothing()),
            (_, true) => Err(StageError::Rejected(format!(
                "only {specks} specks and no main part were found; use a picture with one clear subject"
            ))),
            _ => Ok(Parts { sizes, bounds }),
        }
    }

    /// Pixels of all parts.
    pub(crate) fn pixels(&self) -> usize {
        self.sizes.iter().sum()
    }

    /// The longer side of the box around all parts.
    pub(crate) fn longest_px(&self) -> u32 {
        let [x0, y0, x1, y1] = self.bounds;
        (x1 - x0 + 1).max(y1 - y0 + 1)
    }
}

/// What a person is told in whose picture there is no subject.
pub(crate) fn nothing() -> StageError {
    StageError::Rejected(
        "nothing was found in the picture; use one in which the subject fills more of the frame".to_owned(),
    )
}

/// Labels 4-connected regions of `inside`; 0 is outside, regions count from 1. Returns labels and sizes
/// (index 0 unused).
pub(crate) fn regions(inside: &[bool], width: usize) -> (Vec<u32>, Vec<usize>) {
    let mut labels = vec![0u32; inside.len()];
    let (mut sizes, mut open) = (vec![0usize], Vec::new());
    for start in 0..inside.len() {
        if !inside[start] || labels[start] != 0 {
            continue;
        }
        let label = sizes.len() as u32;
        sizes.push(0);
        labels[start] = label;
        open.push(start);
        while let Some(at) = open.pop() {
            sizes[label as usize] += 1;
            for near in neighbours(at, width, inside.len()) {
                if inside[near] && labels[near] == 0 {
                    labels[near] = label;
                    open.push(near);
                }
            }
        }
    }
    (labels, sizes)
}

/// The up to four neighbours of a pixel.
pub(crate) fn neighbours(at: usize, width: usize, count: usize) -> impl Iterator<Item = usize> {
    let column = at % width;
    let left = (column > 0).then(|| at - 1);
    let right = (column + 1 < width).then(|| at + 1);
    let up = at.checked_sub(width);
    let down = Some(at + width).filter(|down| *down < count);
    [left, right, up, down].into_iter().flatten()
}

/// The whole picture as subject; what is transparent lies on white.
pub(crate) fn whole(mut image: RgbaImage) -> RgbaImage {
    for pixel in image.pixels_mut().filter(|pixel| pixel[3] < 255) {
        let alpha = u32::from(pixel[3]);
        let on_white = |c: usize| ((u32::from(pixel[c]) * alpha + 255 * (255 - alpha)) / 255) as u8;
        pixel.0 = [on_white(0), on_white(1), on_white(2), 255];
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_do_not_join_around_a_corner_or_over_the_edge() {
        let inside = [true, false, true, false, true, false].map(|b| b);
        let (labels, sizes) = regions(&inside, 3);
        assert_eq!(labels, [1, 0, 2, 0, 3, 0]);
        assert_eq!(sizes, [0, 1, 1, 1]);
    }
}
