//! What a stage function is: bytes in, bytes out. It knows no queue, no store, no clock, no environment.
//!
//! A stage function runs inside a runner, single-threaded, under a memory limit. It reports each item as it
//! finishes,
//! so that a crash costs only the items that were not finished.
#![forbid(unsafe_code)]

use domain::{Bytes, EngineVersion, Recipe};

/// A named file in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// As `cutout.png`.
    pub name: String,
    /// MIME type; empty for inputs whose type nobody vouches for.
    pub content_type: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// One item of a batch.
#[derive(Clone, Debug)]
pub struct Input {
    /// What is wanted.
    pub recipe: Recipe,
    /// The files named by `domain::Stage::inputs`.
    pub files: Vec<File>,
}

impl Input {
    /// The bytes of an input file.
    ///
    /// # Errors
    /// [`StageError::Failed`]: the worker did not bring it.
    pub fn file(&self, name: &str) -> Result<&[u8], StageError> {
        let found = self.files.iter().find(|file| file.name == name);
        found.map(|file| file.bytes.as_slice()).ok_or_else(|| StageError::Failed(format!("no input {name}")))
    }
}

/// What became of one item.
pub type Output = Result<Vec<File>, StageError>;

/// Why an item has no output. The variants are what a caller can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// The input cannot become a model, and never will: the job is rejected. One sentence for a person, with
    /// what to do.
    #[error("{0}")]
    Rejected(String),
    /// It did not work this time: the task is tried again.
    #[error("{0}")]
    Failed(String),
    /// The memory did not suffice: the batch is halved.
    #[error("out of memory, {0} asked for")]
    OutOfMemory(Bytes),
    /// The device is broken: the runner exits with code 70.
    #[error("the device is broken: {0}")]
    DeviceBroken(String),
}

/// Hears what a stage function does while it does it; the runner implements it.
pub trait Observer {
    /// The item's computation began.
    fn started(&self, item: usize);
    /// The item is finished.
    fn finished(&self, item: usize, output: Output);
    /// Share of the item done, 0 to 1, and what comes next.
    fn progress(&self, item: usize, fraction: f32, phase: &'static str);
    /// Something that a person should know of the item's result.
    fn note(&self, _item: usize, _note: &str) {}
    /// A span opens.
    fn enter(&self, span: &'static str);
    /// The innermost open span closes.
    fn exit(&self);
}

/// What a stage function may say besides its result.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    observer: &'a dyn Observer,
    item: usize,
}

impl<'a> Context<'a> {
    /// The context of one item.
    pub fn new(observer: &'a dyn Observer, item: usize) -> Context<'a> {
        Context { observer, item }
    }

    /// Opens a span that closes when the guard is dropped: `let _span = cx.span("matting");`.
    pub fn span(&self, name: &'static str) -> Span<'a> {
        self.observer.enter(name);
        Span { observer: self.observer }
    }

    /// Says how far the item is, 0 to 1, and what it does now. Proves that it is alive.
    pub fn progress(&self, fraction: f32, phase: &'static str) {
        self.observer.progress(self.item, fraction, phase);
    }

    /// Says what a person should know of the result, in a sentence: it stands in the stage's manifest.
    pub fn note(&self, note: &str) {
        self.observer.note(self.item, note);
    }
}

/// An open span.
pub struct Span<'a> {
    observer: &'a dyn Observer,
}

impl Drop for Span<'_> {
    fn drop(&mut self) {
        self.observer.exit();
    }
}

/// A stage function.
pub trait StageFunction {
    /// Which code this is. The version changes whenever results may change.
    fn engine(&self, recipe: &Recipe) -> EngineVersion;

    /// Numeric precision of its computation, as `f32` or `f16`; timings are compared within one.
    fn precision(&self, _recipe: &Recipe) -> &'static str {
        "f32"
    }

    /// Computes one item.
    ///
    /// # Errors
    /// See [`StageError`].
    fn run(&mut self, input: &Input, cx: &Context<'_>) -> Output;

    /// Computes a batch. One after the other unless an engine knows better; each item is reported as it
    /// finishes.
    fn run_batch(&mut self, inputs: &[Input], observer: &dyn Observer) {
        for (item, input) in inputs.iter().enumerate() {
            observer.started(item);
            let output = self.run(input, &Context::new(observer, item));
            observer.finished(item, output);
        }
    }
}

/// Hears nothing: for tests and benches of stage functions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn started(&self, _item: usize) {}
    fn finished(&self, _item: usize, _output: Output) {}
    fn progress(&self, _item: usize, _fraction: f32, _phase: &'static str) {}
    fn enter(&self, _span: &'static str) {}
    fn exit(&self) {}
}
