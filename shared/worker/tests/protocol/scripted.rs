//! A stage function that does what its input says, and writes what the next stage reads.

use domain::{EngineVersion, Recipe, Stage};
use stage::{Context, File, Input, Output, StageError, StageFunction};

/// Of this stage.
pub struct Scripted(pub Stage);

const fn output(stage: Stage) -> &'static str {
    match stage {
        Stage::Preprocess => "cutout.png",
        Stage::Shape => "mesh.glb",
        Stage::Texture => "textured.glb",
        Stage::Export => "model.glb",
    }
}

impl StageFunction for Scripted {
    fn engine(&self, _recipe: &Recipe) -> EngineVersion {
        EngineVersion { name: "scripted".to_owned(), version: "1".to_owned() }
    }

    fn precision(&self, _recipe: &Recipe) -> &'static str {
        "f16"
    }

    fn run(&mut self, input: &Input, cx: &Context<'_>) -> Output {
        let _span = cx.span("script");
        let bytes = input.files.first().map(|file| file.bytes.clone()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match text.split_once(' ').unwrap_or((text.as_str(), "")) {
            ("reject", why) => return Err(StageError::Rejected(why.to_owned())),
            ("fail", why) => return Err(StageError::Failed(why.to_owned())),
            ("exit", code) => std::process::exit(code.parse().unwrap_or(1)),
            ("lack", _) => return Err(StageError::OutOfMemory(domain::Bytes::gib(1))),
            ("hang", _) => loop {
                std::thread::park();
            },
            // Opening a pipe waits for its other end.
            ("until", pipe) => drop(std::fs::read(pipe)),
            _ => {}
        }
        let (name, content_type) = (output(self.0).to_owned(), "application/octet-stream".to_owned());
        Ok(vec![File { name, content_type, bytes }])
    }
}
