//! Stage 2: cut-out -> watertight mesh.
//!
//! `cutout.png` in, `mesh.glb` out: centred, Y up, front +Z, longest axis one metre, at most as many
//! triangles as the quality preset allows. The flow: `outline` -> `poisson` -> `sheet`, put together in
//! `inflate`.
#![forbid(unsafe_code)]

mod inflate;
mod outline;
mod poisson;
mod sheet;

use domain::{Engine, EngineVersion, Recipe};
use mesh::{Cutout, CutoutFault, TexturedMesh, provenance};
use stage::{Context, File, Input, Output, StageError, StageFunction};

/// The stage function shape.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape;

impl StageFunction for Shape {
    fn engine(&self, recipe: &Recipe) -> EngineVersion {
        match recipe.engine {
            Engine::Inflate => EngineVersion { name: "inflate".to_owned(), version: "2".to_owned() },
        }
    }

    fn memory_hint(&self, _recipe: &Recipe) -> f64 {
        0.03
    }

    fn run(&mut self, input: &Input, cx: &Context<'_>) -> Output {
        cx.progress(0.0, "decode");
        let cutout = {
            let _span = cx.span("decode");
            Cutout::read(input.file("cutout.png")?).map_err(refusal)?
        };
        cx.progress(0.1, "inflate");
        let (mesh, facts) = match input.recipe.engine {
            Engine::Inflate => inflate::inflate(&cutout, input.recipe.quality, cx)?,
        };
        cx.progress(0.95, "encode");
        let _span = cx.span("encode");
        let engine = self.engine(&input.recipe);
        let extras = serde_json::json!({
            "triangles": facts.triangles,
            "volume_m3": facts.volume,
            "components": facts.components,
        });
        let own = serde_json::json!({"stage": "shape", "engine": engine.name, "version": engine.version});
        let extras = provenance::extras(extras, provenance::of_cutout(input.file("cutout.png")?), Some(own));
        let model = TexturedMesh { mesh, texture_png: None };
        let bytes = mesh::glb::write(&model, &extras)
            .map_err(|error| StageError::Failed(format!("encode the mesh: {error}")))?;
        Ok(vec![File { name: "mesh.glb".to_owned(), content_type: "model/gltf-binary".to_owned(), bytes }])
    }
}

fn refusal(fault: CutoutFault) -> StageError {
    match fault {
        CutoutFault::Unreadable(_) => StageError::Failed(fault.to_string()),
        CutoutFault::Empty | CutoutFault::Specks(_) => {
            StageError::Rejected(format!("{fault}; use a picture with one clear subject"))
        }
    }
}
