//! The synthetic load of a recipe, around a real stage function: real allocations under the runner's real
//! limit, real time, and real ends of the runner. It runs only where the site permits it.

use domain::{Bytes, EngineVersion, Recipe, Stage, Synthetic, SyntheticEnd};
use stage::{Context, Input, Observer, Output, StageError, StageFunction};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

/// How often a load says at least that it is alive.
const STEP: Duration = Duration::from_millis(50);

/// A stage function under the loads that recipes ask for: a runner has one where its site permits them.
pub struct Loaded {
    stage: Stage,
    real: Box<dyn StageFunction>,
    /// The slow start is over: once for each runner.
    started: bool,
}

impl Loaded {
    /// Around the real one of this stage.
    pub fn around(stage: Stage, real: Box<dyn StageFunction>) -> Loaded {
        Loaded { stage, real, started: false }
    }

    fn load<'a>(&self, input: &'a Input) -> Option<&'a Synthetic> {
        input.recipe.synthetic.as_ref().filter(|load| load.stage == self.stage)
    }
}

impl StageFunction for Loaded {
    fn engine(&self, recipe: &Recipe) -> EngineVersion {
        self.real.engine(recipe)
    }

    fn precision(&self, recipe: &Recipe) -> &'static str {
        self.real.precision(recipe)
    }

    fn run(&mut self, input: &Input, cx: &Context<'_>) -> Output {
        let Some(load) = self.load(input) else { return self.real.run(input, cx) };
        for step in 0..load.steps {
            let at = |step: u32| step as f32 / load.steps as f32 * 0.9;
            spend(load.item_ms, at(step)..at(step + 1), cx);
        }
        match load.end {
            SyntheticEnd::Real => self.real.run(input, cx),
            SyntheticEnd::Abort => std::process::abort(),
            SyntheticEnd::Hang => loop {
                std::thread::park();
            },
            SyntheticEnd::Broken => Err(StageError::DeviceBroken("as the recipe asks".to_owned())),
        }
    }

    fn run_batch(&mut self, inputs: &[Input], observer: &dyn Observer) {
        let loads: Vec<Option<&Synthetic>> = inputs.iter().map(|input| self.load(input)).collect();
        let fixed = loads.iter().flatten().map(|load| load.fixed).max().unwrap_or_default();
        let size = inputs.len() as u32;
        let before = |load: &&Synthetic| load.start_ms.saturating_add(load.curve_ms(size));
        let start_ms = loads.iter().flatten().map(before).max().unwrap_or_default();
        let runs_out = loads.iter().flatten().any(|load| load.oom_at.is_some_and(|most| size >= most));
        // Memory is held until the batch ends, as the activations of a network are.
        let mut held = vec![touched(fixed)];
        for (item, (input, load)) in inputs.iter().zip(loads).enumerate() {
            observer.started(item);
            let cx = Context::new(observer, item);
            if runs_out {
                run_out();
            }
            if item == 0 {
                let load_ms = load.filter(|_| !self.started).map_or(0, |load| load.load_ms);
                self.started = true;
                spend(load_ms, 0.0..0.0, &cx);
                spend(start_ms, 0.0..0.0, &cx);
            }
            held.extend(load.map(|load| touched(with_noise(load, input))));
            let output = self.run(input, &cx);
            observer.finished(item, output);
        }
        drop(std::hint::black_box(held));
    }
}

/// Asks for more than any machine has: the allocation fails, and the runner ends as it does after every
/// failed one.
fn run_out() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(isize::MAX as usize)));
}

/// Memory that is really there: every page written.
fn touched(bytes: Bytes) -> Vec<u8> {
    vec![1; bytes.0 as usize]
}

/// The item's memory; the same for the same input, whenever it runs.
fn with_noise(load: &Synthetic, input: &Input) -> Bytes {
    let mut hasher = DefaultHasher::new();
    input.files.iter().for_each(|file| file.bytes.hash(&mut hasher));
    let unit = (hasher.finish() % 2001) as f64 / 1000.0 - 1.0;
    load.per_item.scale(1.0 + unit * f64::from(load.noise_percent) / 100.0)
}

/// Lets time pass as a computation would, saying how far it is.
fn spend(time_ms: u32, fraction: Range<f32>, cx: &Context<'_>) {
    let whole = Duration::from_millis(u64::from(time_ms));
    let mut spent = Duration::ZERO;
    while spent < whole {
        let step = STEP.min(whole - spent);
        sleep(step);
        spent += step;
        let share = spent.as_secs_f32() / whole.as_secs_f32();
        cx.progress(fraction.start + share * (fraction.end - fraction.start), "synthetic");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_stays_in_its_bounds_and_repeats() {
        let load = Synthetic::parse("stage=shape,per-item=100MB,noise-percent=10").expect("a good load");
        for seed in 0..50_u8 {
            let file = stage::File { name: "x".into(), content_type: String::new(), bytes: vec![seed] };
            let input = Input { recipe: Recipe::default(), files: vec![file] };
            let bytes = with_noise(&load, &input);
            assert!((90_000_000..=110_000_000).contains(&bytes.0), "{bytes}");
            assert_eq!(bytes, with_noise(&load, &input));
        }
    }
}
