//! The command line: what a person can type. It decides nothing.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What the embedded form keeps unless told otherwise.
pub(crate) const KEEP: &str = "50GB";
/// And for how long.
pub(crate) const KEEP_DAYS: u32 = 30;

/// Turns every image that is put into a bucket into a textured, printable, game-ready 3D model.
#[derive(Debug, Parser)]
#[command(name = "meshwright", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Print results as JSON, one object per line, instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log as JSON.
    #[arg(long, global = true, env = "MESHWRIGHT_LOG_JSON")]
    pub(crate) log_json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything in this process, turn six sample pictures into models, show where they are.
    Demo(DemoArgs),
    /// Start everything in this process and keep it running: an S3 endpoint, the pipeline, a web page.
    Up(UpArgs),
    /// Run functions of the distributed form, on a NATS server and an S3 store.
    Run(RunArgs),
    /// Send pictures to a running Meshwright.
    Submit(SubmitArgs),
    /// Follow jobs as they go.
    Watch(WatchArgs),
    /// Send jobs at a rate, whatever becomes of them, and say how long they took and what was too much.
    Load(LoadArgs),
    /// Which stage limits the throughput, and what more of what would bring.
    Bottleneck(BottleneckArgs),
    /// Where the time of a job, or of all jobs of late, went.
    Profile(ProfileArgs),
    /// What recorded jobs would have taken with other workers, lanes, memory or batches.
    Replay(ReplayArgs),
    /// Measure a stage on this machine over batch sizes, lanes and resolutions, and say what is best.
    Tune(TuneArgs),
    /// Measure the whole pipeline on this machine, try what makes it faster, keep what leaves the models as
    /// good.
    Optimize(OptimizeArgs),
    /// Devices, queue and batches: live on a terminal, once elsewhere.
    Top(ServerArgs),
    /// What each device's memory allows: its trend, the batch that would be cut now, what could be done.
    Gpu(GpuArgs),
    /// Why a job waits, and why its batches had their sizes.
    Explain(JobArgs),
    /// Look for uploads that no event announced and jobs that nothing would finish.
    Sweep(ServerArgs),
    /// End a job.
    Cancel(JobArgs),
    /// Tasks that were set aside for a person.
    #[command(subcommand)]
    DeadLetter(DeadLetterCommand),
    /// The networks that stages compute with: which there are, put in place, checked.
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Check everything that is needed and say what to do: the distributed form where one is configured,
    /// else this machine for `up`.
    Doctor(ConfigArgs),
    /// Print a shell's completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Compute batches from stdin; started by workers.
    #[command(hide = true)]
    Runner {
        /// Carry the synthetic loads that recipes ask for.
        #[arg(long)]
        synthetic: bool,
        /// Cut out with this network where the background is not plain.
        #[arg(long, value_name = "FILE")]
        matting_model: Option<PathBuf>,
        /// Take OpenEXR.
        #[arg(long)]
        exr: bool,
        /// Try the GPU of this UUID in a self-test.
        #[arg(long, value_name = "UUID")]
        gpu: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Your own pictures instead of the samples.
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,
    /// Where state and models go [default: meshwright/demo in your data folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Keep the page running after the models are done, until ctrl-C.
    #[arg(long)]
    pub(crate) stay: bool,
    /// Address of the page.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub(crate) listen: std::net::SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Watch this folder: every picture in it becomes an upload.
    #[arg(long, value_name = "DIR", requires = "out")]
    pub(crate) images: Option<PathBuf>,
    /// Put finished models into this folder; it must not lie in the watched one.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Where uploads, state and models are kept [default: meshwright/up in your data folder].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address of the S3 endpoint.
    #[arg(long, default_value = "127.0.0.1:9100", value_name = "ADDRESS")]
    pub(crate) s3: std::net::SocketAddr,
    /// Address of the page and the HTTP API.
    #[arg(long, default_value = "127.0.0.1:8787", value_name = "ADDRESS")]
    pub(crate) listen: std::net::SocketAddr,
    /// Most disk space that uploads and models may take; the oldest finished jobs go first, with their
    /// uploads.
    #[arg(long, default_value = KEEP, value_name = "SIZE")]
    pub(crate) keep: String,
    /// Finished jobs older than this go, with their uploads.
    #[arg(long, default_value_t = KEEP_DAYS, value_name = "DAYS")]
    pub(crate) keep_days: u32,
    /// Tell this address how each job ended, signed as Standard Webhooks says; may be given several times.
    #[arg(long, value_name = "URL")]
    pub(crate) webhook: Vec<String>,
}

/// A function of the distributed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Function {
    /// Events to jobs; sweep and collector.
    Ingest,
    /// Cuts batches.
    Planner,
    /// HTTP, progress, page, metrics.
    Gateway,
    /// Stage 1.
    Preprocess,
    /// Stage 2.
    Shape,
    /// Stage 3.
    Texture,
    /// Stage 4.
    Export,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Which functions; stages named together share one worker and its device.
    #[arg(required = true)]
    pub(crate) functions: Vec<Function>,
    /// The device of the stages: `host`, or a GPU's UUID or index; `doctor` lists them.
    #[arg(long, default_value = "host")]
    pub(crate) device: String,
    /// Address of the gateway; without one in this process, of `/metrics`, `/livez` and `/readyz`.
    #[arg(long, value_name = "ADDRESS", env = "MESHWRIGHT_LISTEN")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file [default: meshwright.toml if it is there].
    #[arg(long, value_name = "FILE", env = "MESHWRIGHT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// Address of the gateway.
    #[arg(long, default_value = "http://127.0.0.1:8787", value_name = "URL", env = "MESHWRIGHT_URL")]
    pub(crate) server: String,
    /// A file with the gateway's bearer token; else MESHWRIGHT_GATEWAY_TOKEN is used.
    #[arg(long, value_name = "FILE", env = "MESHWRIGHT_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// The pictures.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Follow them until all are finished.
    #[arg(long)]
    pub(crate) watch: bool,
    /// A part of the recipe, as `quality=fine`; may be repeated.
    #[arg(long = "option", short = 'o', value_name = "NAME=VALUE")]
    pub(crate) options: Vec<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Which jobs; all when none is named.
    #[arg(value_name = "JOB")]
    pub(crate) jobs: Vec<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Jobs that begin, evenly, as 5/s, 30/m or 600/h.
    #[arg(long, value_name = "RATE", default_value = "1/s", conflicts_with = "ramp")]
    pub(crate) rate: crate::arrivals::Rate,
    /// From one rate to a higher one, as 1..20/s: finds where it becomes too much.
    #[arg(long, value_name = "RATES")]
    pub(crate) ramp: Option<crate::arrivals::Ramp>,
    /// So many jobs, instead of so long.
    #[arg(long, value_name = "JOBS", conflicts_with = "during",
          value_parser = clap::value_parser!(u64).range(1..=crate::arrivals::JOBS_MAX))]
    pub(crate) jobs: Option<u64>,
    /// For how long jobs begin, as 90s or 10m.
    #[arg(long = "for", value_name = "TIME", default_value = "60s",
          value_parser = crate::performance::window)]
    pub(crate) during: u64,
    /// How long to wait for the jobs after the last one began.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = crate::performance::window)]
    pub(crate) patience: u64,
    /// Pictures that are sent in turn, instead of the samples.
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,
    /// A part of the recipe, as `quality=fine`; may be repeated.
    #[arg(long = "option", short = 'o', value_name = "NAME=VALUE")]
    pub(crate) options: Vec<String>,
    /// Where to draw what was asked for, what was done, and how long it took.
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BottleneckArgs {
    /// How far back to look, as 30m or 1h; at most 1d.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = crate::performance::window)]
    pub(crate) window: u64,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// The job; all of the window when none is named.
    #[arg(value_name = "JOB", conflicts_with = "window")]
    pub(crate) job: Option<String>,
    /// How far back to look, as 30m or 1h; at most 1d.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = crate::performance::window)]
    pub(crate) window: u64,
    /// Print each task's timing as a line of JSON, to be kept for `replay`.
    #[arg(long, conflicts_with = "job")]
    pub(crate) timings: bool,
    /// Draw which functions compute, by sampling: those of the gateway's process; with a job or a stage
    /// those of its stages, run here on its picture.
    #[arg(long, value_name = "SVG", conflicts_with_all = ["window", "timings"])]
    pub(crate) flame: Option<PathBuf>,
    /// Sample this stage, run here; all of them when only a job is named.
    #[arg(long, requires = "flame")]
    pub(crate) stage: Option<domain::Stage>,
    /// The stage's picture, instead of a sample.
    #[arg(long, value_name = "FILE", requires = "stage", conflicts_with = "job")]
    pub(crate) image: Option<PathBuf>,
    /// For how long to sample.
    #[arg(long, value_name = "SECONDS", requires = "flame", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Timings as `profile --timings` prints them; `-` reads from standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// A worker, as `all:2` (stages:lanes), `shape+texture:1@24GiB` or `export:1x3` (three of them); may be
    /// repeated. As recorded where none is named.
    #[arg(long = "worker", value_name = "WORKER")]
    pub(crate) workers: Vec<String>,
    /// The largest batch.
    #[arg(long, value_name = "ITEMS", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) batch_max: u16,
}

#[derive(Debug, Args)]
pub(crate) struct TuneArgs {
    /// The stage.
    pub(crate) stage: domain::Stage,
    /// Pictures to measure with, instead of the samples.
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,
    /// Batch sizes to try, from small to large.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16", value_name = "SIZES",
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) sizes: Vec<u32>,
    /// Most lanes to try; as many as cores unless it is said.
    #[arg(long, value_name = "LANES", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) lanes_max: Option<u32>,
    /// Sides of textures to try, at texture and export.
    #[arg(long, value_delimiter = ',', default_value = "512,1024,2048", value_name = "PIXELS",
          value_parser = clap::value_parser!(u32).range(256..=4096))]
    pub(crate) texture_px: Vec<u32>,
    /// Measure every point instead of a quarter of them.
    #[arg(long)]
    pub(crate) all: bool,
    /// Where to write what is best, as a part of `meshwright.toml`.
    #[arg(long, value_name = "FILE")]
    pub(crate) preset: Option<PathBuf>,
    /// Where to draw the curve.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct OptimizeArgs {
    /// Pictures to calibrate with, instead of the samples; each must become a model.
    #[arg(long, value_name = "DIR")]
    pub(crate) images: Option<PathBuf>,
    /// Where preset.toml, report.html and report.json go.
    #[arg(long, value_name = "DIR", default_value = "optimised")]
    pub(crate) out: PathBuf,
    /// A part of the recipe to begin with, as `quality=fine`; may be repeated.
    #[arg(long = "option", short = 'o', value_name = "NAME=VALUE")]
    pub(crate) options: Vec<String>,
}

impl TuneArgs {
    /// One lane, two, four and so on, up to the most.
    pub(crate) fn lanes(&self) -> Vec<u32> {
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let most = self.lanes_max.unwrap_or_else(cores).max(1);
        let doubled = std::iter::successors(Some(1u32), |lanes| lanes.checked_mul(2));
        doubled.take_while(|lanes| *lanes < most).chain([most]).collect()
    }
}

#[derive(Debug, Args)]
pub(crate) struct GpuArgs {
    /// Side in pixels of pictures for which to recommend a batch.
    #[arg(long, value_name = "PIXELS")]
    pub(crate) image_size: Option<u32>,
    /// Their steps of inference.
    #[arg(long, value_name = "STEPS", requires = "image_size", default_value_t = 50)]
    pub(crate) inference_steps: u32,
    /// How many of them wait; those that do unless it is said.
    #[arg(long, value_name = "PICTURES", requires = "image_size")]
    pub(crate) queue_size: Option<u32>,
    /// This device alone.
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// This stage alone; a batch is recommended for shape unless it is said.
    #[arg(long)]
    pub(crate) stage: Option<String>,
    /// End idle runners, so that they give back their models and what they cached.
    #[arg(long, conflicts_with_all = ["image_size", "stage", "watch"])]
    pub(crate) optimize_cache: bool,
    /// Again every two seconds, until ctrl-C.
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// The job.
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// All that there are, with licence and source.
    List,
    /// Put one in place, once its hash and form are checked and its licence is accepted.
    Install(InstallArgs),
    /// Load each as a runner would.
    Verify,
}

#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// The model.
    pub(crate) name: String,
    /// Its file, which is copied.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub(crate) from: Option<PathBuf>,
    /// Where it is fetched from.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The licence is accepted.
    #[arg(long)]
    pub(crate) accept_licence: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetterCommand {
    /// All of them.
    List(ServerArgs),
    /// One of them, whole.
    Show(JobArgs),
    /// Try again: the job's next life begins.
    Redrive(JobArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
