//! The runner: the worker's child, one per lane. It reads batches from stdin, computes, and writes results
//! to stdout.
//!
//! Single-threaded. It never touches queue, store or network. Its ends: stdin closed = 0; out of memory =
//! abort (a failed
//! allocation cannot be caught in Rust); a broken device = 70; the worker's death kills it.

use crate::frames::{self, Say};
use crate::runner_memory;
use crate::self_test;
use crate::spans::Spans;
use domain::{EngineVersion, Recipe, Stage};
use stage::{Context, Input, Observer, Output, StageError, StageFunction};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// The exit code that says: the device is broken, not the item.
pub const EXIT_DEVICE_BROKEN: i32 = 70;

/// Progress is said at most this often; what is closer together nobody can see.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Most notes of an item, and the longest, in characters: what a person reads.
const NOTES_MAX: (usize, usize) = (16, 400);

/// Serves batches from stdin until it closes. `make` builds the stage function of a stage the first time it
/// is needed.
///
/// # Errors
/// A broken pipe: the worker is gone.
pub fn serve(make: impl Fn(Stage) -> Box<dyn StageFunction>) -> io::Result<()> {
    serve_with_probe(make, || Ok(()))
}

/// The same, with what a self-test tries of the device besides the memory that runners compute in: an error
/// says what is broken.
///
/// # Errors
/// A broken pipe: the worker is gone.
pub fn serve_with_probe(
    make: impl Fn(Stage) -> Box<dyn StageFunction>,
    probe: impl Fn() -> Result<(), String>,
) -> io::Result<()> {
    die_with_the_worker();
    let mut functions: BTreeMap<Stage, Box<dyn StageFunction>> = BTreeMap::new();
    let mut input = io::stdin().lock();
    let output = RefCell::new(BufWriter::with_capacity(1 << 16, io::stdout().lock()));
    frames::say(&mut *output.borrow_mut(), &Say::Ready, &[])?;
    while let Some(head) = frames::read_batch_head(&mut input)? {
        if let Some(seed) = head.self_test {
            runner_memory::limit(head.reservation);
            let sum = self_test::compute(seed);
            runner_memory::unlimit();
            let broken = probe().err();
            frames::say(&mut *output.borrow_mut(), &Say::Tested { sum, broken }, &[])?;
            continue;
        }
        // What a stage function holds for good is part of the warm size, and none of the reservation.
        let function = functions.entry(head.stage).or_insert_with(|| make(head.stage)).as_mut();
        runner_memory::reset_peak();
        let warm = runner_memory::resident();
        runner_memory::limit(head.reservation);
        let inputs = frames::read_batch_items(&mut input, head)?;
        compute(function, &inputs, &output)?;
        drop(inputs);
        let peak = runner_memory::peak().saturating_sub(warm);
        runner_memory::unlimit();
        frames::say(&mut *output.borrow_mut(), &Say::BatchDone { peak, warm }, &[])?;
    }
    Ok(())
}

/// The kernel kills this process when the worker dies: a runner without a worker computes for nobody.
fn die_with_the_worker() {
    let parent = rustix::process::getppid();
    let kill = Some(rustix::process::Signal::KILL);
    if let Err(error) = rustix::process::set_parent_process_death_signal(kill) {
        eprintln!("runner: cannot follow the worker into death: {error}");
    }
    if rustix::process::getppid() != parent {
        std::process::exit(0);
    }
}

/// Runs the batch; a panic costs the item in which it happened, the items after it run.
fn compute<W: Write>(
    function: &mut dyn StageFunction,
    inputs: &[Input],
    output: &RefCell<W>,
) -> io::Result<()> {
    let mut first = 0;
    while first < inputs.len() {
        let engine = |recipe: &Recipe| (function.engine(recipe), function.precision(recipe));
        let engines = inputs[first..].iter().map(|input| engine(&input.recipe)).collect();
        let teller = Teller::new(output, first, engines);
        let run = || function.run_batch(&inputs[first..], &teller);
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(()) => first = inputs.len(),
            Err(panic) => {
                let text = panic_text(&*panic);
                let item = teller.current.get();
                teller
                    .finished(item, Err(StageError::Failed(format!("the stage function panicked: {text}"))));
                first += item + 1;
            }
        }
        teller.broken.into_inner().map_or(Ok(()), Err)?;
    }
    Ok(())
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// Tells the worker what the stage function does.
struct Teller<'a, W: Write> {
    output: &'a RefCell<W>,
    /// The batch's item that is item 0 of this run.
    offset: usize,
    /// Of each item: by which code, and in which precision.
    engines: Vec<(EngineVersion, &'static str)>,
    current: Cell<usize>,
    spans: RefCell<Spans>,
    notes: RefCell<Vec<String>>,
    said: Cell<Option<Instant>>,
    broken: Cell<Option<io::Error>>,
}

impl<'a, W: Write> Teller<'a, W> {
    fn new(output: &'a RefCell<W>, offset: usize, engines: Vec<(EngineVersion, &'static str)>) -> Self {
        Teller {
            output,
            offset,
            engines,
            current: Cell::new(0),
            spans: RefCell::default(),
            notes: RefCell::default(),
            said: Cell::new(None),
            broken: Cell::new(None),
        }
    }

    fn say(&self, word: &Say, files: &[stage::File]) {
        if let Err(error) = frames::say(&mut *self.output.borrow_mut(), word, files) {
            self.broken.set(Some(error));
        }
    }
}

impl<W: Write> Observer for Teller<'_, W> {
    fn started(&self, item: usize) {
        self.current.set(item);
        self.spans.borrow_mut().clear();
        self.notes.borrow_mut().clear();
        self.said.set(None);
        self.say(&Say::Started { item: self.offset + item }, &[]);
    }

    fn finished(&self, item: usize, output: Output) {
        let spans = self.spans.borrow_mut().take();
        let notes = std::mem::take(&mut *self.notes.borrow_mut());
        match frames::finish_of(output) {
            Ok((result, files)) => {
                let (engine, precision) = self.engines[item].clone();
                let (item, precision) = (self.offset + item, precision.to_owned());
                self.say(&Say::Finished { item, result, spans, engine, precision, notes }, &files);
            }
            Err(error) => {
                eprintln!("runner: the device is broken: {error}");
                std::process::exit(EXIT_DEVICE_BROKEN);
            }
        }
    }

    fn progress(&self, item: usize, fraction: f32, phase: &'static str) {
        let now = Instant::now();
        if self.said.get().is_some_and(|said| now.duration_since(said) < PROGRESS_EVERY) {
            return;
        }
        self.said.set(Some(now));
        let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
        self.say(&Say::Progress { item: self.offset + item, fraction, phase: phase.to_owned() }, &[]);
    }

    fn note(&self, _item: usize, note: &str) {
        let mut notes = self.notes.borrow_mut();
        if notes.len() < NOTES_MAX.0 {
            notes.push(note.chars().take(NOTES_MAX.1).collect());
        }
    }

    fn enter(&self, span: &'static str) {
        self.spans.borrow_mut().enter(span);
    }

    fn exit(&self) {
        self.spans.borrow_mut().exit();
    }
}

/// Runs one item without a worker: for `meshwright profile` and tests of stage functions.
pub fn run_once(function: &mut dyn StageFunction, input: &Input) -> Output {
    function.run(input, &Context::new(&stage::Silent, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails, panics or succeeds as the item's only file says.
    struct Scripted;

    impl StageFunction for Scripted {
        fn engine(&self, _recipe: &Recipe) -> EngineVersion {
            EngineVersion { name: "scripted".to_owned(), version: "1".to_owned() }
        }

        fn run(&mut self, input: &Input, cx: &Context<'_>) -> Output {
            let _span = cx.span("all");
            cx.note("seen");
            match input.file("do")? {
                b"panic" => panic!("as asked"),
                b"reject" => Err(StageError::Rejected("no subject".to_owned())),
                _ => Ok(input.files.clone()),
            }
        }
    }

    fn item(what: &str) -> Input {
        let bytes = what.as_bytes().to_vec();
        let file = stage::File { name: "do".to_owned(), content_type: String::new(), bytes };
        Input { recipe: Recipe::default(), files: vec![file] }
    }

    #[tokio::test]
    async fn a_panic_costs_only_its_own_item() {
        let output = RefCell::new(Vec::new());
        let inputs = [item("ok"), item("panic"), item("reject"), item("ok")];
        compute(&mut Scripted, &inputs, &output).expect("a vector");
        let bytes = output.into_inner();
        let (mut reader, mut ends) = (bytes.as_slice(), Vec::new());
        while let Some((word, _)) = frames::hear(&mut reader).await.expect("our own frames") {
            if let Say::Finished { item, result, notes, .. } = word {
                // Each item has its own notes only.
                assert_eq!(notes, ["seen"]);
                ends.push((item, std::mem::discriminant(&result)));
            }
        }
        let files = std::mem::discriminant(&frames::Finish::Files { files: vec![] });
        let failed = std::mem::discriminant(&frames::Finish::Failed { error: String::new() });
        let rejected = std::mem::discriminant(&frames::Finish::Rejected { reason: String::new() });
        assert_eq!(ends, [(0, files), (1, failed), (2, rejected), (3, files)]);
    }
}
