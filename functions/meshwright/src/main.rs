//! The binary: parses, dispatches, turns a refusal into one sentence and an exit code. Everything else has a
//! room of its own: `cli` what can be typed, `config` what is configured, `distributed` and `service` the two
//! ways to get ports, `pipeline` what runs on them, `telemetry` where its spans go; `client`, `watch`,
//! `load`, `performance`, `gpu` and `top` the commands that speak `http`; `replay`, `tune`, `optimize` and
//! `models` need no server.
#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod say;

mod arrivals;
mod bars;
mod calibrate;
mod check_embedded;
mod cli;
mod client;
mod config;
mod demo;
mod distributed;
mod doctor;
mod flame;
mod folder;
mod gate;
mod gpu;
mod health;
mod http;
mod load;
mod load_report;
mod metrics_text;
mod models;
mod open_files;
mod optimize;
mod optimize_page;
mod performance;
mod phases;
mod pipeline;
mod plot;
mod progress;
mod refusal;
mod replay;
mod report;
mod run;
mod sampled;
mod sampler;
mod saturation;
mod service;
mod stages;
mod taken;
mod tally;
mod telemetry;
mod top;
mod tune;
mod up;
mod watch;
mod webhooks;
mod worker_config;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use refusal::{Outcome, Refusal};
use std::io::IsTerminal;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error),
    };
    let ended = match cli.command {
        Command::Runner { synthetic, matting_model, exr, gpu } => {
            let options = stages::StageOptions { synthetic, matting_model, exr };
            let make = |stage| stages::stage_function(stage, &options);
            worker::runner::serve_with_probe(make, || pipeline::probe(gpu.as_deref()))
                .map_err(|error| Refusal::Io(format!("the worker is gone: {error}")))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "meshwright", &mut script);
            say::bytes(&script);
            Ok(())
        }
        command => {
            log_to_stderr(cli.log_json);
            open_files::allow_all();
            tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(|error| Refusal::Io(format!("start the runtime: {error}")))
                .and_then(|runtime| runtime.block_on(dispatch(command, cli.json)))
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            refusal.tell(cli.json);
            ExitCode::from(refusal.exit_code())
        }
    }
}

/// Help, the version, or what was typed wrong.
fn not_parsed(error: &clap::Error) -> ExitCode {
    let as_json = std::env::args_os().any(|argument| argument == "--json");
    if error.kind() == ErrorKind::DisplayVersion && as_json {
        say!("{}", serde_json::json!({"name": "meshwright", "version": env!("CARGO_PKG_VERSION")}));
        return ExitCode::SUCCESS;
    }
    if as_json && error.use_stderr() {
        let told = error.to_string();
        let sentence = told.trim_start_matches("error: ").lines().next().unwrap_or_default().to_owned();
        note!("{}", serde_json::json!({"error": sentence, "exit_code": error.exit_code()}));
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    error.exit()
}

async fn dispatch(command: Command, json: bool) -> Outcome<()> {
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    match command {
        Command::Demo(args) => demo::demo(args, json, shutdown).await,
        Command::Optimize(args) => optimize::optimize(args, json, shutdown).await,
        Command::Up(args) => stopped_is_fine(up::up(args, json, shutdown).await),
        Command::Load(args) => load::load(args, json, shutdown).await,
        Command::Run(args) => stopped_is_fine(run::run(args, json, shutdown).await),
        Command::Top(args) => tokio::select! {
            ended = top::top(args, json) => ended,
            () = shutdown.cancelled() => Ok(()),
        },
        command => tokio::select! {
            ended = ask(command, json) => ended,
            // Nothing here needs to be finished.
            () = shutdown.cancelled() => Err(Refusal::Stopped),
        },
    }
}

/// A service that is told to stop while it starts has done what it was told.
fn stopped_is_fine(ended: Outcome<()>) -> Outcome<()> {
    match ended {
        Err(Refusal::Stopped) => Ok(()),
        ended => ended,
    }
}

/// The commands that only ask somebody.
async fn ask(command: Command, json: bool) -> Outcome<()> {
    match command {
        Command::Submit(args) => client::submit(args, json).await,
        Command::Watch(args) => watch::watch(args, json).await,
        Command::Bottleneck(args) => performance::bottleneck(args, json).await,
        Command::Profile(args) => performance::profile(args, json).await,
        Command::Models(command) => models::models(command, json).await,
        Command::Tune(args) => tune::tune(args, json).await,
        Command::Replay(args) => replay::replay(&args, json),
        Command::Gpu(args) => gpu::gpu(args, json).await,
        Command::Explain(args) => gpu::explain(args, json).await,
        Command::Sweep(args) => client::sweep(args, json).await,
        Command::Cancel(args) => client::cancel(args, json).await,
        Command::DeadLetter(command) => client::dead_letter(command, json).await,
        Command::Doctor(args) => doctor::doctor(args, json).await,
        Command::Demo(_) | Command::Up(_) | Command::Run(_) => Ok(()),
        Command::Optimize(_) | Command::Top(_) | Command::Load(_) => Ok(()),
        Command::Completions { .. } | Command::Runner { .. } => Ok(()),
    }
}

/// SIGINT and SIGTERM drain; a second one ends at once, which is safe at any moment.
async fn cancel_on_signal(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    for times in 0.. {
        tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
        if times > 0 {
            std::process::exit(130);
        }
        shutdown.cancel();
    }
}

fn log_to_stderr(json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MESHWRIGHT_LOG").unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new(
            "warn,s3s=off,meshwright=info,worker=info,planner=info,embedded=info,otlp=info",
        )
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if json {
        builder.json().init();
    } else {
        builder.with_target(false).compact().init();
    }
}
