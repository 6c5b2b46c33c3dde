//! What each stage and each format costs for one picture: time by span, bytes by file. The files stay beside
//! the page, to be looked at.

use anyhow::{Context as _, Result};
use domain::{Format, Recipe};
use figures::{Bar, Report, ms, percentile};
use stage::{Context, File, Input, Observer, Output, StageFunction};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// Rounds, of which the median counts.
const ROUNDS: usize = 5;
/// Spans of making a mesh and its texture; every format's is beside them.
const MAKING: [&str; 9] =
    ["inflate", "surface", "smooth", "decimate", "check", "unwrap", "bake", "compress", "encode"];

/// Measures spans by their names.
#[derive(Default)]
struct Watch {
    open: RefCell<Vec<(&'static str, Instant)>>,
    spans: RefCell<BTreeMap<&'static str, Duration>>,
}

impl Observer for Watch {
    fn started(&self, _item: usize) {}
    fn finished(&self, _item: usize, _output: Output) {}
    fn progress(&self, _item: usize, _fraction: f32, _phase: &'static str) {}

    fn enter(&self, span: &'static str) {
        self.open.borrow_mut().push((span, Instant::now()));
    }

    fn exit(&self) {
        if let Some((span, since)) = self.open.borrow_mut().pop() {
            *self.spans.borrow_mut().entry(span).or_default() += since.elapsed();
        }
    }
}

/// Runs a cut-out through shape, texture and export, in every format, and writes the last round's files.
pub(crate) fn measure(report: &mut Report, cutout: Vec<u8>, recipe: &Recipe, folder: &Path) -> Result<()> {
    let recipe = Recipe { formats: BTreeSet::from(Format::ALL), ..recipe.clone() };
    let mut spans: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    let (mut making, mut turning, mut made) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let file = File { name: "cutout.png".to_owned(), content_type: String::new(), bytes: cutout.clone() };
        let (mut files, mut all, mut turn) = (vec![file], Duration::ZERO, Duration::ZERO);
        let stages: [(&str, Box<dyn StageFunction>); 3] = [
            ("shape", Box::new(shape::Shape)),
            ("texture", Box::new(texture::Texture)),
            ("export", Box::new(export::Export)),
        ];
        for (stage, mut function) in stages {
            let (watch, since) = (Watch::default(), Instant::now());
            let input = Input { recipe: recipe.clone(), files: files.clone() };
            files.extend(function.run(&input, &Context::new(&watch, 0))?);
            spans.entry(format!("{stage}, whole")).or_default().push(since.elapsed());
            for (span, time) in watch.spans.into_inner() {
                let is_format = stage == "export" && !["turntable", "gif", "preview", "lod"].contains(&span);
                all += if is_format || MAKING.contains(&span) { time } else { Duration::ZERO };
                turn += if ["turntable", "preview"].contains(&span) { time } else { Duration::ZERO };
                spans.entry(format!("{stage}, {span}")).or_default().push(time);
            }
        }
        making.push(all);
        turning.push(turn);
        made = files;
    }
    for (name, times) in &mut spans {
        report.add(format!("{name}, p50"), ms(percentile(times, 0.5)), "ms", Bar::None);
    }
    let bar = Bar::AtMost(1500.0);
    report.add("mesh, texture and all formats, p50", ms(percentile(&mut making, 0.5)), "ms", bar);
    let bar = Bar::AtMost(1000.0);
    report.add("preview and turntable, p50", ms(percentile(&mut turning, 0.5)), "ms", bar);
    std::fs::create_dir_all(folder).context("make the folder of files")?;
    for file in made {
        report.add(format!("bytes of {}", file.name), file.bytes.len() as f64 / 1000.0, "kB", Bar::None);
        std::fs::write(folder.join(&file.name), file.bytes)
            .with_context(|| format!("write {}", file.name))?;
    }
    Ok(())
}
