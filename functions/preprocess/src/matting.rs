//! Finds the subject with a network (U²-Net portable), for pictures whose background is not plain.
//!
//! The network sees the whole picture at 320² and answers 0 to 1 per pixel. Small parts that nothing joins
//! to the subject go, and `edge` makes the outline exact. A plain background that is doubtful is compared
//! with the answer.

use crate::edge;
use crate::mask::regions;
use domain::Bytes;
use image::imageops::{self, FilterType};
use image::{GrayImage, Luma, RgbaImage};
use nn::{Model, NnError};
use stage::StageError;

/// Side of what the network sees; the manifest's.
const SIDE_PX: u32 = 320;
/// Mean and deviation of the pictures that it was trained on, per channel (ImageNet's, as U²-Net's authors
/// use them).
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
/// Below the first value a pixel is background, above the second it is subject; between them is doubt.
const RIM: (f32, f32) = (0.25, 0.75);
/// A network that is this sure of no pixel at all has found nothing.
const SURE: f32 = 0.6;
/// Parts smaller than this share of the largest are not the subject.
const PART_SHARE_MIN: f64 = 0.05;

/// What the network says of a picture.
pub(crate) struct Answer {
    /// 0 (background) to 1 (subject) per pixel of what it saw, stretched so that the surest has 1.
    sure: Vec<f32>,
    found: bool,
}

impl Answer {
    /// Asks the network.
    ///
    /// # Errors
    /// It did not compute.
    pub(crate) fn of(model: &Model, image: &RgbaImage) -> Result<Answer, StageError> {
        let mut sure = model.run(&seen(image)).map_err(failure)?;
        let most = sure.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        sure.iter_mut().for_each(|value| *value /= most);
        Ok(Answer { sure, found: most >= SURE })
    }

    /// Whether it sees a subject.
    pub(crate) fn found(&self) -> bool {
        self.found
    }

    /// How sure it is that a pixel of a picture of this size is subject, 0 to 1.
    pub(crate) fn at(&self, [x, y]: [usize; 2], [width, height]: [usize; 2]) -> f32 {
        let side = SIDE_PX as usize;
        self.sure[y * side / height * side + x * side / width]
    }

    /// The picture with everything but the subject transparent, and whether both hardly differ.
    ///
    /// # Errors
    /// Rejected: the network sees no subject.
    pub(crate) fn cut_out(&self, image: RgbaImage) -> Result<(RgbaImage, bool), StageError> {
        if !self.found {
            return Err(StageError::Rejected(
                "no subject was found before this background; upload a png with transparency, or a picture \
                 of one object before a plain background"
                    .to_owned(),
            ));
        }
        let alpha = |sure: f32| ((sure - RIM.0) / (RIM.1 - RIM.0)).clamp(0.0, 1.0) * 255.0;
        let mut mask = GrayImage::from_fn(SIDE_PX, SIDE_PX, |x, y| {
            Luma([alpha(self.sure[(y * SIDE_PX + x) as usize]).round() as u8])
        });
        clear_small_parts(&mut mask);
        Ok(edge::cut_out(image, &mask))
    }
}

/// What a network's error means for the job.
pub(crate) fn failure(error: NnError) -> StageError {
    match error {
        NnError::OutOfMemory { bytes, .. } => StageError::OutOfMemory(Bytes(bytes as u64)),
        other => StageError::Failed(other.to_string()),
    }
}

/// The picture as the network wants it: 320², scaled by its brightest value, normalised, one plane per
/// channel.
fn seen(image: &RgbaImage) -> Vec<f32> {
    let small = imageops::resize(image, SIDE_PX, SIDE_PX, FilterType::Triangle);
    let brightest = small.pixels().flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).max().unwrap_or(0);
    let scale = 1.0 / f32::from(brightest.max(1));
    let plane = |c: usize| {
        let value = move |pixel: &image::Rgba<u8>| (f32::from(pixel[c]) * scale - MEAN[c]) / DEVIATION[c];
        small.pixels().map(value)
    };
    (0..3).flat_map(plane).collect()
}

fn clear_small_parts(mask: &mut GrayImage) {
    let inside: Vec<bool> = mask.pixels().map(|pixel| pixel[0] > 0).collect();
    let (labels, sizes) = regions(&inside, mask.width() as usize);
    let least = sizes.iter().copied().max().unwrap_or(0) as f64 * PART_SHARE_MIN;
    for (pixel, label) in mask.pixels_mut().zip(labels) {
        if (sizes[label as usize] as f64) < least {
            pixel[0] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;

    #[test]
    fn an_answer_that_is_barely_sure_still_gives_an_opaque_subject() {
        let mut sure = vec![0.0_f32; (SIDE_PX * SIDE_PX) as usize];
        (100..200).for_each(|y| sure[y * 320 + 100..y * 320 + 200].fill(1.0));
        let answer = Answer { sure, found: true };
        let image = RgbaImage::from_pixel(640, 640, Rgba([9, 8, 7, 255]));
        let (image, pale) = answer.cut_out(image).expect("found");
        assert!(pale);
        assert_eq!(image.get_pixel(300, 300).0, [9, 8, 7, 255]);
        assert_eq!(image.get_pixel(20, 300).0, [0; 4]);
    }

    #[test]
    fn too_little_memory_halves_the_batch_and_everything_else_is_tried_again() {
        let memory = NnError::OutOfMemory { name: "u2netp", bytes: 7 };
        assert_eq!(failure(memory), StageError::OutOfMemory(Bytes(7)));
        let other = NnError::Failed { name: "u2netp", why: "no".to_owned() };
        assert!(matches!(failure(other), StageError::Failed(_)));
    }

    #[test]
    fn a_part_that_nothing_joins_to_the_subject_goes() {
        let mut mask = GrayImage::from_fn(30, 10, |x, _| Luma([if x < 20 { 255 } else { 0 }]));
        mask.put_pixel(28, 5, Luma([255]));
        clear_small_parts(&mut mask);
        assert_eq!((mask.get_pixel(28, 5)[0], mask.get_pixel(3, 3)[0]), (0, 255));
    }
}
