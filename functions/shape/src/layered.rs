//! The engine `layered`: a small network of our own looks at the cut-out and says, for each place of the
//! silhouette, how deep its middle lies and how thick it is. It was trained on procedural scenes
//! (`functions/shape/training`), starts from inflation and says how much it doubts itself; where it doubts
//! too much, the shape is inflation's.

use crate::engine::{Form, ShapeEngine, Surface};
use crate::inflate::{self, CALMING_ROUNDS, SMOOTHING_ROUNDS};
use crate::outline::Outline;
use crate::prior;
use crate::rough::Rough;
use crate::sheet::{Layered, Rim};
use domain::{Bytes, Recipe};
use mesh::Cutout;
use nn::{Manifest, Model, NnError};
use stage::{Context, StageError};
use std::sync::OnceLock;

/// Pixels of the network's picture along each side.
const SIDE: usize = 64;
/// Planes that it is shown, and that it answers.
const SHOWN: usize = 7;
const FOUND: usize = 4;
/// Half of the longer side of the object's box in halves of the picture's side, as in training.
const FILLED: f32 = 0.9;
/// Expected error, in halves of the picture's side, up to which the network is trusted, and from which it is
/// not at all.
const DOUBT: [f32; 2] = [0.3, 0.6];
/// Bounds of the logarithms that the network may answer: e^3 times inflation is no shape any more.
const FACTOR_MAX: f32 = 3.0;

/// Its weights, in half precision.
const WEIGHTS: &[u8] = include_bytes!("../weights/layered.onnx");

/// The network. Its weights are a part of this project, trained on scenes of its own.
pub const LAYERED: Manifest = Manifest {
    name: "layered",
    what: "depth of front and back",
    source: "trained by this project (functions/shape/weights)",
    sha256: "dacb03e8945eeaff7267b2dd65f9901bc227e217b2d3ecb69527b97482d7c91a",
    licence: "Apache-2.0",
    precision: "f16",
    input: &[1, SHOWN, SIDE, SIDE],
    output: &[1, FOUND, SIDE, SIDE],
    peak_bytes: 96 << 20,
};

/// Depth by the network.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Network;

impl ShapeEngine for Network {
    fn version(&self) -> &'static str {
        "1"
    }

    fn form(&self, cutout: &Cutout, recipe: &Recipe, cx: &Context<'_>) -> Result<Form, StageError> {
        let seen = Seen::of(cutout);
        let depths = {
            let _span = cx.span("network");
            seen.depths().map_err(failure)?
        };
        let (outline, heights) = inflate::heights(cutout, recipe);
        let thickness = recipe.details.thickness_percent.unwrap_or(100) as f32 / 100.0;
        let frame = cutout.frame;
        // Half of the network's picture, in metres.
        let metres = 0.5 / FILLED;
        let (mut front, mut back) = (vec![0.0; heights.len()], vec![0.0; heights.len()]);
        let (mut moment, mut volume) = (0.0_f64, 0.0_f64);
        for at in (0..heights.len()).filter(|&at| outline.inside(at)) {
            let place = seen.place(outline.place_px(at));
            let mid = depths.mid.at(place) * metres;
            let thick = 2.0 * heights[at] * depths.factor.at(place).exp() + depths.more.at(place) * metres;
            let thick = thick.max(0.0) * thickness;
            (front[at], back[at]) = (mid + thick * 0.5, mid - thick * 0.5);
            moment += f64::from(mid * thick);
            volume += f64::from(thick);
        }
        // The object's middle is at z = 0.
        let shift = (moment / volume.max(1e-9)) as f32;
        front.iter_mut().chain(&mut back).for_each(|z| *z -= shift);
        let half = frame.size_px.map(|size| size * frame.metres_per_px() * 0.5);
        Ok(Form {
            surface: Surface::Layered(Layered { outline, front, back, rim: Rim::Between, frame }),
            extent: [half.map(|side| -side), half],
            floor: None,
            smoothing_rounds: SMOOTHING_ROUNDS,
            calming_rounds: CALMING_ROUNDS,
            confidence: Some(depths.confidence),
        })
    }
}

/// The cut-out as the network is shown it.
struct Seen {
    grid: Outline,
    inside: Vec<bool>,
    planes: Vec<f32>,
}

/// What the network found, where it is trusted; elsewhere inflation's.
struct Depths {
    /// Half-way between front and back, halves of the picture's side.
    mid: Rough,
    /// Logarithm of the factor on inflation's thickness.
    factor: Rough,
    /// Thickness besides, halves of the picture's side.
    more: Rough,
    /// Mean trust inside, 0 to 1.
    confidence: f32,
}

impl Seen {
    fn of(cutout: &Cutout) -> Seen {
        let [width, height] = cutout.frame.size_px;
        let pitch_px = width.max(height) / (FILLED * SIDE as f32);
        let origin_px = cutout.frame.centre_px.map(|middle| middle - (SIDE as f32 - 1.0) * 0.5 * pitch_px);
        let grid = Outline { width: SIDE, height: SIDE, values: Vec::new(), pitch_px, origin_px };
        let coverage = grid.filtered(&cutout.image, |pixel| f32::from(pixel[3]) / 255.0);
        let colour = |k: usize| {
            let value = |pixel: &image::Rgba<u8>| f32::from(pixel[k]) * f32::from(pixel[3]) / 65_025.0;
            grid.filtered(&cutout.image, value)
        };
        let line = |n: usize| (n as f32 + 0.5) / (SIDE as f32 * 0.5) - 1.0;
        let mut planes = [colour(0), colour(1), colour(2), coverage.clone()].concat();
        planes.extend(prior::height(&coverage, SIDE));
        planes.extend((0..SIDE * SIDE).map(|at| line(at % SIDE)));
        planes.extend((0..SIDE * SIDE).map(|at| -line(at / SIDE)));
        let inside = coverage.iter().map(|share| *share >= 0.5).collect();
        Seen { grid, inside, planes }
    }

    /// Where a place of the picture is on the network's grid.
    fn place(&self, place_px: [f32; 2]) -> [f32; 2] {
        [0, 1].map(|k| (place_px[k] - self.grid.origin_px[k]) / self.grid.pitch_px)
    }

    /// Asks the network about the picture and its mirror image, and takes the mean.
    fn depths(&self) -> Result<Depths, NnError> {
        let model = model()?;
        let straight = model.run(&self.planes)?;
        let mut mirrored = flipped(&self.planes);
        // x is x in the mirror too.
        let x = 5 * SIDE * SIDE..6 * SIDE * SIDE;
        mirrored[x.clone()].copy_from_slice(&self.planes[x]);
        let other = flipped(&model.run(&mirrored)?);
        let mean: Vec<f32> = straight.iter().zip(&other).map(|(a, b)| (a + b) * 0.5).collect();
        let plane = |k: usize| &mean[k * SIDE * SIDE..(k + 1) * SIDE * SIDE];
        let trust: Vec<f32> = plane(3).iter().map(|doubt| trust(doubt.exp())).collect();
        let trusted = |k: usize, value: fn(f32) -> f32| {
            let values = plane(k).iter().zip(&trust).map(|(found, trust)| trust * value(*found)).collect();
            Rough::new(values, &self.inside, SIDE)
        };
        let inside = trust.iter().zip(&self.inside).filter(|(_, inside)| **inside);
        let (sum, count) = inside.fold((0.0, 0.0), |(sum, count), (trust, _)| (sum + trust, count + 1.0));
        Ok(Depths {
            mid: trusted(0, |mid| mid),
            factor: trusted(1, |factor| factor.clamp(-FACTOR_MAX, FACTOR_MAX)),
            // softplus(2 x - 4) / 2
            more: trusted(2, |more| (2.0 * more - 4.0).min(30.0).exp().ln_1p() * 0.5),
            confidence: sum / f32::max(count, 1.0),
        })
    }
}

/// How far an answer with this expected error is trusted, 0 to 1.
fn trust(error: f32) -> f32 {
    ((DOUBT[1] - error) / (DOUBT[1] - DOUBT[0])).clamp(0.0, 1.0)
}

/// Planes, left and right exchanged.
fn flipped(planes: &[f32]) -> Vec<f32> {
    planes.chunks_exact(SIDE).flat_map(|row| row.iter().rev()).copied().collect()
}

/// The network, loaded once for as long as the process lives.
fn model() -> Result<&'static Model, NnError> {
    static MODEL: OnceLock<Model> = OnceLock::new();
    if let Some(model) = MODEL.get() {
        return Ok(model);
    }
    let model = Model::load(&LAYERED, WEIGHTS)?;
    Ok(MODEL.get_or_init(|| model))
}

/// Loads the network, if it is not loaded yet.
///
/// # Errors
/// Its weights are not whole, or there is too little memory.
pub fn load_layered() -> Result<(), NnError> {
    model().map(|_| ())
}

fn failure(error: NnError) -> StageError {
    match error {
        NnError::OutOfMemory { bytes, .. } => StageError::OutOfMemory(Bytes(bytes as u64)),
        other => StageError::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_here_what_it_found_where_it_was_trained() {
        let planes: Vec<f32> = (0..SHOWN * SIDE * SIDE).map(|k| (k * 7919 % 1000) as f32 / 1000.0).collect();
        let found = model().expect("the weights are whole").run(&planes).expect("it computes");
        let expect: Vec<f32> =
            serde_json::from_str(include_str!("../weights/layered.json")).expect("a list of numbers");
        let pairs: Vec<(f32, f32)> = found.iter().step_by(97).copied().zip(expect.iter().copied()).collect();
        assert_eq!(pairs.len(), expect.len());
        let spread = expect.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        // Training keeps whole precision, the file half of it.
        for (mine, theirs) in pairs {
            assert!((mine - theirs).abs() < 5e-3 * spread, "{mine} for {theirs}");
        }
    }

    #[test]
    fn trust_ends_where_doubt_is_as_large_as_the_object() {
        assert_eq!(trust(DOUBT[0] * 0.5), 1.0);
        assert_eq!(trust(DOUBT[1] * 2.0), 0.0);
        assert!((trust((DOUBT[0] + DOUBT[1]) * 0.5) - 0.5).abs() < 1e-6);
    }
}
