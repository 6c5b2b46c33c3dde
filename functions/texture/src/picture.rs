//! The cut-out's colours, grown outwards, so that no sample ever mixes with the background; and the rule
//! which picture place colours a surface point.

use mesh::cutout::OPAQUE_MIN;
use mesh::geometry::dot;
use mesh::{Cutout, CutoutFrame};

/// Alpha from which a pixel's colour is the object's alone.
const PURE_MIN: u8 = 250;
/// Rings that pure pixels grow before half-transparent ones without a pure neighbourhood (hairs) speak for
/// themselves.
const HAIR_RINGS: u32 = 3;
/// Rings by which all colours go on outwards after that: with those before, what a soft edge takes.
const EDGE_RINGS: u32 = 2;
/// What lies farther out is the plate of a relief: white, a little warm (sRGB).
const PLATE: [f32; 3] = [228.0, 226.0, 220.0];
/// Sine of the angle to the silhouette's plane under which a surface is no longer seen well enough from the
/// front: the picture would be stretched more than sixfold, thrice in the mean from where the sides begin.
const SEEN_SINE_MIN: f32 = 0.15;
/// The outermost pixels of a subject are half its background's, or its outline's: along a round rim, colours
/// are taken from at least this far inside, and from at most this share of the rim's radius.
const INSET_PX: f32 = 3.0;
const INSET_SHARE_MAX: f32 = 0.5;
/// Radius of the box, and rounds, by which the picture is softened for its tone: shades wider than a few
/// pixels are tone, narrower ones are detail.
const TONE_RADIUS_PX: usize = 2;
const TONE_ROUNDS: u32 = 2;
/// Weight of the outermost pixels in the tone: heard where there are no others.
const TONE_EDGE_WEIGHT: f32 = 0.01;
/// Most samples per texel and axis; a texel that covers more pixels is a thumbnail's.
const TAPS_MAX: u32 = 4;

/// Opaque colours for the whole plane.
pub struct Picture {
    width: usize,
    height: usize,
    colours: Vec<[f32; 3]>,
    /// The colours, softened.
    tones: Vec<[f32; 3]>,
    frame: CutoutFrame,
}

/// A point of the surface as texturing sees it.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Metres.
    pub position: [f32; 3],
    /// Need not have unit length.
    pub normal: [f32; 3],
    /// Radius of the rim's round profile there, metres; 0 = not round.
    pub rim_radius: f32,
    /// What its colour is multiplied with.
    pub gain: f32,
}

impl Picture {
    /// From a cut-out with straight alpha.
    pub fn of(cutout: &Cutout) -> Picture {
        let (width, height) = (cutout.image.width() as usize, cutout.image.height() as usize);
        let colours = cutout.image.pixels().map(|p| [p[0], p[1], p[2]].map(f32::from)).collect();
        let alpha: Vec<u8> = cutout.image.pixels().map(|pixel| pixel[3]).collect();
        let mut picture = Picture { width, height, colours, tones: vec![], frame: cutout.frame };
        let mut known: Vec<bool> = alpha.iter().map(|&alpha| alpha >= PURE_MIN).collect();
        let inner = picture.inner(&known);
        picture.grow(&mut known, HAIR_RINGS);
        let hairs = known.iter_mut().zip(&alpha).filter(|(known, alpha)| !**known && **alpha >= OPAQUE_MIN);
        hairs.for_each(|(known, _)| *known = true);
        picture.grow(&mut known, EDGE_RINGS);
        let far = picture.colours.iter_mut().zip(&known).filter(|(_, known)| !**known);
        far.for_each(|(colour, _)| *colour = PLATE);
        picture.tones = picture.softened(&known, &inner);
        picture
    }

    /// The pixels that have no other pixel than the subject's own within the inset.
    fn inner(&self, own: &[bool]) -> Vec<bool> {
        let mut inner = own.to_vec();
        for _ in 0..INSET_PX as u32 - 1 {
            let before = inner.clone();
            for at in (0..inner.len()).filter(|&at| before[at]) {
                self.near(at, |near| inner[at] &= before[near]);
            }
        }
        inner
    }

    /// The colours as means of what is known around them, of inner pixels where there are any.
    fn softened(&self, known: &[bool], inner: &[bool]) -> Vec<[f32; 3]> {
        let weighed = |(colour, weight): (&[f32; 3], f32)| match weight {
            0.0 => [0.0; 4],
            _ => [colour[0] * weight, colour[1] * weight, colour[2] * weight, weight],
        };
        let weights = known.iter().zip(inner).map(|(known, inner)| match (known, inner) {
            (_, true) => 1.0,
            (true, false) => TONE_EDGE_WEIGHT,
            _ => 0.0,
        });
        let mut sums: Vec<[f32; 4]> = self.colours.iter().zip(weights).map(weighed).collect();
        for _ in 0..TONE_ROUNDS {
            sums = box_sums(&sums, self.width, 1);
            sums = box_sums(&sums, self.width, self.width);
        }
        let mean = |(sum, own): (&[f32; 4], &[f32; 3])| match sum[3] > 0.0 {
            true => [0, 1, 2].map(|k| sum[k] / sum[3]),
            false => *own,
        };
        sums.iter().zip(&self.colours).map(mean).collect()
    }

    /// Gives unknown pixels the mean of their known neighbours, ring by ring.
    fn grow(&mut self, known: &mut [bool], rings: u32) {
        let mut queued = known.to_vec();
        let mut ring: Vec<usize> = Vec::new();
        for at in (0..known.len()).filter(|&at| known[at]) {
            self.near(at, |near| {
                if !queued[near] {
                    queued[near] = true;
                    ring.push(near);
                }
            });
        }
        let mut next = Vec::new();
        for _ in 0..rings {
            if ring.is_empty() {
                return;
            }
            for &at in &ring {
                let (mut sum, mut count) = ([0.0; 3], 0.0);
                self.near(at, |near| {
                    if known[near] {
                        (0..3).for_each(|k| sum[k] += self.colours[near][k]);
                        count += 1.0;
                    }
                });
                self.colours[at] = sum.map(|channel: f32| channel / count);
                self.near(at, |near| {
                    if !queued[near] {
                        queued[near] = true;
                        next.push(near);
                    }
                });
            }
            ring.iter().for_each(|&at| known[at] = true);
            ring.clear();
            std::mem::swap(&mut ring, &mut next);
        }
    }

    fn near(&self, at: usize, mut visit: impl FnMut(usize)) {
        let (x, y) = (at % self.width, at / self.width);
        for near_y in y.saturating_sub(1)..(y + 2).min(self.height) {
            for near_x in x.saturating_sub(1)..(x + 2).min(self.width) {
                visit(near_y * self.width + near_x);
            }
        }
    }

    /// The colour of a surface point. Front and back show the picture where they are (the back thereby
    /// mirrored). Along the rim, where that would be stretched, the picture's detail is laid around it
    /// instead, mirrored at the line where the rim begins: from there inwards as far as the surface goes on
    /// outwards. Its tone is that line's all the way: what is shaded towards the edge would else come back
    /// as a bright streak along the rim.
    pub fn colour(&self, point: &Point, texel_metres: f32) -> [f32; 3] {
        let length = dot(point.normal, point.normal).sqrt().max(1e-12);
        let sine = (point.normal[2] / length).abs();
        let flat = point.normal[0].hypot(point.normal[1]).max(1e-12);
        let inwards = [0, 1].map(|k| -point.normal[k] / flat);
        let footprint = texel_metres / self.frame.metres_per_px();
        let at = |metres: f32| [0, 1].map(|k| point.position[k] + metres * inwards[k]);
        let radius = point.rim_radius;
        if radius <= 0.0 {
            return self.filtered(at(0.0), footprint);
        }
        // How far inside of the silhouette a round rim of that radius has a slope.
        let depth = |sine: f32| radius * (1.0 - (1.0 - sine * sine).max(0.0).sqrt());
        let inset = (INSET_PX * self.frame.metres_per_px()).min(INSET_SHARE_MAX * radius);
        let own = depth(sine);
        if sine >= SEEN_SINE_MIN {
            return self.filtered(at((inset - own).max(0.0)), footprint);
        }
        let begins = depth(SEEN_SINE_MIN).max(inset);
        let around = radius * (SEEN_SINE_MIN.asin() - sine.asin());
        let (line, place) = (at(begins - own), at(begins - own + around));
        let [tone, other] = [line, place].map(|place| self.tone(place));
        let detail = self.filtered(place, footprint);
        [0, 1, 2].map(|k| (detail[k] + tone[k] - other[k]).clamp(0.0, 255.0))
    }

    /// The picture's tone at a place on the mesh, 0 to 255 per channel.
    pub fn tone(&self, place: [f32; 2]) -> [f32; 3] {
        let [x, y] = self.frame.to_px(place);
        self.sample(&self.tones, x, y)
    }

    /// The mean of the picture over a texel that is so many pixels wide.
    fn filtered(&self, place: [f32; 2], footprint: f32) -> [f32; 3] {
        let [px, py] = self.frame.to_px(place);
        let taps = (footprint.round() as u32).clamp(1, TAPS_MAX);
        if taps == 1 {
            return self.sample(&self.colours, px, py);
        }
        let mut sum = [0.0; 3];
        for tap in 0..taps * taps {
            let shift = |k: u32| ((k as f32 + 0.5) / taps as f32 - 0.5) * footprint;
            let colour = self.sample(&self.colours, px + shift(tap % taps), py + shift(tap / taps));
            (0..3).for_each(|k| sum[k] += colour[k]);
        }
        sum.map(|channel| channel / (taps * taps) as f32)
    }

    /// Bilinear, clamped at the picture's border.
    fn sample(&self, from: &[[f32; 3]], x: f32, y: f32) -> [f32; 3] {
        let place = |value: f32, size: usize| {
            let at = (value - 0.5).clamp(0.0, (size - 1) as f32);
            let low = at as usize;
            (low, (low + 1).min(size - 1), at - low as f32)
        };
        let ((x0, x1, fx), (y0, y1, fy)) = (place(x, self.width), place(y, self.height));
        let mix = |a: [f32; 3], b: [f32; 3], f: f32| [0, 1, 2].map(|k| a[k] + (b[k] - a[k]) * f);
        let row = |y: usize| mix(from[y * self.width + x0], from[y * self.width + x1], fx);
        mix(row(y0), row(y1), fy)
    }
}

/// Sums of each pixel and its neighbours along a line; `step` is the distance of neighbours.
fn box_sums(values: &[[f32; 4]], width: usize, step: usize) -> Vec<[f32; 4]> {
    let lines = if step == 1 { width } else { values.len() / width };
    let sum = |at: usize| {
        let place = if step == 1 { at % width } else { at / width };
        let (before, after) = (TONE_RADIUS_PX.min(place), TONE_RADIUS_PX.min(lines - 1 - place));
        let near = (at - before * step..=at + after * step).step_by(step);
        near.fold([0.0; 4], |sum, near| [0, 1, 2, 3].map(|k| sum[k] + values[near][k]))
    };
    (0..values.len()).map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgba, RgbaImage};

    /// Red left half, blue right half of a disc; green, which must never show, outside and under the soft
    /// edge.
    fn disc() -> Cutout {
        let image = RgbaImage::from_fn(64, 64, |x, y| {
            let inside = 24.5 - (x as f32 - 31.5).hypot(y as f32 - 31.5);
            let alpha = (inside.clamp(0.0, 1.0) * 255.0) as u8;
            match (alpha, x < 32) {
                (0..250, _) => Rgba([0, 255, 0, alpha]),
                (_, true) => Rgba([255, 0, 0, alpha]),
                (_, false) => Rgba([0, 0, 255, alpha]),
            }
        });
        Cutout::of(image).expect("an object")
    }

    #[test]
    fn no_background_bleeds_in_anywhere() {
        let picture = Picture::of(&disc());
        let near = |at: usize| (at as f32 % 64.0 - 31.5).hypot(at as f32 / 64.0 - 31.5) < 27.0;
        let colours = picture.colours.iter().enumerate();
        assert!(colours.clone().filter(|(at, _)| near(*at)).all(|(_, colour)| colour[1] == 0.0));
        // Far outside is a relief's plate.
        assert!(colours.filter(|(at, _)| !near(*at)).all(|(_, c)| c[1] == 0.0 || *c == PLATE));
        assert_eq!(picture.colours[0], PLATE);
    }

    #[test]
    fn front_and_back_show_the_place_itself_and_the_rim_the_inside() {
        let picture = Picture::of(&disc());
        let at = |position, normal| {
            picture
                .colour(&Point { position, normal, rim_radius: 0.4, gain: 1.0 }, 1e-3)
                .map(|value| value as u8)
        };
        assert_eq!(at([-0.2, 0.1, 0.3], [0.0, 0.0, 1.0]), [255, 0, 0]);
        assert_eq!(at([-0.2, 0.1, -0.3], [0.0, 0.0, -1.0]), [255, 0, 0]);
        assert_eq!(at([0.2, 0.1, 0.3], [0.0, 0.0, 1.0]), [0, 0, 255]);
        // A rim point right of the middle that looks to the right takes its detail from the left of it, of
        // which there is none, and keeps its own tone.
        assert_eq!(at([0.15, 0.0, 0.0], [1.0, 0.0, 0.0]), [0, 0, 255]);
    }

    #[test]
    fn hairs_keep_their_own_colour() {
        let image = RgbaImage::from_fn(64, 64, |x, y| match (x, y) {
            (0..20, _) => Rgba([255, 0, 0, 255]),
            (_, 30) => Rgba([0, 0, 255, 180]),
            _ => Rgba([0, 255, 0, 0]),
        });
        let picture = Picture::of(&Cutout::of(image).expect("an object"));
        assert_eq!(picture.colours[30 * 64 + 50], [0.0, 0.0, 255.0]);
    }
}
