//! Finds the subject without a network, before a background that is not plain: GrabCut (Rother, Kolmogorov
//! and Blake, 2004) with the border as background and the middle as a first guess. Worked out small; `edge`
//! makes the outline exact. It is a guess, and says so; a result that is no object is refused.

use crate::background::not_plain;
use crate::colours::Colours;
use crate::edge::Scene;
use crate::mask::regions;
use image::imageops::{self, FilterType};
use image::{GrayImage, Luma, RgbaImage};
use stage::StageError;

/// Longer side of the picture that is worked on.
const SIDE_PX: u32 = 256;
/// Share of the shorter side that is background to begin with.
const BORDER_SHARE: f32 = 0.06;
/// The first guess of the subject: this far from the middle, 1 is the frame.
const MIDDLE: f32 = 0.6;
/// Rounds of cutting and measuring; a few suffice.
const ROUNDS: usize = 6;
/// How far colours count, in nats.
const COLOURS_MAX: f32 = 5.0;
/// A wish of the middle and of the frame to be subject, in nats.
const PLACE: (f32, f32) = (0.8, -2.5);
/// Share of the picture that an object has.
const SHARE: (f64, f64) = (0.01, 0.75);
/// Share of the frame's pixels that an object may touch.
const TOUCHES_MAX: f64 = 0.3;
/// Share of the mask that its largest part has at least.
const LARGEST_SHARE_MIN: f64 = 0.6;
/// Share of subject and of background whose colours alone say that they are, at least: below it, the colours
/// of both are the same.
const TOLD_APART_MIN: f64 = 0.75;
/// Parts smaller than this share of the largest are not the subject.
const PART_SHARE_MIN: f64 = 0.1;

/// What a person should know of a mask that was found so.
pub(crate) fn warning() -> String {
    "the outline was guessed from colours alone, since no network is installed and the background is not \
     plain; look at it, or use a png with transparency"
        .to_owned()
}

/// How sure it is of each pixel of a small picture: 0 or 255.
///
/// # Errors
/// Rejected: what was found is no object.
pub(crate) fn mask(image: &RgbaImage) -> Result<GrayImage, StageError> {
    let longest = image.width().max(image.height());
    let side = |side: u32| (side * SIDE_PX.min(longest) / longest).max(1);
    let small = imageops::resize(image, side(image.width()), side(image.height()), FilterType::Triangle);
    let scene = Scene::of(&small);
    let places = Places::of(scene.size);
    let found = cut(&scene, &places).and_then(|found| found.sensible(scene.size));
    let inside = found.ok_or_else(not_plain)?;
    Ok(GrayImage::from_fn(small.width(), small.height(), |x, y| {
        Luma([255 * u8::from(inside[y as usize * scene.size[0] + x as usize])])
    }))
}

/// Where pixels are.
struct Places {
    /// Background to begin with.
    border: Vec<bool>,
    /// 0 in the middle, 1 at the middles of the frame's sides.
    off_middle: Vec<f32>,
}

impl Places {
    fn of([width, height]: [usize; 2]) -> Places {
        let band = (width.min(height) as f32 * BORDER_SHARE).ceil() as usize;
        let all = || (0..width * height).map(|at| (at % width, at / width));
        let in_border = |(x, y): (usize, usize)| x.min(y) < band || x + band >= width || y + band >= height;
        let off = |at: usize, of: usize| (2.0 * at as f32 + 1.0) / of as f32 - 1.0;
        Places {
            border: all().map(in_border).collect(),
            off_middle: all().map(|(x, y)| off(x, width).hypot(off(y, height))).collect(),
        }
    }
}

/// What colours say.
struct Found {
    /// The subject.
    inside: Vec<bool>,
    /// Rather one of the subject's colours than one of the border's.
    unlike_border: Vec<bool>,
    /// The share of both sides that colours alone tell apart.
    told_apart: f64,
}

fn cut(scene: &Scene, places: &Places) -> Option<Found> {
    let colours = |wanted: &dyn Fn(usize) -> bool| {
        let all = (0..places.border.len()).filter(|at| wanted(*at)).map(|at| scene.colours[at]);
        Colours::of(&all.collect::<Vec<_>>())
    };
    let mut inside: Vec<bool> = places.off_middle.iter().map(|off| *off < MIDDLE).collect();
    let all: Vec<usize> = (0..inside.len()).collect();
    let border = || colours(&|at| places.border[at]);
    let (mut subject, mut ground) = (colours(&|at| inside[at])?, border()?);
    for _ in 0..ROUNDS {
        let before = inside.clone();
        inside.fill(false);
        scene.part(&all, &mut inside, |at| {
            let place = PLACE.0 + (PLACE.1 - PLACE.0) * places.off_middle[at].min(1.0);
            scene.likelier(at, &subject, &ground).clamp(-COLOURS_MAX, COLOURS_MAX) + place
        });
        (subject, ground) = (colours(&|at| inside[at])?, colours(&|at| !inside[at])?);
        if inside == before {
            break;
        }
    }
    let told = |wanted: bool| {
        let of_side = || (0..inside.len()).filter(|at| inside[*at] == wanted);
        let right = |at: &usize| (scene.likelier(*at, &subject, &ground) > 0.0) == wanted;
        of_side().filter(right).count() as f64 / of_side().count().max(1) as f64
    };
    let (told_apart, border) = (told(true).min(told(false)), border()?);
    let unlike_border = (0..inside.len()).map(|at| scene.likelier(at, &subject, &border) > 0.0).collect();
    Some(Found { inside, unlike_border, told_apart })
}

impl Found {
    /// The object without what is small beside it and without holes, if it is one.
    fn sensible(self, [width, height]: [usize; 2]) -> Option<Vec<bool>> {
        let mut inside = self.inside;
        fill(&mut inside, &self.unlike_border, [width, height]);
        let (labels, sizes) = regions(&inside, width);
        let (total, largest) = (sizes.iter().sum::<usize>() as f64, sizes.iter().copied().max()? as f64);
        inside.iter_mut().zip(&labels).for_each(|(inside, label)| {
            *inside &= sizes[*label as usize] as f64 >= PART_SHARE_MIN * largest;
        });
        let share = total / inside.len() as f64;
        let frame = || (0..inside.len()).filter(|at| is_at_frame(*at, [width, height]));
        let (touches, frame) = (frame().filter(|at| inside[*at]).count() as f64, frame().count() as f64);
        let is_object = (SHARE.0..=SHARE.1).contains(&share)
            && touches <= TOUCHES_MAX * frame
            && largest >= LARGEST_SHARE_MIN * total
            && self.told_apart >= TOLD_APART_MIN;
        is_object.then_some(inside)
    }
}

fn is_at_frame(at: usize, [width, height]: [usize; 2]) -> bool {
    let (x, y) = (at % width, at / width);
    x == 0 || y == 0 || x + 1 == width || y + 1 == height
}

/// Closes what nothing joins to the frame and what looks unlike the border: colours alone see a pattern or a
/// white inside as a hole.
fn fill(inside: &mut [bool], unlike_border: &[bool], [width, height]: [usize; 2]) {
    let outside: Vec<bool> = inside.iter().map(|inside| !inside).collect();
    let (labels, sizes) = regions(&outside, width);
    let mut unlike = vec![0; sizes.len()];
    let mut at_frame = vec![false; sizes.len()];
    for (at, label) in labels.iter().enumerate() {
        unlike[*label as usize] += usize::from(unlike_border[at]);
        at_frame[*label as usize] |= is_at_frame(at, [width, height]);
    }
    let is_filled = |label: usize| label != 0 && !at_frame[label] && 2 * unlike[label] > sizes[label];
    inside.iter_mut().zip(labels).for_each(|(inside, label)| *inside |= is_filled(label as usize));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge;
    use image::Rgba;

    /// A wall of stripes and a floor of tiles, with noise.
    fn clutter(x: u32, y: u32) -> [u8; 3] {
        let noise = (x.wrapping_mul(7919) ^ y.wrapping_mul(104_729)) % 23;
        let base = match y < 260 {
            true if (x / 40).is_multiple_of(2) => [150, 120, 90],
            true => [90, 110, 130],
            false if (x / 64 + y / 48).is_multiple_of(2) => [190, 180, 160],
            false => [70, 60, 60],
        };
        base.map(|channel: u8| channel + noise as u8)
    }

    fn inside(x: u32, y: u32) -> bool {
        (x.abs_diff(220) < 70 && y.abs_diff(190) < 90) || x.abs_diff(220) + y.abs_diff(90) < 60
    }

    fn picture(subject: impl Fn(u32, u32) -> bool) -> RgbaImage {
        RgbaImage::from_fn(420, 380, |x, y| {
            let [r, g, b] = if subject(x, y) { [210, 50, 120 + (x % 9) as u8] } else { clutter(x, y) };
            Rgba([r, g, b, 255])
        })
    }

    #[test]
    fn a_subject_before_clutter_is_found() {
        let image = picture(inside);
        let found = edge::refined(&image, &mask(&image).expect("a subject"));
        let (mut both, mut any) = (0, 0);
        for (at, found) in (0..).zip(found) {
            let truth = inside(at % 420, at / 420);
            (both, any) = (both + u32::from(found && truth), any + u32::from(found || truth));
        }
        let iou = f64::from(both) / f64::from(any);
        assert!(iou > 0.97, "IoU {iou:.3}");
    }

    #[test]
    fn a_hole_that_looks_unlike_the_border_is_closed() {
        // A ring that is open at its lower right, and one that is closed.
        let mut open = [false, true, true, true, false, true, false, true, false, true, false, false];
        let before = open;
        fill(&mut open, &[true; 12], [4, 3]);
        assert_eq!(open, before);
        let closed = [true, true, true, false, true, false, true, false, true, true, true, false];
        let [mut unlike, mut like] = [closed; 2];
        fill(&mut unlike, &[true; 12], [4, 3]);
        assert_eq!(unlike, [true, true, true, false, true, true, true, false, true, true, true, false]);
        fill(&mut like, &[false; 12], [4, 3]);
        assert_eq!(like, closed);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let noise = RgbaImage::from_fn(64, 64, |x, y| {
            let n = (x * 7919 + y * 104_729).wrapping_mul(2_654_435) % 255;
            Rgba([n as u8, (n * 3 % 255) as u8, (n * 7 % 255) as u8, 255])
        });
        assert!(mask(&noise).is_err());
        // Everything but the corners is one colour: no object has so much of the picture.
        let full = picture(|x, y| x.abs_diff(210) + y.abs_diff(190) < 330);
        assert!(mask(&full).is_err());
    }

    #[test]
    fn the_thinnest_pictures_are_answered() {
        for [width, height] in [[1, 1], [1, 300], [400, 1], [2, 2]] {
            let image = RgbaImage::from_fn(width, height, |x, y| {
                Rgba([(x * 37 % 256) as u8, (y * 91 % 256) as u8, ((x + y) % 2 * 255) as u8, 255])
            });
            if let Ok(mask) = mask(&image) {
                assert_eq!(mask.dimensions(), image.dimensions());
            }
        }
    }
}
