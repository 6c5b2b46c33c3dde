//! Makes samples for training the shape network: procedural scenes as signed distance fields, traced from
//! front and back, shaded. The same seed gives the same samples, each by its number alone.
//!
//! Writes them to standard output one after another, as `sample.rs` says, or a contact sheet to look at.
#![forbid(unsafe_code)]

mod build;
mod families;
mod lanes;
mod rng;
mod sample;
mod scene;
mod shade;
mod sheet;
mod solids;
mod trace;

use anyhow::{Context, Result};
use clap::Parser;
use sample::{Choice, Sample};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::PathBuf;

/// Makes samples for training the shape network.
#[derive(Debug, Parser)]
#[command(name = "generator")]
struct Cli {
    /// Another seed, other scenes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of the first sample.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// How many; without it, until nobody reads any more.
    #[arg(long)]
    count: Option<u64>,
    /// Width and height of a sample, pixels.
    #[arg(long, default_value_t = 64)]
    side: usize,
    /// Of families that are never trained on.
    #[arg(long)]
    held_out: bool,
    /// Names the families in the order of their numbers, and ends.
    #[arg(long)]
    names: bool,
    /// Writes a contact sheet of all families into this file (PNG) instead.
    #[arg(long)]
    sheet: Option<PathBuf>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if cli.names {
        let name = |family: &families::Family| {
            format!("{}{}\n", family.name, if family.held_out { " held out" } else { "" })
        };
        print!("{}", families::ALL.iter().map(name).collect::<String>());
        return Ok(());
    }
    if let Some(file) = &cli.sheet {
        let picture = sheet::contact(cli.seed, cli.side);
        return picture.save(file).with_context(|| format!("write {}", file.display()));
    }
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    for number in (cli.first..).take(cli.count.map_or(usize::MAX, |count| count as usize)) {
        let sample = Sample::new(cli.seed, number, cli.side, Choice::HeldOut(cli.held_out));
        match out.write_all(&sample.bytes()) {
            // Whoever reads has enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("write a sample")?,
        }
    }
    out.flush().context("write the last samples")
}
