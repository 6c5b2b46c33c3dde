//! A guessed outline becomes an exact one: what is known at a small size, enlarged, is right but for a band
//! around its edge. In that band colours decide, with a minimum cut that runs where neighbours differ most.
//! The soft rim then takes the subject's own colours: no halo.

use crate::colours::Colours;
use crate::mask::neighbours;
use crate::mincut::{MinCut, STEPS};
use image::imageops::{self, FilterType};
use image::{GrayImage, RgbaImage};

type Rgb = [f32; 3];

/// Half the band's width: so many pixels of the small mask, and so many of the picture.
const BAND: (f64, f64) = (1.5, 1.0);
/// Colours are measured on both sides of the band, as far as so many of its widths.
const NEAR_BANDS: u32 = 6;
/// Below so many pixels on either side, colours say nothing.
const SAMPLES_MIN: usize = 40;
/// How far the colours' and the mask's word count, in nats.
const COLOURS_MAX: f32 = 4.0;
const MASK_MAX: f32 = 3.0;
/// What it costs to part equal neighbours, and any neighbours, in nats.
const BOND: (f32, f32) = (4.0, 0.3);
/// Units of the cut's whole numbers in one nat.
const UNITS: f32 = 256.0;
/// Within so many pixels of the edge both sides differ by this many levels, or are pale there.
const CONTRAST: (usize, f32) = (4, 28.0);
/// A larger share of the edge than this that is pale makes the outline doubtful.
const PALE_SHARE: f64 = 0.33;
/// Pixels at the edge that may hold some of the background's colour.
const RIM_PX: u32 = 2;

/// A picture's colours, and how much its neighbours differ.
pub(crate) struct Scene {
    pub(crate) colours: Vec<Rgb>,
    pub(crate) size: [usize; 2],
    /// One over twice the mean square difference of neighbours.
    contrast: f32,
}

impl Scene {
    pub(crate) fn of(image: &RgbaImage) -> Scene {
        let size = [image.width() as usize, image.height() as usize];
        let colours: Vec<Rgb> = image.pixels().map(|p| [0, 1, 2].map(|c| f32::from(p[c]))).collect();
        let rows = colours.chunks_exact(size[0]);
        let squares = rows.flat_map(|row| row.windows(2)).map(|pair| f64::from(square(pair[0], pair[1])));
        let (sum, count) = squares.fold((0.0_f64, 0.0_f64), |(sum, count), value| (sum + value, count + 1.0));
        let contrast = (count / (2.0 * f64::max(sum, count.max(1.0)))) as f32;
        Scene { colours, size, contrast }
    }

    /// What it costs to part two neighbours, in units.
    fn bond(&self, a: usize, b: usize) -> i32 {
        let alike = (-self.contrast * square(self.colours[a], self.colours[b])).exp();
        let straight = a % self.size[0] == b % self.size[0] || a / self.size[0] == b / self.size[0];
        let length = if straight { 1.0 } else { std::f32::consts::SQRT_2 };
        ((BOND.0 * alike + BOND.1) * UNITS / length) as i32
    }

    /// Decides the pixels at `places` anew, by what each would rather be in nats; all others stay as they
    /// are in `inside`.
    pub(crate) fn part(&self, places: &[usize], inside: &mut [bool], wish: impl Fn(usize) -> f32) {
        let mut is_open = vec![false; inside.len()];
        places.iter().for_each(|at| is_open[*at] = true);
        let (width, height) = (self.size[0] as isize, self.size[1] as isize);
        let fixed = |at: usize| {
            let place = ((at % self.size[0]) as isize, (at / self.size[0]) as isize);
            let near = STEPS.iter().filter_map(|step| {
                let (x, y) = (place.0 + step.0, place.1 + step.1);
                let exists = x >= 0 && y >= 0 && x < width && y < height;
                exists.then_some((y * width + x) as usize).filter(|near| !is_open[*near])
            });
            near.map(|near| if inside[near] { self.bond(at, near) } else { -self.bond(at, near) })
                .sum::<i32>()
        };
        let wish = |at: usize| (wish(at) * UNITS) as i32 + fixed(at);
        let found = MinCut::new(places, self.size, wish, |a, b| self.bond(a, b)).solve();
        places.iter().zip(found).for_each(|(at, is_subject)| inside[*at] = is_subject);
    }

    /// How much likelier a pixel's colour is one of the subject's, in nats.
    pub(crate) fn likelier(&self, at: usize, subject: &Colours, ground: &Colours) -> f32 {
        subject.log(self.colours[at]) - ground.log(self.colours[at])
    }
}

fn square(a: Rgb, b: Rgb) -> f32 {
    [0, 1, 2].map(|c| (a[c] - b[c]) * (a[c] - b[c])).iter().sum()
}

/// The picture with everything but the subject transparent, and whether both hardly differ along the edge;
/// `small` says how sure it is of each pixel, of whatever size it is.
pub(crate) fn cut_out(mut image: RgbaImage, small: &GrayImage) -> (RgbaImage, bool) {
    let inside = refined(&image, small);
    let pale = is_pale(&image, &inside);
    soften(&mut image, &inside);
    (image, pale)
}

/// Whether subject and background have nearly the same colours along much of the edge.
fn is_pale(image: &RgbaImage, inside: &[bool]) -> bool {
    let [width, height] = [image.width() as usize, image.height() as usize];
    let (steps, reach) = (steps_from_edge(inside, width, 1), CONTRAST.0);
    let pixels = image.as_raw().as_chunks::<4>().0;
    let mean = |at: usize, wanted: bool| {
        let (x, y) = (at % width, at / width);
        let (mut sum, mut count) = ([0.0_f32; 3], 0.0_f32);
        for row in y.saturating_sub(reach)..(y + reach + 1).min(height) {
            for near in row * width + x.saturating_sub(reach)..row * width + (x + reach + 1).min(width) {
                // The outermost pixels are mixed from both.
                if inside[near] == wanted && steps[near] > 1 {
                    (0..3).for_each(|c| sum[c] += f32::from(pixels[near][c]));
                    count += 1.0;
                }
            }
        }
        (count > 0.0).then(|| sum.map(|sum| sum / count))
    };
    let edge = (0..inside.len()).filter(|at| inside[*at] && steps[*at] == 1);
    let differences = edge.filter_map(|at| Some(square(mean(at, true)?, mean(at, false)?)));
    let (mut pale, mut all) = (0_usize, 0_usize);
    for difference in differences {
        (pale, all) = (pale + usize::from(difference < CONTRAST.1 * CONTRAST.1), all + 1);
    }
    pale as f64 > PALE_SHARE * all as f64
}

/// Which pixels are subject.
pub(crate) fn refined(image: &RgbaImage, small: &GrayImage) -> Vec<bool> {
    let scene = Scene::of(image);
    let sure = imageops::resize(small, image.width(), image.height(), FilterType::Triangle).into_raw();
    let mut inside: Vec<bool> = sure.iter().map(|sure| *sure >= 128).collect();
    let enlarged = |of: u32, by: u32| f64::from(of) / f64::from(by);
    let scale = enlarged(image.width(), small.width()).max(enlarged(image.height(), small.height()));
    let band = (scale * BAND.0 + BAND.1).ceil() as u32;
    let steps = steps_from_edge(&inside, scene.size[0], band * NEAR_BANDS);
    let colours = |wanted: bool| {
        let beside = |at: &usize| inside[*at] == wanted && (band + 1..u32::MAX).contains(&steps[*at]);
        let colours: Vec<Rgb> = (0..inside.len()).filter(beside).map(|at| scene.colours[at]).collect();
        Some(colours).filter(|colours| colours.len() >= SAMPLES_MIN).and_then(|all| Colours::of(&all))
    };
    let (Some(subject), Some(ground)) = (colours(true), colours(false)) else { return inside };
    let places: Vec<usize> = (0..inside.len()).filter(|at| steps[*at] <= band).collect();
    let wish = |at: usize| {
        let told = scene.likelier(at, &subject, &ground).clamp(-COLOURS_MAX, COLOURS_MAX);
        told + (f32::from(sure[at]) / 127.5 - 1.0) * MASK_MAX
    };
    scene.part(&places, &mut inside, wish);
    inside
}

/// Steps along the axes from the nearest pixel of the other side, counted from 1; farther than `most` is
/// `u32::MAX`.
fn steps_from_edge(inside: &[bool], width: usize, most: u32) -> Vec<u32> {
    let near = |at: usize| neighbours(at, width, inside.len());
    let mut steps = vec![u32::MAX; inside.len()];
    let at_edge = |at: &usize| near(*at).any(|other| inside[other] != inside[*at]);
    let mut ring: Vec<usize> = (0..inside.len()).filter(at_edge).collect();
    ring.iter().for_each(|at| steps[*at] = 1);
    for step in 2..=most {
        let mut next = Vec::new();
        for other in ring.iter().flat_map(|at| near(*at)) {
            if steps[other] == u32::MAX {
                steps[other] = step;
                next.push(other);
            }
        }
        ring = next;
    }
    steps
}

/// Makes what is outside transparent and the edge soft. A camera mixes subject and background at the edge, so
/// pixels of the rim take the nearest colour from behind it; where the subject is thinner than two rims, from
/// its middle.
pub(crate) fn soften(image: &mut RgbaImage, inside: &[bool]) {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let deep = RIM_PX + 1;
    let steps = steps_from_edge(inside, width, deep);
    let depth = |at: usize| if inside[at] { steps[at].min(deep) } else { 0 };
    let window = |at: usize, reach: usize| {
        let (x, y) = (at % width, at / width);
        let rows = y.saturating_sub(reach)..(y + reach + 1).min(height);
        rows.flat_map(move |row| {
            (x.saturating_sub(reach)..(x + reach + 1).min(width)).map(move |column| row * width + column)
        })
    };
    let off =
        |a: usize, b: usize| (a % width).abs_diff(b % width).pow(2) + (a / width).abs_diff(b / width).pow(2);
    let source = image.clone();
    let pixels = source.as_raw().as_chunks::<4>().0;
    for (at, pixel) in image.pixels_mut().enumerate() {
        if depth(at) >= deep {
            pixel[3] = 255;
            continue;
        }
        let around = window(at, 1);
        let (mut covered, mut all) = (0, 0);
        for near in around {
            let weight = 4 >> off(at, near);
            (covered, all) = (covered + weight * u32::from(inside[near]), all + weight);
        }
        let behind = window(at, deep as usize).max_by_key(|near| (depth(*near), usize::MAX - off(at, *near)));
        pixel.0 = match behind {
            Some(behind) if covered > 0 => {
                let [r, g, b, _] = pixels[behind];
                [r, g, b, (covered * 255 / all) as u8]
            }
            _ => [0; 4],
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Luma, Rgba};

    const SIDE: u32 = 320;

    /// How much of a disc of radius 100 in the middle is in a pixel, its edge as wide as a camera's.
    fn covered(x: u32, y: u32) -> f32 {
        let off = (x as f32 - 160.0).hypot(y as f32 - 160.0);
        ((101.0 - off) / 2.0).clamp(0.0, 1.0)
    }

    /// A disc before stripes, both with some noise.
    fn picture(disc: [f32; 3], stripes: [[f32; 3]; 2]) -> RgbaImage {
        RgbaImage::from_fn(SIDE, SIDE, |x, y| {
            let noise = ((x * 7919 + y * 104_729) % 17) as f32;
            let (share, behind) = (covered(x, y), stripes[(x / 24 % 2) as usize]);
            let mix = |c: usize| (disc[c] * share + behind[c] * (1.0 - share) + noise) as u8;
            Rgba([mix(0), mix(1), mix(2), 255])
        })
    }

    /// The disc at a fourth of the size, three pixels of the picture too large and two too far to the right.
    fn rough() -> GrayImage {
        GrayImage::from_fn(SIDE / 4, SIDE / 4, |x, y| {
            Luma([255 * u8::from((x as f32 - 40.0).hypot(y as f32 - 39.5) < 25.9)])
        })
    }

    fn overlap(found: &[bool]) -> f64 {
        let truth = (0..SIDE * SIDE).map(|at| covered(at % SIDE, at / SIDE) >= 0.5);
        let (mut both, mut any) = (0, 0);
        for (found, truth) in found.iter().zip(truth) {
            (both, any) = (both + u32::from(*found && truth), any + u32::from(*found || truth));
        }
        f64::from(both) / f64::from(any)
    }

    #[test]
    fn a_rough_outline_becomes_the_true_one() {
        let image = picture([190.0, 60.0, 40.0], [[60.0, 90.0, 150.0], [120.0, 140.0, 90.0]]);
        let enlarged = imageops::resize(&rough(), SIDE, SIDE, FilterType::Triangle);
        let before = overlap(&enlarged.pixels().map(|pixel| pixel[0] >= 128).collect::<Vec<_>>());
        let after = overlap(&refined(&image, &rough()));
        assert!(before < 0.95 && after > 0.985, "{before:.3} to {after:.3}");
    }

    #[test]
    fn where_colours_say_nothing_the_outline_stays() {
        let flat = RgbaImage::from_pixel(SIDE, SIDE, Rgba([90, 90, 90, 255]));
        let enlarged = imageops::resize(&rough(), SIDE, SIDE, FilterType::Triangle);
        let before: Vec<bool> = enlarged.pixels().map(|pixel| pixel[0] >= 128).collect();
        let (both, any) = refined(&flat, &rough())
            .iter()
            .zip(&before)
            .fold((0, 0), |(both, any), (a, b)| (both + u32::from(*a && *b), any + u32::from(*a || *b)));
        assert!(f64::from(both) > 0.95 * f64::from(any), "{both} of {any}");
    }

    #[test]
    fn no_colour_of_the_background_is_left_at_the_edge() {
        let image = picture([200.0, 20.0, 20.0], [[10.0, 220.0, 10.0], [10.0, 160.0, 10.0]]);
        let (cutout, pale) = cut_out(image, &rough());
        let greenish = cutout.pixels().filter(|pixel| pixel[3] > 0 && pixel[1] > 60).count();
        let soft = cutout.pixels().filter(|pixel| pixel[3] > 0 && pixel[3] < 255).count();
        assert!(greenish == 0 && soft > 300 && !pale, "{greenish} greenish, {soft} soft");
    }

    #[test]
    fn a_thin_part_has_the_colour_of_its_middle() {
        // Three pixels wide, mixed with the green behind on both sides.
        let mut image = RgbaImage::from_fn(40, 9, |_, y| match y {
            4 => Rgba([200, 0, 0, 255]),
            3 | 5 => Rgba([110, 90, 0, 255]),
            _ => Rgba([0, 200, 0, 255]),
        });
        let inside: Vec<bool> = (0..40 * 9).map(|at| (3..=5).contains(&(at / 40))).collect();
        soften(&mut image, &inside);
        assert_eq!(image.get_pixel(20, 4).0, [200, 0, 0, 255]);
        assert_eq!(image.get_pixel(20, 3).0, [200, 0, 0, 191]);
        assert_eq!(image.get_pixel(20, 2).0, [200, 0, 0, 63]);
        assert_eq!(image.get_pixel(20, 1).0, [0; 4]);
    }

    #[test]
    fn hardly_any_contrast_is_seen() {
        let pale = picture([180.0; 3], [[168.0; 3], [172.0; 3]]);
        assert!(cut_out(pale, &rough()).1);
    }
}
