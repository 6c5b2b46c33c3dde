//! The engine `relief`: a plate for printing whose height follows the picture, raised or as a lithophane,
//! with a frame around it.

use crate::engine::{Form, ShapeEngine, Surface};
use crate::outline::Outline;
use crate::poisson;
use crate::sheet::{Layered, Rim};
use domain::{Curve, Recipe};
use image::Rgba;
use mesh::{Cutout, CutoutFrame};
use stage::{Context, StageError};

/// Triangles of the front before decimation, as a multiple of those wanted: the picture's detail is all in
/// the front, and the flat back takes next to none.
const OVERSAMPLING: f32 = 5.0;
/// Pitch of the grid in pixels.
const PITCH_PX: std::ops::RangeInclusive<f32> = 1.0..=4.0;
/// Darkest light that a lithophane still tells apart, as a share of the lightest.
const DARKEST: f32 = 0.02;
/// A subject that fills this share of its box has no outline to stand out by.
const FULL_SHARE: f32 = 0.98;
/// Of a raised subject's height: its edge, its roundness, and its light.
const RAISED: [f32; 3] = [0.2, 0.5, 0.3];
/// Shares of the subject's pixels that may be darker or lighter than the range that is used.
const CLIPPED: [f32; 2] = [0.02, 0.98];

/// Relief and lithophane.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relief;

impl ShapeEngine for Relief {
    fn version(&self) -> &'static str {
        "1"
    }

    fn form(&self, cutout: &Cutout, recipe: &Recipe, _cx: &Context<'_>) -> Result<Form, StageError> {
        let plate = Plate::of(cutout.frame, recipe)?;
        let [width, height] = plate.size_px();
        let wanted = OVERSAMPLING * recipe.quality.triangles_max() as f32;
        let pitch = (2.0 * width * height / wanted).sqrt().clamp(*PITCH_PX.start(), *PITCH_PX.end());
        let outline = Outline::rectangle(plate.box_px, pitch);
        let shares = match plate.curve {
            Curve::Raised => raised(cutout, &outline),
            Curve::Lithophane => lithophane(cutout, &outline),
        };
        let z = |mm: f32| mm * plate.metres_per_mm;
        let middle = plate.base_mm * 0.5;
        let front = shares.into_iter().enumerate().map(|(at, share)| {
            let share = if plate.in_frame(outline.place_px(at)) { 1.0 } else { share };
            z(middle + share * plate.depth_mm)
        });
        let front: Vec<f32> = front.collect();
        let back = vec![z(-middle); front.len()];
        let [left, top, right, bottom] = plate.box_px;
        let extent = [[left, bottom], [right, top]].map(|corner| cutout.frame.to_mesh(corner));
        Ok(Form {
            surface: Surface::Layered(Layered { outline, front, back, rim: Rim::Walls, frame: cutout.frame }),
            extent,
            floor: Some(z(-middle)),
            smoothing_rounds: 0,
            calming_rounds: 0,
            confidence: None,
        })
    }
}

/// The plate in the picture's pixels.
struct Plate {
    curve: Curve,
    /// Left, top, right, bottom, with the frame.
    box_px: [f32; 4],
    frame_px: f32,
    depth_mm: f32,
    base_mm: f32,
    metres_per_mm: f32,
}

impl Plate {
    fn of(frame: CutoutFrame, recipe: &Recipe) -> Result<Plate, StageError> {
        let details = &recipe.details;
        let curve = details.curve.unwrap_or(Curve::Raised);
        let wished = [details.depth_um, details.base_um, details.frame_um];
        let [depth_mm, base_mm, frame_mm] =
            [0, 1, 2].map(|k| wished[k].unwrap_or(curve.plate_um()[k]) as f32 / 1000.0);
        let [width, height] = frame.size_px;
        let (side_mm, side_px) = match details.width_um {
            Some(um) => (um as f32 / 1000.0, width),
            None => (recipe.size_mm as f32, width.max(height)),
        };
        let mm_per_px = (side_mm - 2.0 * frame_mm) / side_px;
        if mm_per_px * side_px < 0.5 * side_mm {
            return Err(StageError::Rejected(format!(
                "a frame of {frame_mm} mm leaves too little of a plate of {side_mm} mm; use a smaller \
                 frame-mm or a larger plate"
            )));
        }
        let frame_px = frame_mm / mm_per_px;
        let [x, y] = frame.centre_px;
        let [half_x, half_y] = frame.size_px.map(|size| size * 0.5 + frame_px);
        Ok(Plate {
            curve,
            box_px: [x - half_x, y - half_y, x + half_x, y + half_y],
            frame_px,
            depth_mm,
            base_mm,
            metres_per_mm: frame.metres_per_px() / mm_per_px,
        })
    }

    fn size_px(&self) -> [f32; 2] {
        let [left, top, right, bottom] = self.box_px;
        [right - left, bottom - top]
    }

    fn in_frame(&self, [x, y]: [f32; 2]) -> bool {
        let [left, top, right, bottom] = self.box_px;
        self.frame_px > 0.0 && (x - left).min(right - x).min(y - top).min(bottom - y) < self.frame_px
    }
}

/// Share of the depth, 0 to 1, at each grid point: nothing beside the subject; on it, a rounded edge and
/// more where the picture is lighter.
fn raised(cutout: &Cutout, grid: &Outline) -> Vec<f32> {
    let silhouette = grid.silhouette(&cutout.image);
    let light = stretched(&light(cutout, grid, luma), &silhouette);
    let inside = silhouette.values.iter().filter(|value| **value > 0.0).count() as f32;
    let [width, height] = cutout.frame.size_px.map(|size| size / grid.pitch_px);
    if inside >= FULL_SHARE * width * height {
        return light;
    }
    let mut round = poisson::solve(&silhouette);
    round.iter_mut().for_each(|u| *u = u.max(0.0).sqrt());
    let highest = round.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let [edge, roundness, brightness] = RAISED;
    let share = |at: usize| {
        let covered = (silhouette.values[at] + 0.5).clamp(0.0, 1.0);
        covered * (edge + roundness * round[at] / highest + brightness * light[at])
    };
    (0..round.len()).map(share).collect()
}

/// Share of the depth at each grid point: light that goes through a plate falls off exponentially with its
/// thickness (Beer and Lambert), so that the thickness is minus the logarithm of the picture's light.
fn lithophane(cutout: &Cutout, grid: &Outline) -> Vec<f32> {
    let silhouette = grid.silhouette(&cutout.image);
    let light = stretched(&light(cutout, grid, linear), &silhouette);
    let share = |(light, value): (&f32, &f32)| {
        if *value > 0.0 { light.clamp(DARKEST, 1.0).ln() / DARKEST.ln() } else { 0.0 }
    };
    light.iter().zip(&silhouette.values).map(share).collect()
}

/// The subject's light at each grid point, without what is beside it.
fn light(cutout: &Cutout, grid: &Outline, of: fn(&Rgba<u8>) -> f32) -> Vec<f32> {
    let covered = grid.filtered(&cutout.image, |pixel| f32::from(pixel[3]) / 255.0);
    let shone = grid.filtered(&cutout.image, |pixel| of(pixel) * f32::from(pixel[3]) / 255.0);
    shone.iter().zip(&covered).map(|(light, share)| light / share.max(1e-3)).collect()
}

/// Brightness as it is seen, 0 to 1 (weights of ITU-R BT.709).
fn luma(pixel: &Rgba<u8>) -> f32 {
    [0.2126, 0.7152, 0.0722]
        .iter()
        .zip(&pixel.0)
        .map(|(weight, byte)| weight * f32::from(*byte) / 255.0)
        .sum()
}

/// Light as it is measured, 0 to 1.
fn linear(pixel: &Rgba<u8>) -> f32 {
    luma(&Rgba(pixel.0.map(|byte| ((f32::from(byte) / 255.0).powf(2.2) * 255.0 + 0.5) as u8)))
}

/// Values so that the subject's use the whole range from 0 to 1; a subject of one shade is all light.
fn stretched(values: &[f32], silhouette: &Outline) -> Vec<f32> {
    let own = values.iter().zip(&silhouette.values).filter(|(_, inside)| **inside > 0.0);
    let mut own: Vec<f32> = own.map(|(value, _)| *value).collect();
    own.sort_unstable_by(f32::total_cmp);
    let at = |share: f32| own.get((share * own.len() as f32) as usize).copied().unwrap_or(0.0);
    let [low, high] = CLIPPED.map(at);
    if high - low < 0.02 {
        return vec![1.0; values.len()];
    }
    values.iter().map(|value| ((value - low) / (high - low)).clamp(0.0, 1.0)).collect()
}
