//! Stage 2: cut-out -> watertight mesh.
//!
//! `cutout.png` in, `mesh.glb` out: Y up, front +Z, in the cut-out's frame, at most as many triangles as the
//! quality preset allows; where a normal map is wanted, the dense surface goes along in the same file. An
//! `engine` (`inflate`, `layered`, `relief`) says where the surface is, as layered depth or as a signed
//! `field`; the `mesher` makes the mesh, the same way for all. The engine `layered` asks a small network of
//! our own, whose weights are part of this crate.
#![forbid(unsafe_code)]

pub mod engine;
pub mod mesher;
pub mod prior;

mod field;
mod inflate;
mod layered;
mod outline;
mod poisson;
mod relief;
mod rough;
mod sheet;

pub use field::Field;
pub use layered::{LAYERED, load_layered};
pub use outline::Outline;
pub use sheet::{Layered, Rim};

use domain::{Engine, EngineVersion, Recipe};
use engine::ShapeEngine;
use mesh::{Cutout, CutoutFault, TexturedMesh, provenance};
use mesher::Finished;
use stage::{Context, File, Input, Output, StageError, StageFunction};

/// Fewer opaque pixels than a square of this side is no object.
const OBJECT_SIDE_PX_MIN: f32 = 8.0;

/// The stage function shape.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape;

fn engine_of(recipe: &Recipe) -> &'static dyn ShapeEngine {
    match recipe.engine {
        Engine::Inflate => &inflate::Inflate,
        Engine::Layered => &layered::Network,
        Engine::Relief => &relief::Relief,
    }
}

impl StageFunction for Shape {
    fn engine(&self, recipe: &Recipe) -> EngineVersion {
        let version = engine_of(recipe).version().to_owned();
        EngineVersion { name: recipe.engine.as_str().to_owned(), version }
    }

    fn run(&mut self, input: &Input, cx: &Context<'_>) -> Output {
        cx.progress(0.0, "decode");
        let cutout = {
            let _span = cx.span("decode");
            Cutout::read(input.file("cutout.png")?).map_err(refusal)?
        };
        cx.progress(0.1, "inflate");
        worthwhile(&cutout)?;
        let form = {
            let _span = cx.span("inflate");
            engine_of(&input.recipe).form(&cutout, &input.recipe, cx)?
        };
        let Finished { mesh, facts, mut dense, error_metres } =
            mesher::model(&form, input.recipe.quality, cx)?;
        cx.progress(0.95, "encode");
        let _span = cx.span("encode");
        let engine = self.engine(&input.recipe);
        let mut extras = serde_json::json!({
            "triangles": facts.triangles,
            "volume_m3": facts.volume,
            "components": facts.components,
            "decimation_error_m": f64::from((error_metres * 1e7).round()) / 1e7,
        });
        if let Some(confidence) = form.confidence {
            extras["confidence"] = (f64::from(confidence * 100.0).round() / 100.0).into();
        }
        let own = serde_json::json!({"stage": "shape", "engine": engine.name, "version": engine.version});
        let extras = provenance::extras(extras, provenance::of_cutout(input.file("cutout.png")?), Some(own));
        let model = TexturedMesh { mesh, ..TexturedMesh::default() };
        let written = if input.recipe.details.normal_map == Some(true) {
            dense.normals = mesher::normals(&dense, &form);
            mesh::glb::write_with_dense(&model, &dense, &extras)
        } else {
            mesh::glb::write(&model, &extras)
        };
        let bytes = written.map_err(|error| StageError::Failed(format!("encode the mesh: {error}")))?;
        Ok(vec![File { name: "mesh.glb".to_owned(), content_type: "model/gltf-binary".to_owned(), bytes }])
    }
}

/// Refuses what shows hardly anything.
fn worthwhile(cutout: &Cutout) -> Result<(), StageError> {
    let area: f32 = cutout.image.pixels().map(|pixel| f32::from(pixel[3]) / 255.0).sum();
    if area < OBJECT_SIDE_PX_MIN * OBJECT_SIDE_PX_MIN {
        let sentence = "the object covers only a few pixels; use a picture in which it is larger";
        return Err(StageError::Rejected(sentence.to_owned()));
    }
    Ok(())
}

fn refusal(fault: CutoutFault) -> StageError {
    match fault {
        CutoutFault::Unreadable(_) => StageError::Failed(fault.to_string()),
        CutoutFault::Empty | CutoutFault::Specks(_) => {
            StageError::Rejected(format!("{fault}; use a picture with one clear subject"))
        }
    }
}
