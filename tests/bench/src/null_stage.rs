//! Stage functions that compute nothing: what is left is what the system around them costs.

use domain::{EngineVersion, Recipe, Stage};
use stage::{Context, File, Input, Output, StageFunction};
use std::time::{Duration, Instant};

/// An input of this name is given back as it came, so that the pipe is measured with large files.
pub(crate) const ECHO: &str = "echo";
/// An input of this name is answered by what spans cost; its only byte says how many lie within each other.
pub(crate) const SPANS: &str = "spans";
/// Spans that are opened and closed for one answer.
const SPANS_OPENED: u32 = 12_000;

/// Size of what a null stage writes.
const BYTES: usize = 64;

struct Null(Stage);

/// The null function of a stage; what a runner is made with.
pub(crate) fn make(stage: Stage) -> Box<dyn StageFunction> {
    Box::new(Null(stage))
}

/// What each stage writes: what the next one reads.
const fn output(stage: Stage) -> &'static str {
    match stage {
        Stage::Preprocess => "cutout.png",
        Stage::Shape => "mesh.glb",
        Stage::Texture => "textured.glb",
        Stage::Export => "model.glb",
    }
}

impl StageFunction for Null {
    fn engine(&self, _recipe: &Recipe) -> EngineVersion {
        EngineVersion { name: "null".to_owned(), version: "1".to_owned() }
    }

    fn run(&mut self, input: &Input, cx: &Context<'_>) -> Output {
        if let Some(echo) = input.files.iter().find(|file| file.name == ECHO) {
            return Ok(vec![echo.clone()]);
        }
        if let Some(asked) = input.files.iter().find(|file| file.name == SPANS) {
            let depth = asked.bytes.first().copied().unwrap_or(1).max(1);
            let each = spans(cx, u32::from(depth)).as_secs_f64() * 1e9 / f64::from(SPANS_OPENED);
            return Ok(vec![File { bytes: each.to_le_bytes().to_vec(), ..asked.clone() }]);
        }
        let content_type = "application/octet-stream".to_owned();
        Ok(vec![File { name: output(self.0).to_owned(), content_type, bytes: vec![0; BYTES] }])
    }
}

/// Opens and closes spans, so many within each other.
fn spans(cx: &Context<'_>, depth: u32) -> Duration {
    let _around = cx.span("around");
    let began = Instant::now();
    for _ in 0..SPANS_OPENED / depth {
        nested(cx, depth);
    }
    began.elapsed()
}

fn nested(cx: &Context<'_>, depth: u32) {
    let _span = cx.span("matting");
    if depth > 1 {
        nested(cx, depth - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::InputFrom;

    #[test]
    fn each_stage_writes_what_later_ones_read() {
        for (name, from) in Stage::ALL.iter().flat_map(|stage| stage.inputs()) {
            if let InputFrom::Artifact(stage, artifact) = from {
                assert_eq!((output(*stage), *name), (*artifact, *artifact));
            }
        }
    }
}
