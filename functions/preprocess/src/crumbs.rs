//! Crumbs of a mask that was guessed: small islands beside the subject, loose or hanging on a thread that is
//! too thin to become solid. A network leaves them around whiskers and shadows, a plain background around
//! noise. What is larger, or farther off, is a subject of its own and stays.

use crate::ALPHA_MIN;
use crate::mask::{neighbours, regions};
use image::{Rgba, RgbaImage};

/// Islands with a smaller share of the largest part's pixels are small.
const SMALL_SHARE: f64 = 0.04;
/// Islands nearer to the largest part than this share of the subject's longer side are close.
const CLOSE_SHARE: f64 = 0.15;
/// Longer side of the subject in the cut-out, pixels: what is at most two of those wide is a thread, which
/// meshing does not keep.
const CUTOUT_PX: u32 = 435;
/// No part.
const NONE: u32 = 0;

/// Makes crumbs transparent, with the threads that they hang on; returns how many there were.
pub(crate) fn clear(image: &mut RgbaImage) -> usize {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let count = width * height;
    let solid: Vec<bool> = image.pixels().map(|pixel| pixel[3] >= ALPHA_MIN).collect();
    let Some(longest) = longest(&solid, width) else { return 0 };
    let mut cores = solid;
    for _ in 0..(longest / CUTOUT_PX as usize).max(1) {
        cores = eroded(&cores, width);
    }
    let (mut labels, sizes) = regions(&cores, width);
    let Some((largest, _)) = sizes.iter().enumerate().skip(1).max_by_key(|(_, size)| **size) else {
        return 0;
    };
    let least = SMALL_SHARE * sizes[largest] as f64;
    let small: Vec<bool> = sizes.iter().map(|size| (*size as f64) < least).collect();
    if !small.iter().skip(1).any(|small| *small) {
        return 0;
    }
    let near = reached(&labels, largest as u32, width, (CLOSE_SHARE * longest as f64) as u32);
    let mut is_crumb = vec![false; sizes.len()];
    for (label, near) in labels.iter().zip(&near).filter(|(label, _)| **label != NONE) {
        is_crumb[*label as usize] |= *near && small[*label as usize];
    }
    // What is visible belongs to the nearest core, along what is visible.
    let mut ring: Vec<usize> = (0..count).filter(|at| labels[*at] != NONE).collect();
    while !ring.is_empty() {
        let mut next = Vec::new();
        for at in ring {
            for near in neighbours(at, width, count) {
                if labels[near] == NONE && image.as_raw()[4 * near + 3] > 0 {
                    labels[near] = labels[at];
                    next.push(near);
                }
            }
        }
        ring = next;
    }
    for (pixel, label) in image.pixels_mut().zip(&labels) {
        if is_crumb[*label as usize] {
            *pixel = Rgba([0; 4]);
        }
    }
    is_crumb.iter().filter(|is_crumb| **is_crumb).count()
}

/// The longer side of the box around what is inside.
fn longest(inside: &[bool], width: usize) -> Option<usize> {
    let (mut low, mut high) = ([usize::MAX; 2], [0; 2]);
    for (at, _) in inside.iter().enumerate().filter(|(_, inside)| **inside) {
        let place = [at % width, at / width];
        low = [0, 1].map(|k| low[k].min(place[k]));
        high = [0, 1].map(|k| high[k].max(place[k]));
    }
    (low[0] != usize::MAX).then(|| (0..2).map(|k| high[k] - low[k] + 1).fold(0, usize::max))
}

/// Pixels whose eight neighbours are all inside; what lies beyond the picture counts as inside, so that a
/// subject that is cut by the frame keeps its edge.
fn eroded(inside: &[bool], width: usize) -> Vec<bool> {
    let height = inside.len() / width;
    let all = |at: usize| {
        let (x, y) = (at % width, at / width);
        let mut rows = y.saturating_sub(1)..(y + 2).min(height);
        rows.all(|y| (x.saturating_sub(1)..(x + 2).min(width)).all(|x| inside[y * width + x]))
    };
    (0..inside.len()).map(all).collect()
}

/// Pixels within so many steps along the axes of a part.
fn reached(labels: &[u32], part: u32, width: usize, steps: u32) -> Vec<bool> {
    let mut reached: Vec<bool> = labels.iter().map(|label| *label == part).collect();
    let mut ring: Vec<usize> = (0..labels.len()).filter(|at| reached[*at]).collect();
    for _ in 0..steps {
        let mut next = Vec::new();
        for near in ring.iter().flat_map(|at| neighbours(*at, width, labels.len())) {
            if !std::mem::replace(&mut reached[near], true) {
                next.push(near);
            }
        }
        ring = next;
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block of 200 x 200, and what is `inside` besides.
    fn picture(inside: impl Fn(u32, u32) -> bool) -> RgbaImage {
        let block = |x: u32, y: u32| (50..250).contains(&x) && (50..250).contains(&y);
        RgbaImage::from_fn(400, 300, |x, y| Rgba([9, 8, 7, 255 * u8::from(block(x, y) || inside(x, y))]))
    }

    fn opaque(image: &RgbaImage) -> usize {
        image.pixels().filter(|pixel| pixel[3] > 0).count()
    }

    #[test]
    fn an_island_on_a_whisker_goes_with_half_of_the_whisker() {
        let island = |x: u32, y: u32| (265..280).contains(&x) && (90..110).contains(&y);
        let whisker = |x: u32, y: u32| (250..265).contains(&x) && y == 100;
        let mut image = picture(|x, y| island(x, y) || whisker(x, y));
        assert_eq!(clear(&mut image), 1);
        assert!((40_000..40_015).contains(&opaque(&image)), "{}", opaque(&image));
        // Loose, it goes as well.
        let mut image = picture(island);
        assert_eq!((clear(&mut image), opaque(&image)), (1, 40_000));
    }

    #[test]
    fn subjects_of_their_own_stay() {
        // Small and far off; close and large enough; on a stem that becomes solid.
        let far = |x: u32, y: u32| (360..375).contains(&x) && (20..40).contains(&y);
        let large = |x: u32, y: u32| (260..300).contains(&x) && (100..150).contains(&y);
        let stemmed = |x: u32, y: u32| {
            (265..280).contains(&x) && (90..110).contains(&y)
                || (250..265).contains(&x) && (98..102).contains(&y)
        };
        for mut image in [picture(far), picture(large), picture(stemmed), picture(|_, _| false)] {
            let before = image.clone();
            assert_eq!(clear(&mut image), 0);
            assert!(image == before);
        }
        assert_eq!(clear(&mut RgbaImage::new(4, 4)), 0);
    }
}
