//! One sample: a scene by chance, seen by a camera by chance, so that it fills the picture as at work.

use crate::build::{after, turn};
use crate::families::{ALL, pick};
use crate::rng::Rng;
use crate::scene::Stand;
use crate::shade::Look;
use crate::trace::{Camera, Hit, picture};
use std::f32::consts::{FRAC_PI_2, PI};

/// Half of the longer side of the object's box in halves of the picture's side, as the engine crops it.
pub(crate) const FILLED: f32 = 0.9;
/// Depths are written as whole numbers of this many to half of the picture's side.
const DEPTH_UNITS: f32 = 8192.0;
/// Side of the picture that finds the object's box, and half of what it covers in the object's lengths.
const SEARCH_PX: usize = 56;
const SEARCH_REACH: f32 = 1.9;
/// Less of the picture than this is no object to learn from.
const AREA_SHARE_MIN: f32 = 0.02;
/// Tries until a seed gives something to see.
const TRIES_MAX: u64 = 50;

/// What the network is shown, and what it shall say.
pub(crate) struct Sample {
    pub(crate) family: usize,
    pub(crate) side: usize,
    /// Straight colours, and coverage as alpha.
    pub(crate) rgba: Vec<[u8; 4]>,
    /// Height of inflation, and true depths; halves of the picture's side; heard where alpha is at least one
    /// half.
    pub(crate) prior: Vec<f32>,
    pub(crate) front: Vec<f32>,
    pub(crate) back: Vec<f32>,
}

impl Sample {
    /// The sample of a number under a seed.
    pub(crate) fn new(seed: u64, number: u64, side: usize, family: Choice) -> Sample {
        let tries = (0..TRIES_MAX).map(|n| Sample::tried(Rng::new(seed + (n << 40), number), side, family));
        tries.flatten().next().expect("fifty scenes in a row that show nothing do not happen")
    }

    fn tried(rng: Rng, side: usize, choice: Choice) -> Option<Sample> {
        let family = match choice {
            Choice::Only(family) => family,
            Choice::HeldOut(held_out) => pick(&rng, held_out),
        };
        let scene = ALL[family].scene(&rng);
        let mut camera = camera(&rng, ALL[family].upright);
        let search = picture(&scene, &camera, SEARCH_PX, false);
        let [low, high] = bounds(&search, SEARCH_PX)?;
        let size = (high[0] - low[0]).max(high[1] - low[1]);
        let stand = &mut camera.stand;
        for k in 0..2 {
            let middle = (low[k] + high[k]) * 0.5 * stand.scale;
            stand.centre = [0, 1, 2].map(|n| stand.centre[n] + middle * stand.axes[k][n]);
        }
        stand.scale *= size * 0.5 / FILLED;
        let hits = picture(&scene, &camera, side, true);
        let frayed = if rng.chance(0.3) { rng.within(0.0, 0.6) } else { 0.0 };
        let coverage: Vec<f32> =
            hits.iter().map(|hit| covered(hit.inside_px + frayed * rng.normal())).collect();
        let area = coverage.iter().sum::<f32>() / (side * side) as f32;
        if area < AREA_SHARE_MIN {
            return None;
        }
        let look = Look::new(&rng);
        let colours = look.picture(&scene, &camera, &hits, &rng);
        let byte = |share: f32| (share * 255.0 + 0.5) as u8;
        let rgba =
            colours.iter().zip(&coverage).map(|([r, g, b], share)| [*r, *g, *b, byte(*share)]).collect();
        Some(Sample {
            family,
            side,
            rgba,
            prior: shape::prior::height(&coverage, side),
            front: hits.iter().map(|hit| hit.front).collect(),
            back: hits.iter().map(|hit| hit.back).collect(),
        })
    }

    /// Family, RGBA, prior, front and back: u32, bytes, and three planes of i16; little end first.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = (self.family as u32).to_le_bytes().to_vec();
        bytes.extend(self.rgba.as_flattened());
        for plane in [&self.prior, &self.front, &self.back] {
            let whole =
                plane.iter().map(|value| (value * DEPTH_UNITS).round().clamp(-32767.0, 32767.0) as i16);
            bytes.extend(whole.flat_map(i16::to_le_bytes));
        }
        bytes
    }
}

/// Of which family.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    /// By chance, of those held out or of the others.
    HeldOut(bool),
    Only(usize),
}

/// Looks at an upright thing from a little above and from anywhere around; at others from anywhere.
fn camera(rng: &Rng, upright: bool) -> Camera {
    let yaw = if rng.chance(0.2) { rng.below(4) as f32 * FRAC_PI_2 } else { rng.within(-PI, PI) };
    let pitch = match rng.below(10) {
        0 => 0.0,
        1 => rng.within(-0.2, 0.9),
        _ => rng.within(0.0, 0.61),
    };
    let free = !upright || rng.chance(0.06);
    let roll = if free { rng.within(-PI, PI) } else { rng.normal() * 0.03 };
    let pitch = if free { rng.within(-1.5, 1.5) } else { pitch };
    let axes = after(turn(2, roll), after(turn(0, -pitch), turn(1, yaw)));
    let nearness = if rng.chance(0.5) { rng.within(0.05, 0.3) } else { 0.0 };
    Camera { stand: Stand { axes, centre: [0.0; 3], scale: SEARCH_REACH }, nearness }
}

/// Lower left and upper right corner of what is covered, in halves of the picture's side; between the pixels
/// where the silhouette is.
fn bounds(hits: &[Hit], side: usize) -> Option<[[f32; 2]; 2]> {
    let mut found = [[f32::MAX; 2], [f32::MIN; 2]];
    let pixel = 2.0 / side as f32;
    for (at, hit) in hits.iter().enumerate().filter(|(_, hit)| hit.inside_px > -0.5) {
        let reach = hit.inside_px.min(0.5) * pixel;
        let place = [((at % side) as f32 + 0.5) * pixel - 1.0, 1.0 - ((at / side) as f32 + 0.5) * pixel];
        for k in 0..2 {
            found[0][k] = found[0][k].min(place[k] - reach);
            found[1][k] = found[1][k].max(place[k] + reach);
        }
    }
    let inside = found.iter().flatten().all(|value| value.abs() < 1.0 - pixel);
    (inside && hits.iter().any(|hit| hit.inside_px > 0.0)).then_some(found)
}

/// How much of a pixel a straight edge at this distance leaves, under the engine's filter: a triangle of one
/// pixel's radius.
fn covered(inside_px: f32) -> f32 {
    let d = inside_px.clamp(-1.0, 1.0);
    0.5 + d - d * d.abs() * 0.5
}
