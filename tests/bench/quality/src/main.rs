//! How well shapes come out. Objects that are known all around are rendered to cut-outs, the stages make
//! models of them in this process, and both are compared: volume, surface, silhouette, colours. Prints a
//! table, writes `quality.json` and a page with pictures side by side into the folder of figures.
//!
//! Nothing here is a test: the figures are for people, and for tuning.
#![forbid(unsafe_code)]

mod compare;
mod objects;
mod page;
mod solids;
mod stages;
mod views;

use anyhow::{Context, Result};
use clap::Parser;
use compare::Scores;
use domain::{Engine, Recipe};
use figures::{Bar, Report};
use std::path::{Path, PathBuf};

/// Measures the quality of shapes; writes figures/quality.json and figures/quality/index.html.
#[derive(Debug, Parser)]
#[command(name = "quality")]
struct Cli {
    /// Only objects whose names contain this.
    #[arg(long)]
    only: Option<String>,
    /// Options of the recipe besides, as `thickness-percent=80`.
    #[arg(long = "option", short)]
    options: Vec<String>,
    /// Measures what the stages and formats cost instead, for a cut-out (PNG), or for an object of ours
    /// where the file is `-`.
    #[arg(long)]
    cutout: Option<PathBuf>,
    /// Where pictures and figures go; `figures` in the target folder unless said.
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let folder = match cli.out {
        Some(folder) => folder,
        None => figures::folder()?,
    };
    std::fs::create_dir_all(folder.join("quality")).context("make the folder of pictures")?;
    let pairs = cli.options.iter().map(|option| option.split_once('=').unwrap_or((option, "")));
    let pairs: Vec<(&str, &str)> = pairs.collect();
    if let Some(cutout) = &cli.cutout {
        let mut report = Report::new("stages");
        let recipe = Recipe::default().with_options(pairs.iter().copied())?;
        stages::measure(&mut report, read(cutout)?, &recipe, &folder.join("quality/files"))?;
        report.write(&folder)?;
        println!("{}", figures::table(&[report]));
        return Ok(());
    }
    let mut report = Report::new("quality");
    let mut rows = Vec::new();
    // A relief does not claim to know the object.
    for engine in Engine::ALL.into_iter().filter(|engine| *engine != Engine::Relief) {
        let options = [("engine", engine.as_str())].into_iter().chain(pairs.iter().copied());
        let recipe = Recipe::default().with_options(options)?;
        let mut scores = Vec::new();
        for object in objects::ALL
            .iter()
            .filter(|object| cli.only.as_ref().is_none_or(|o| object.name.contains(o.as_str())))
        {
            let whole = object.mesh();
            for (number, turn) in views::TURNS.into_iter().enumerate() {
                let name = format!("{}-{}-{number}", engine.as_str(), object.name);
                let seen = views::seen(&whole, turn);
                let found = views::modelled(&seen.cutout, &recipe).with_context(|| name.clone())?;
                let score = Scores::of(&seen, &found);
                eprintln!("  {name}: {score}");
                rows.push(page::row(&folder.join("quality"), &name, &seen, &found, &score)?);
                scores.push(score);
            }
        }
        add(&mut report, engine.as_str(), &scores);
    }
    page::write(&folder.join("quality/index.html"), &rows)?;
    report.write(&folder)?;
    println!("{}", figures::table(&[report]));
    println!("written to {}", folder.display());
    Ok(())
}

/// A cut-out of a file, or of the first object that has a hole.
fn read(file: &Path) -> Result<Vec<u8>> {
    if file != Path::new("-") {
        return std::fs::read(file).with_context(|| format!("read {}", file.display()));
    }
    let mug = objects::ALL.iter().find(|object| object.name == "mug").context("there is a mug")?;
    let seen = views::seen(&mug.mesh(), views::TURNS[1]);
    mesh::provenance::write_cutout(&seen.cutout, &vec![]).map_err(anyhow::Error::msg)
}

/// The means over all objects and views.
fn add(report: &mut Report, engine: &str, scores: &[Scores]) {
    let mut mean = |figure: &str, unit, bar, pick: fn(&Scores) -> f64| {
        let sum: f64 = scores.iter().map(pick).sum();
        report.add(format!("{engine}, {figure}"), sum / scores.len().max(1) as f64, unit, bar);
    };
    mean("volume IoU", "", Bar::None, |s| s.volume_iou);
    mean("chamfer", "half extents", Bar::None, |s| s.chamfer);
    mean("F@0.1", "", Bar::None, |s| s.f_at[0]);
    mean("F@0.2", "", Bar::None, |s| s.f_at[1]);
    mean("silhouette IoU, front", "", Bar::AtLeast(0.98), |s| s.silhouette_iou[0]);
    mean("silhouette IoU, side", "", Bar::None, |s| s.silhouette_iou[1]);
    mean("colours, front", "dB", Bar::AtLeast(25.0), |s| s.psnr_db[0]);
    mean("colours, side", "dB", Bar::None, |s| s.psnr_db[1]);
    mean("colours, back", "dB", Bar::None, |s| s.psnr_db[2]);
    mean("watertight", "share", Bar::AtLeast(1.0), |s| f64::from(u8::from(s.watertight)));
}
