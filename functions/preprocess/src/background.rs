//! Takes a plain background away: its colour from the border, its tolerance measured there, filled in from
//! the edges.
//!
//! A region of the background's colour that the fill does not reach is a hole when it is clearly background
//! (a cup's handle); a highlight of a similar colour stays subject.

use crate::mask::{neighbours, regions};
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
/// Parts smaller than this share of the largest are noise.
const SPECK_SHARE: f64 = 0.005;

fn distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    let square = |n: usize| (a[n] - b[n]) * (a[n] - b[n]);
    (square(0) + square(1) + square(2)).sqrt()
}

/// What the border says of the background.
pub(crate) struct Plain {
    colour: [f32; 3],
    tolerance: f32,
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
    let mut spread: Vec<f32> = border.iter().map(|pixel| distance(*pixel, colour)).collect();
    spread.sort_by(f32::total_cmp);
    let at = |share: f64| spread[((spread.len() - 1) as f64 * share) as usize];
    if at(PLAIN_SHARE) > PLAIN_MAX {
        return None;
    }
    // What four fifths of the border deviate by, and room for the noise inside the frame.
    let tolerance = (at(PLAIN_SHARE) * 1.8 + 10.0).clamp(TOLERANCE.0, TOLERANCE.1);
    Some(Plain { colour, tolerance })
}

/// What a person is told whose picture has no plain background.
pub(crate) fn not_plain() -> StageError {
    StageError::Rejected(
        "no plain background was found; upload a png with transparency, or a picture of one object before a \
         plain background"
            .to_owned(),
    )
}

/// The picture with its plain background transparent.
pub(crate) fn remove(mut image: RgbaImage, plain: &Plain) -> RgbaImage {
    let width = image.width() as usize;
    let distances: Vec<f32> =
        image.pixels().map(|pixel| distance([0, 1, 2].map(|c| f32::from(pixel[c])), plain.colour)).collect();
    let mut ground = reached_from_edges(&distances, width, plain.tolerance);
    open_holes(&mut ground, &distances, width, plain.tolerance);
    clear_specks(&mut ground, width);
    soften(&mut image, &ground, &distances, plain);
    image
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

fn open_holes(ground: &mut [bool], distances: &[f32], width: usize, tolerance: f32) {
    let close = |at: usize| !ground[at] && distances[at] <= tolerance * HOLE_TOLERANCE_SHARE;
    let candidates: Vec<bool> = (0..ground.len()).map(close).collect();
    let (labels, sizes) = regions(&candidates, width);
    let least = (ground.len() as f64 * HOLE_SHARE_MIN).max(12.0) as usize;
    for (at, label) in labels.iter().enumerate() {
        ground[at] |= *label != 0 && sizes[*label as usize] >= least;
    }
}

fn clear_specks(ground: &mut [bool], width: usize) {
    let subject: Vec<bool> = ground.iter().map(|ground| !ground).collect();
    let (labels, sizes) = regions(&subject, width);
    let least = sizes.iter().copied().max().unwrap_or(0) as f64 * SPECK_SHARE;
    for (at, label) in labels.iter().enumerate() {
        ground[at] |= *label != 0 && (sizes[*label as usize] as f64) < least;
    }
}

/// Alpha 0 on the background; at the subject's rim as much as the pixel's colour is the subject's, and that
/// colour without the background's share: no halo.
fn soften(image: &mut RgbaImage, ground: &[bool], distances: &[f32], plain: &Plain) {
    let width = image.width() as usize;
    let rim = |at: usize| !ground[at] && neighbours(at, width, ground.len()).any(|near| ground[near]);
    let on_rim: Vec<bool> = (0..ground.len()).map(rim).collect();
    let colours: Vec<[f32; 3]> = image.pixels().map(|p| [0, 1, 2].map(|c| f32::from(p[c]))).collect();
    for (at, pixel) in image.pixels_mut().enumerate() {
        if ground[at] {
            pixel.0 = [0; 4];
        } else if on_rim[at] {
            // The pixels behind the rim have the subject's own colour.
            let inner = neighbours(at, width, ground.len())
                .flat_map(|near| neighbours(near, width, ground.len()))
                .filter(|near| !ground[*near] && !on_rim[*near])
                .max_by(|a, b| distances[*a].total_cmp(&distances[*b]));
            let Some(inner) = inner else { continue };
            let alpha = (distances[at] / distances[inner].max(1.0)).clamp(0.0, 1.0);
            let own = [0, 1, 2].map(|c| {
                let unmixed = (colours[at][c] - (1.0 - alpha) * plain.colour[c]) / alpha.max(0.05);
                // A rim that is much unlike its inside is mixed from too little to be trusted.
                if alpha < 0.6 { colours[inner][c] } else { unmixed }
            });
            pixel.0 = [own[0] as u8, own[1] as u8, own[2] as u8, (alpha * 255.0) as u8];
        }
    }
}
