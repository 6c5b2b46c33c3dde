//! A contact sheet: what the samples look like, family by family.

use crate::families::ALL;
use crate::sample::{Choice, Sample};
use image::{Rgb, RgbImage};

/// Samples of each family.
const COLUMNS: usize = 6;
/// Colour behind the objects.
const BEHIND: f32 = 60.0;

/// A row for each family; of each sample the picture, the front's depth and the back's: white is near.
pub(crate) fn contact(seed: u64, side: usize) -> RgbImage {
    let mut sheet = RgbImage::new((COLUMNS * 3 * side) as u32, (ALL.len() * side) as u32);
    for family in 0..ALL.len() {
        for column in 0..COLUMNS {
            let sample = Sample::new(seed, (family * COLUMNS + column) as u64, side, Choice::Only(family));
            let corner = [column * 3 * side, family * side];
            put(&mut sheet, &sample, corner);
        }
    }
    sheet
}

fn put(sheet: &mut RgbImage, sample: &Sample, [left, top]: [usize; 2]) {
    let side = sample.side;
    let grey = |z: f32| [(128.0 + 100.0 * z).clamp(0.0, 255.0); 3];
    for at in 0..side * side {
        let [r, g, b, alpha] = sample.rgba[at].map(f32::from);
        let share = alpha / 255.0;
        let inside = alpha >= 128.0;
        let depth = |z: f32| if inside { grey(z) } else { [BEHIND, BEHIND, BEHIND + 40.0] };
        let picture = [r, g, b].map(|c| c * share + BEHIND * (1.0 - share));
        for (n, colour) in [picture, depth(sample.front[at]), depth(sample.back[at])].into_iter().enumerate()
        {
            let [x, y] = [left + n * side + at % side, top + at / side];
            sheet.put_pixel(x as u32, y as u32, Rgb(colour.map(|c| c as u8)));
        }
    }
}
