//! Takes a plain background away: its colour from the border, its tolerance measured there, filled in from
//! the edges.
//!
//! A region of the background's colour that the fill does not reach is a hole when its colours are spread as
//! the border's are (a cup's handle); a highlight of a similar colour stays subject. Colour alone cannot tell
//! white eyes before white from holes, nor a pale subject's side from its background: such a `Ground` says
//! that it is doubtful, and is compared with what a network sees, or a person is warned.

use crate::mask::{neighbours, regions};
use crate::matting::Answer;
use crate::report::of_pale;
use image::RgbaImage;
use stage::StageError;

/// Share of the shorter side that counts as border.
const BORDER_SHARE: f64 = 0.015;
/// Distance in RGB within which a border counts as plain; a soft shadow or gradient stays below.
const PLAIN_MAX: f32 = 42.0;
/// Share of border pixels that must be plain: a subject may be cut by the frame.
const PLAIN_SHARE: f64 = 0.8;
/// Least and most tolerance.
const TOLERANCE: (f32, f32) = (16.0, 60.0);
/// A hole is closer to the background's colour than this share of the tolerance.
const HOLE_TOLERANCE_SHARE: f32 = 0.6;
/// Least share of the picture that a hole has: smaller ones are highlights or noise.
const HOLE_SHARE_MIN: f64 = 0.0006;
/// A hole's mean and spread of distances lie within the border's times this, and this many levels of noise.
const HOLE_LIKENESS: (f32, f32) = (2.0, 4.0);
/// Behind its rim a subject differs from the background by this multiple of the tolerance.
const CONTRAST_MIN: f32 = 1.5;
/// A larger share of the rim than this without that contrast is doubtful.
const PALE_RIM_SHARE: f64 = 0.25;
/// Below this overlap (intersection over union) with what the network sees, the fill was wrong.
const OVERLAP_MIN: f64 = 0.8;
/// A hole that the network holds for subject more than this is none.
const HOLE_SURE_MAX: f32 = 0.5;

fn distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    let square = |n: usize| (a[n] - b[n]) * (a[n] - b[n]);
    (square(0) + square(1) + square(2)).sqrt()
}

/// What the border says of the background.
pub(crate) struct Plain {
    colour: [f32; 3],
    tolerance: f32,
    /// Mean distance of its pixels from that colour, and the distances' deviation.
    spread: [f32; 2],
}

/// Mean and deviation.
fn spread(distances: impl Iterator<Item = f32>) -> [f32; 2] {
    let (mut count, mut sum, mut squares) = (0.0_f64, 0.0_f64, 0.0_f64);
    for distance in distances.map(f64::from) {
        (count, sum, squares) = (count + 1.0, sum + distance, squares + distance * distance);
    }
    let mean = sum / count.max(1.0);
    [mean as f32, (squares / count.max(1.0) - mean * mean).max(0.0).sqrt() as f32]
}

/// The median colour of the border, if the border is plain.
pub(crate) fn plain(image: &RgbaImage) -> Option<Plain> {
    let (width, height) = image.dimensions();
    let band = ((f64::from(width.min(height)) * BORDER_SHARE) as u32).max(1);
    let in_band = |x: u32, y: u32| x < band || y < band || x + band >= width || y + band >= height;
    let border: Vec<[f32; 3]> = image
        .enumerate_pixels()
        .filter(|(x, y, _)| in_band(*x, *y))
        .map(|(_, _, pixel)| [0, 1, 2].map(|c| f32::from(pixel[c])))
        .collect();
    let colour = [0, 1, 2].map(|channel| {
        let mut values: Vec<f32> = border.iter().map(|pixel| pixel[channel]).collect();
        let middle = values.len() / 2;
        *values.select_nth_unstable_by(middle, f32::total_cmp).1
    });
    let mut distances: Vec<f32> = border.iter().map(|pixel| distance(*pixel, colour)).collect();
    distances.sort_by(f32::total_cmp);
    let last = ((distances.len() - 1) as f64 * PLAIN_SHARE) as usize;
    if distances[last] > PLAIN_MAX {
        return None;
    }
    // What four fifths of the border deviate by, and room for the noise inside the frame.
    let tolerance = (distances[last] * 1.8 + 10.0).clamp(TOLERANCE.0, TOLERANCE.1);
    Some(Plain { colour, tolerance, spread: spread(distances[..=last].iter().copied()) })
}

/// What a person is told whose picture has no plain background.
pub(crate) fn not_plain() -> StageError {
    StageError::Rejected(
        "no plain background was found; upload a png with transparency, or a picture of one object before a \
         plain background"
            .to_owned(),
    )
}

/// Which pixels are background.
pub(crate) struct Ground {
    plain: Plain,
    size: [usize; 2],
    /// Of each pixel from the background's colour.
    distances: Vec<f32>,
    ground: Vec<bool>,
    /// Holes that were opened: their pixels.
    holes: Vec<Vec<usize>>,
    /// Whether the subject hardly differs from the background along its rim.
    pub(crate) pale: bool,
}

impl Ground {
    /// What the fill reaches, and the holes.
    pub(crate) fn of(image: &RgbaImage, plain: Plain) -> Ground {
        let size = [image.width() as usize, image.height() as usize];
        let distances: Vec<f32> = image
            .pixels()
            .map(|pixel| distance([0, 1, 2].map(|c| f32::from(pixel[c])), plain.colour))
            .collect();
        let mut ground = reached_from_edges(&distances, size[0], plain.tolerance);
        let holes = holes(&ground, &distances, size[0], &plain);
        holes.iter().flatten().for_each(|at| ground[*at] = true);
        let mut found = Ground { plain, size, distances, ground, holes, pale: false };
        found.pale = found.is_pale();
        found
    }

    /// What a person should look at, in words.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let holes = "parts of the background's colour inside the subject became holes; if they belong to it, \
                     use a background of another colour";
        let doubts = [self.pale.then(of_pale), self.has_holes().then(|| holes.to_owned())];
        doubts.into_iter().flatten().collect()
    }

    /// Whether parts of the background's colour were taken for holes.
    pub(crate) fn has_holes(&self) -> bool {
        !self.holes.is_empty()
    }

    /// Whether the network sees much the same subject.
    pub(crate) fn is_confirmed(&self, answer: &Answer) -> bool {
        let (mut both, mut any) = (0_usize, 0_usize);
        for (at, ground) in self.ground.iter().enumerate() {
            let seen = answer.at([at % self.size[0], at / self.size[0]], self.size) >= 0.5;
            both += usize::from(!ground && seen);
            any += usize::from(!ground || seen);
        }
        both as f64 >= OVERLAP_MIN * any as f64
    }

    /// Closes the holes that the network holds for subject.
    pub(crate) fn close_holes(&mut self, answer: &Answer) {
        for hole in std::mem::take(&mut self.holes) {
            let sure = hole.iter().map(|at| answer.at([at % self.size[0], at / self.size[0]], self.size));
            if sure.sum::<f32>() > HOLE_SURE_MAX * hole.len() as f32 {
                hole.iter().for_each(|at| self.ground[*at] = false);
            }
        }
    }

    /// The picture with its background transparent.
    pub(crate) fn remove_from(&self, mut image: RgbaImage) -> RgbaImage {
        self.soften(&mut image);
        image
    }

    /// The pixel behind a rim pixel, two steps inwards at most, that differs most from the background.
    fn behind(&self, at: usize, on_rim: &[bool]) -> Option<usize> {
        let near = |at: usize| neighbours(at, self.size[0], self.ground.len());
        near(at)
            .flat_map(near)
            .filter(|near| !self.ground[*near] && !on_rim[*near])
            .max_by(|a, b| self.distances[*a].total_cmp(&self.distances[*b]))
    }

    fn rim(&self) -> Vec<bool> {
        let near = |at: usize| neighbours(at, self.size[0], self.ground.len());
        (0..self.ground.len()).map(|at| !self.ground[at] && near(at).any(|near| self.ground[near])).collect()
    }

    fn is_pale(&self) -> bool {
        let on_rim = self.rim();
        let rim = (0..on_rim.len()).filter(|at| on_rim[*at]);
        let (mut pale, mut all) = (0_usize, 0_usize);
        for behind in rim.filter_map(|at| self.behind(at, &on_rim)) {
            all += 1;
            pale += usize::from(self.distances[behind] < CONTRAST_MIN * self.plain.tolerance);
        }
        pale as f64 > PALE_RIM_SHARE * all as f64
    }

    /// Alpha 0 on the background; at the subject's rim as much as the pixel's colour is the subject's, and
    /// that colour without the background's share: no halo.
    fn soften(&self, image: &mut RgbaImage) {
        let on_rim = self.rim();
        let colours: Vec<[f32; 3]> = image.pixels().map(|p| [0, 1, 2].map(|c| f32::from(p[c]))).collect();
        for (at, pixel) in image.pixels_mut().enumerate() {
            if self.ground[at] {
                pixel.0 = [0; 4];
            } else if on_rim[at] {
                // The pixels behind the rim have the subject's own colour.
                let Some(inner) = self.behind(at, &on_rim) else { continue };
                let alpha = (self.distances[at] / self.distances[inner].max(1.0)).clamp(0.0, 1.0);
                let own = [0, 1, 2].map(|c| {
                    let unmixed = (colours[at][c] - (1.0 - alpha) * self.plain.colour[c]) / alpha.max(0.05);
                    // A rim that is much unlike its inside is mixed from too little to be trusted.
                    if alpha < 0.6 { colours[inner][c] } else { unmixed }
                });
                pixel.0 = [own[0] as u8, own[1] as u8, own[2] as u8, (alpha * 255.0) as u8];
            }
        }
    }
}

fn reached_from_edges(distances: &[f32], width: usize, tolerance: f32) -> Vec<bool> {
    let (count, height) = (distances.len(), distances.len() / width);
    let mut reached = vec![false; count];
    let rows = (0..width).flat_map(|x| [x, (height - 1) * width + x]);
    let columns = (0..height).flat_map(|y| [y * width, y * width + width - 1]);
    let mut open: Vec<usize> = rows.chain(columns).filter(|at| distances[*at] <= tolerance).collect();
    open.iter().for_each(|at| reached[*at] = true);
    while let Some(at) = open.pop() {
        for near in neighbours(at, width, count) {
            if !reached[near] && distances[near] <= tolerance {
                reached[near] = true;
                open.push(near);
            }
        }
    }
    reached
}

/// Regions inside the subject whose colours are the background's, and spread as its.
fn holes(ground: &[bool], distances: &[f32], width: usize, plain: &Plain) -> Vec<Vec<usize>> {
    let close = |at: usize| !ground[at] && distances[at] <= plain.tolerance * HOLE_TOLERANCE_SHARE;
    let candidates: Vec<bool> = (0..ground.len()).map(close).collect();
    let (labels, sizes) = regions(&candidates, width);
    let least = (ground.len() as f64 * HOLE_SHARE_MIN).max(12.0) as usize;
    let mut found: Vec<Vec<usize>> =
        sizes.iter().map(|size| Vec::with_capacity(if *size >= least { *size } else { 0 })).collect();
    for (at, label) in labels.iter().enumerate() {
        if *label != 0 && sizes[*label as usize] >= least {
            found[*label as usize].push(at);
        }
    }
    found.retain(|hole| {
        let own = spread(hole.iter().map(|at| distances[*at]));
        let like = |k: usize| own[k] <= plain.spread[k] * HOLE_LIKENESS.0 + HOLE_LIKENESS.1;
        !hole.is_empty() && like(0) && like(1)
    });
    found
}
