//! `tune STAGE`: measures a real stage in real runners over batch sizes, lanes and resolutions, says what is
//! best on this machine, and writes it down. Where to measure next says `planning`.

use crate::cli::TuneArgs;
use crate::client::print_answer;
use crate::config::environment;
use crate::demo::SAMPLES;
use crate::folder;
use crate::performance::table;
use crate::plot;
use crate::refusal::{Outcome, Refusal};
use crate::stages::{StageOptions, stage_function};
use crate::worker_config::WorkerConfig;
use domain::{Bytes, InputFrom, Quality, Recipe, Stage};
use planning::{Grid, Point, Search};
use serde_json::{Value, json};
use stage::{Context, File, Input, Observer, Output};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use worker::{ItemEnd, ItemSay, Lane, RunnerCommand, Work};

/// A point is measured for so long at least.
const MEASURED_FOR: Duration = Duration::from_millis(1_500);
/// And by so many batches on each lane.
const BATCHES_MIN: usize = 3;
/// What a batch may take: a real limit, far above what the stages need.
const RESERVED: [Bytes; 2] = [Bytes::gib(1), Bytes::mib(256)];
/// A runner that says nothing for this long is given up.
const STALL: Duration = Duration::from_secs(60);
/// Pictures that are measured with.
const PICTURES_MAX: usize = 16;

/// A kind of input, as a resolution.
struct Kind {
    name: String,
    inputs: Vec<Input>,
}

/// What a point showed.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    items_per_s: f64,
    peak: Bytes,
}

/// `tune STAGE`
pub(crate) async fn tune(args: TuneArgs, json: bool) -> Outcome<()> {
    let mut worker = WorkerConfig::default();
    worker.apply_environment(environment);
    let options = StageOptions { matting_model: worker.matting_model(), ..StageOptions::default() };
    let kinds = kinds(&args, &options).await?;
    let grid = Grid { sizes: args.sizes.clone(), lanes: args.lanes(), kinds: kinds.len() };
    let mut machine = Machine::new(&args, &options)?;
    let (points, mut search) = (grid.points(), Search::new(grid));
    let mut all = BTreeMap::new();
    let mut rest = args.all.then(|| every_point(search.grid()));
    while let Some(point) = rest.as_mut().map_or_else(|| search.next(), Vec::pop) {
        let (items, lanes) = (search.grid().sizes[point.size], search.grid().lanes[point.lanes]);
        let kind = &kinds[point.kind];
        if !json {
            note!("{}: batches of {items} on {lanes} lanes", kind.name);
        }
        let measured = machine.measure(kind, items as usize, lanes as usize).await?;
        search.tell(point, measured.items_per_s);
        all.insert(point, measured);
    }
    machine.end().await;
    let found = Found { args: &args, kinds: &kinds, search: &search, all: &all, points };
    found.write(json)?;
    print_answer(&found.json(), json, || found.text());
    Ok(())
}

fn every_point(grid: &Grid) -> Vec<Point> {
    let sizes = |kind| (0..grid.sizes.len()).map(move |size| (kind, size));
    let all = (0..grid.kinds).flat_map(sizes);
    all.flat_map(|(kind, size)| (0..grid.lanes.len()).map(move |lanes| Point { kind, size, lanes })).collect()
}

/// The kinds of a stage, with inputs made of real pictures by the stages before it.
async fn kinds(args: &TuneArgs, options: &StageOptions) -> Outcome<Vec<Kind>> {
    let mut pictures = Vec::new();
    match &args.images {
        None => pictures.extend(SAMPLES.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))),
        Some(images) => {
            for path in folder::files_below(images)?.into_iter().take(PICTURES_MAX) {
                let bytes = folder::read(&images.join(&path), Bytes::mib(64)).await?;
                pictures.push((path.display().to_string(), bytes));
            }
        }
    }
    let recipes = match args.stage {
        Stage::Preprocess => vec![("as they are".to_owned(), Recipe::default())],
        Stage::Shape => Quality::ALL
            .map(|quality| (quality.as_str().to_owned(), Recipe { quality, ..Recipe::default() }))
            .into(),
        Stage::Texture | Stage::Export => args
            .texture_px
            .iter()
            .map(|px| (format!("{px} px"), Recipe { texture_px: *px, ..Recipe::default() }))
            .collect(),
    };
    let mut kinds = Vec::new();
    for (name, recipe) in recipes {
        let made = pictures.iter().filter_map(|(_, picture)| made(args.stage, &recipe, picture, options));
        let inputs: Vec<Input> = made.collect();
        if inputs.is_empty() {
            let what = "no picture becomes a model: use pictures with transparency or a plain background";
            return Err(Refusal::Input(what.to_owned()));
        }
        kinds.push(Kind { name, inputs });
    }
    Ok(kinds)
}

/// Hears nothing.
struct Quiet;

impl Observer for Quiet {
    fn started(&self, _item: usize) {}
    fn finished(&self, _item: usize, _output: Output) {}
    fn progress(&self, _item: usize, _fraction: f32, _phase: &'static str) {}
    fn enter(&self, _span: &'static str) {}
    fn exit(&self) {}
}

/// The input of a stage, by way of the stages before it; none of a picture that one of them rejects.
pub(crate) fn made(stage: Stage, recipe: &Recipe, picture: &[u8], options: &StageOptions) -> Option<Input> {
    let upload = File { name: "upload".to_owned(), content_type: String::new(), bytes: picture.to_vec() };
    let mut there: BTreeMap<(Option<Stage>, String), File> = BTreeMap::new();
    there.insert((None, "upload".to_owned()), upload);
    let input = |of: Stage, there: &BTreeMap<(Option<Stage>, String), File>| {
        let files = of.inputs().iter().map(|(name, from)| {
            let place = match from {
                InputFrom::Upload => (None, "upload".to_owned()),
                InputFrom::Artifact(stage, file) => (Some(*stage), (*file).to_owned()),
            };
            Some(File { name: (*name).to_owned(), ..there.get(&place)?.clone() })
        });
        Some(Input { recipe: recipe.clone(), files: files.collect::<Option<_>>()? })
    };
    for before in Stage::ALL.into_iter().take_while(|before| *before < stage) {
        let input = input(before, &there)?;
        let files = stage_function(before, options).run(&input, &Context::new(&Quiet, 0)).ok()?;
        there.extend(files.into_iter().map(|file| ((Some(before), file.name.clone()), file)));
    }
    input(stage, &there)
}

/// Lanes with runners, and what each input's result must be.
struct Machine {
    stage: Stage,
    lanes: Vec<Lane>,
    /// By kind and input: the files of the first batch that had it.
    results: BTreeMap<(String, usize), Vec<File>>,
}

impl Machine {
    fn new(args: &TuneArgs, options: &StageOptions) -> Outcome<Machine> {
        let program = std::env::current_exe().map_err(|e| Refusal::Io(format!("find this binary: {e}")))?;
        let mut words: Vec<std::ffi::OsString> = vec!["runner".into()];
        if let Some(model) = &options.matting_model {
            words.extend(["--matting-model".into(), model.into()]);
        }
        let command = RunnerCommand { program, args: words };
        let most = args.lanes().last().copied().unwrap_or(1);
        let lanes = (0..most).map(|_| Lane::new(command.clone())).collect();
        Ok(Machine { stage: args.stage, lanes, results: BTreeMap::new() })
    }

    async fn end(&mut self) {
        for lane in &mut self.lanes {
            lane.rest().await;
        }
    }

    /// Batches of so many on so many lanes, until it was measured for long enough. Nothing per second where a
    /// batch did not run through.
    async fn measure(&mut self, kind: &Kind, items: usize, lanes: usize) -> Outcome<Measured> {
        // The first batch of a runner builds its stage function, and is not measured.
        let (warm, _) = self.round(kind, items, lanes, 1).await?;
        if !warm {
            return Ok(Measured::default());
        }
        let (began, mut batches, mut peak) = (Instant::now(), 0, Bytes::ZERO);
        while batches < BATCHES_MIN || began.elapsed() < MEASURED_FOR {
            let (whole, held) = self.round(kind, items, lanes, 1).await?;
            if !whole {
                return Ok(Measured::default());
            }
            (batches, peak) = (batches + 1, peak.max(held));
        }
        let items_per_s = (batches * items * lanes) as f64 / began.elapsed().as_secs_f64();
        Ok(Measured { items_per_s, peak })
    }

    /// So many batches on each lane; whether all ran through, and the largest peak.
    async fn round(
        &mut self,
        kind: &Kind,
        items: usize,
        lanes: usize,
        batches: usize,
    ) -> Outcome<(bool, Bytes)> {
        let stage = self.stage;
        let running = self.lanes.iter_mut().take(lanes).map(|lane| async move {
            let (mut peak, mut results) = (Bytes::ZERO, Vec::new());
            for _ in 0..batches {
                let (report, files) = batch(lane, stage, kind, items).await;
                if report.out_of_memory_at.is_some() || report.deaths > 0 || report.is_unusable() {
                    return (false, peak, results);
                }
                peak = peak.max(report.peak);
                results.extend(files);
            }
            (true, peak, results)
        });
        let (mut whole, mut peak) = (true, Bytes::ZERO);
        for (ran, held, results) in futures::future::join_all(running).await {
            (whole, peak) = (whole && ran, peak.max(held));
            for (input, files) in results {
                let first = self.results.entry((kind.name.clone(), input)).or_insert_with(|| files.clone());
                if *first != files {
                    return Err(Refusal::Io(format!(
                        "{stage}, {}: picture {input} in a batch of {items} has another result than before; \
                         this machine does not compute reliably",
                        kind.name
                    )));
                }
            }
        }
        Ok((whole, peak))
    }
}

/// A batch on a lane: how it went, and the files of each input.
async fn batch(
    lane: &mut Lane,
    stage: Stage,
    kind: &Kind,
    items: usize,
) -> (worker::LaneReport, Vec<(usize, Vec<File>)>) {
    let [fixed, each] = RESERVED;
    let inputs: Vec<Input> = kind.inputs.iter().cycle().take(items).cloned().collect();
    let work = Work {
        stage,
        reservation: fixed + Bytes(each.0 * items as u64),
        inputs,
        stall: STALL,
        cancelled: watch::channel(BTreeSet::new()).1,
        broken: watch::channel(None).1,
    };
    let (heard, mut hear) = mpsc::channel(64);
    let collect = async {
        let mut results = Vec::new();
        while let Some((item, say)) = hear.recv().await {
            if let ItemSay::Ended(ItemEnd::Files { files }) = say {
                results.push((item % kind.inputs.len(), files));
            }
        }
        results
    };
    let run = async move {
        let report = lane.run(work, &heard).await;
        drop(heard);
        report
    };
    tokio::join!(run, collect)
}

/// All that was found.
struct Found<'a> {
    args: &'a TuneArgs,
    kinds: &'a [Kind],
    search: &'a Search,
    all: &'a BTreeMap<Point, Measured>,
    points: usize,
}

impl Found<'_> {
    fn at(&self, point: Point) -> (u32, u32) {
        let grid = self.search.grid();
        (grid.sizes[point.size], grid.lanes[point.lanes])
    }

    /// The lanes that most kinds are best with.
    fn lanes(&self) -> u32 {
        let best = (0..self.kinds.len()).filter_map(|kind| self.search.best(kind));
        best.map(|(point, _)| self.at(point).1).max().unwrap_or(1)
    }

    fn json(&self) -> Value {
        let line = |point: Point, measured: &Measured| {
            let (items, lanes) = self.at(point);
            json!({"kind": self.kinds[point.kind].name, "items": items, "lanes": lanes,
                   "items_per_s": measured.items_per_s, "peak_bytes": measured.peak})
        };
        let best = (0..self.kinds.len()).filter_map(|kind| self.search.best(kind));
        json!({
            "stage": self.args.stage,
            "pictures": self.kinds.first().map(|kind| kind.inputs.len()),
            "measured": self.all.iter().map(|(point, of)| line(*point, of)).collect::<Vec<_>>(),
            "best": best.map(|(point, _)| line(point, &self.all[&point])).collect::<Vec<_>>(),
            "lanes": self.lanes(),
            "measurements": self.all.len(),
            "points": self.points,
        })
    }

    fn text(&self) -> String {
        let mut measured = table(&["", "batches of", "lanes", "items/s", "peak"]);
        for (point, of) in self.all {
            let (items, lanes) = self.at(*point);
            let rate = match of.items_per_s {
                0.0 => "did not run through".to_owned(),
                rate => format!("{rate:.2}"),
            };
            let best = self.search.best(point.kind).is_some_and(|(best, _)| best == *point);
            let name = format!("{}{}", if best { "> " } else { "  " }, self.kinds[point.kind].name);
            measured.add_row([name, items.to_string(), lanes.to_string(), rate, of.peak.to_string()]);
        }
        let stage = self.args.stage;
        let mut told = vec![format!(
            "{measured}\n{} of {} points measured; every result is the same in every batch",
            self.all.len(),
            self.points
        )];
        for kind in 0..self.kinds.len() {
            let Some((point, rate)) = self.search.best(kind) else { continue };
            let (items, lanes) = self.at(point);
            let name = &self.kinds[kind].name;
            told.push(format!("{stage}, {name}: batches of {items} on {lanes} lanes, {rate:.2} a second"));
        }
        told.extend(self.args.preset.as_ref().map(|file| format!("preset: {}", file.display())));
        told.extend(self.args.svg.as_ref().map(|file| format!("curve: {}", file.display())));
        told.join("\n")
    }

    /// The preset and the picture, where they are asked for.
    fn write(&self, json: bool) -> Outcome<()> {
        let write = |file: &Path, text: String| {
            let failed = |e: std::io::Error| Refusal::Io(format!("write {}: {e}", file.display()));
            std::fs::write(file, text).map_err(failed)
        };
        if let Some(file) = &self.args.preset {
            write(file, self.preset())?;
        }
        if let Some(file) = &self.args.svg {
            let lines = self.lines();
            let title = format!("{}: items per second by batch size", self.args.stage);
            write(file, plot::lines(&title, ("batch", "items/s"), &lines))?;
        }
        if !json && self.args.preset.is_none() {
            note!("--preset FILE writes the setting for `meshwright.toml`, --svg FILE the curve");
        }
        Ok(())
    }

    fn preset(&self) -> String {
        let stage = self.args.stage;
        let mut text = format!("# Measured by `meshwright tune {stage}`; batches are cut by the planner.\n");
        for kind in 0..self.kinds.len() {
            let Some((point, rate)) = self.search.best(kind) else { continue };
            let name = &self.kinds[kind].name;
            text += &format!("# {name}: batches of {}, {rate:.2} items/s\n", self.at(point).0);
        }
        text + &format!("[worker]\nlanes = {}\n", self.lanes())
    }

    /// A curve for each kind and number of lanes.
    fn lines(&self) -> Vec<plot::Line> {
        let mut lines: BTreeMap<(usize, usize), Vec<(f64, f64)>> = BTreeMap::new();
        for (point, of) in self.all {
            let (items, _) = self.at(*point);
            let line = lines.entry((point.kind, point.lanes)).or_default();
            line.push((f64::from(items), of.items_per_s));
        }
        let name = |kind: usize, lanes: usize| {
            format!("{}, {} lanes", self.kinds[kind].name, self.search.grid().lanes[lanes])
        };
        lines
            .into_iter()
            .map(|((kind, lanes), points)| plot::Line { name: name(kind, lanes), points })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_gets_what_the_stages_before_it_make() {
        let (options, recipe) = (StageOptions::default(), Recipe { texture_px: 256, ..Recipe::default() });
        for stage in Stage::ALL {
            let input = made(stage, &recipe, SAMPLES[0].1, &options).expect("a sample");
            let names: Vec<&str> = input.files.iter().map(|file| file.name.as_str()).collect();
            assert_eq!(names, stage.inputs().iter().map(|(name, _)| *name).collect::<Vec<_>>());
        }
        assert!(made(Stage::Shape, &recipe, b"no picture", &options).is_none());
    }

    #[test]
    fn all_points_are_those_of_the_grid() {
        let grid = Grid { sizes: vec![1, 2, 4], lanes: vec![1, 2], kinds: 2 };
        let points: BTreeSet<Point> = every_point(&grid).into_iter().collect();
        assert_eq!(points.len(), grid.points());
    }
}
