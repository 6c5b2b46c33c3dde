//! `profile --flame`: which functions compute, by sampling: those of a gateway's process, or those of stages,
//! run here on a picture again and again.

use crate::cli::ProfileArgs;
use crate::client::{job_id, print_answer};
use crate::config::environment;
use crate::demo::SAMPLES;
use crate::flame::Stacks;
use crate::folder;
use crate::http::{ANSWER_MAX, Client};
use crate::refusal::{Outcome, Refusal};
use crate::sampler::Sampling;
use crate::stages::{StageOptions, stage_function};
use crate::tune::made;
use crate::worker_config::WorkerConfig;
use domain::{Bytes, Recipe, Stage};
use reqwest::Method;
use serde_json::json;
use stage::{Context, Input, Silent, StageFunction};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Beyond the time of sampling, a gateway may take so long to find the names of functions.
const NAMING_MAX: Duration = Duration::from_secs(60);
/// Functions that are named beside the picture.
const BUSIEST: usize = 8;
/// Largest picture that is taken.
const PICTURE_BYTES_MAX: Bytes = Bytes::mib(64);

/// `profile --flame FILE`
pub(crate) async fn sampled(args: &ProfileArgs, file: &Path, json: bool) -> Outcome<()> {
    let (stacks, what) = match (&args.job, args.stage) {
        (None, None) => (of_gateway(args).await?, "the gateway's process".to_owned()),
        (job, stage) => {
            let (recipe, picture) = picture(args).await?;
            let stages = stage.map_or(Stage::ALL.to_vec(), |stage| vec![stage]);
            let names = stages.iter().map(|stage| stage.as_str()).collect::<Vec<_>>().join(", ");
            let of = job.as_ref().map_or_else(String::new, |job| format!(" of job {job}"));
            (of_stages(stages, recipe, picture, args.seconds).await?, format!("{names}{of}"))
        }
    };
    let title = format!("{what}: {} samples in {} s", stacks.samples(), args.seconds);
    let failed = |e: std::io::Error| Refusal::Io(format!("write {}: {e}", file.display()));
    std::fs::write(file, stacks.svg(&title)).map_err(failed)?;
    let busiest = stacks.busiest(BUSIEST);
    let rows = busiest.iter().map(|(name, percent)| json!({"function": name, "percent": percent}));
    let answer = json!({"file": file, "what": what, "seconds": args.seconds, "samples": stacks.samples(),
                        "busiest": rows.collect::<Vec<_>>()});
    print_answer(&answer, json, || {
        let rows = busiest.iter().map(|(name, percent)| format!("{percent:5.1} %  {name}\n"));
        format!("{title}\n{}flame graph: {}", rows.collect::<String>(), file.display())
    });
    Ok(())
}

async fn of_gateway(args: &ProfileArgs) -> Outcome<Stacks> {
    let client = Client::new(&args.server)?;
    let path = format!("/debug/pprof/profile?seconds={}", args.seconds);
    let wait = Duration::from_secs(args.seconds) + NAMING_MAX;
    let answer = client.send(client.request(Method::GET, &path).timeout(wait)).await?;
    let unread = |why: String| Refusal::Unavailable(format!("read the profile: {why}"));
    let gzip = answer.bytes().await.map_err(|error| unread(error.to_string()))?;
    Stacks::read(&gzip).map_err(unread)
}

/// The job's picture and recipe, or the named picture, or a sample, as the default recipe has it.
async fn picture(args: &ProfileArgs) -> Outcome<(Recipe, Vec<u8>)> {
    if let Some(job) = &args.job {
        let (job, client) = (job_id(job)?, Client::new(&args.server)?);
        let unread = |why: String| Refusal::Unavailable(format!("read job {job}: {why}"));
        let mut shown = client.json(Method::GET, &format!("/api/jobs/{job}"), ANSWER_MAX).await?;
        let recipe = serde_json::from_value(shown["recipe"].take()).map_err(|e| unread(e.to_string()))?;
        let upload = client.request(Method::GET, &format!("/api/jobs/{job}/upload")).timeout(ANSWER_MAX);
        let picture = client.send(upload).await?.bytes().await.map_err(|e| unread(e.to_string()))?;
        return Ok((recipe, picture.to_vec()));
    }
    let picture = match &args.image {
        None => SAMPLES[0].1.to_vec(),
        Some(file) => {
            let read = folder::read(file, PICTURE_BYTES_MAX).await;
            read.map_err(|why| why.of(&file.display().to_string()))?
        }
    };
    Ok((Recipe::default(), picture))
}

/// Runs the stages on a thread of their own, which nobody waits for once the program is to end.
async fn of_stages(stages: Vec<Stage>, recipe: Recipe, picture: Vec<u8>, seconds: u64) -> Outcome<Stacks> {
    let mut worker = WorkerConfig::default();
    worker.apply_environment(environment);
    let options = StageOptions { matting_model: worker.matting_model(), ..StageOptions::default() };
    let (tell, told) = oneshot::channel();
    let run = move || {
        // Whoever waited is gone with the program.
        let _nobody = tell.send(run_stages(&stages, &recipe, &picture, (&options, seconds)));
    };
    let thread = std::thread::Builder::new().name("stages".to_owned()).spawn(run);
    thread.map_err(|e| Refusal::Io(format!("start a thread: {e}")))?;
    told.await.map_err(|_| Refusal::Input("the stage panicked on this picture".to_owned()))?
}

fn run_stages(
    stages: &[Stage],
    recipe: &Recipe,
    picture: &[u8],
    (options, seconds): (&StageOptions, u64),
) -> Outcome<Stacks> {
    let ready = |stage: Stage| {
        let refused = || Refusal::Input(format!("the picture does not reach {stage}: use another one"));
        let input = made(stage, recipe, picture, options).ok_or_else(refused)?;
        Ok((stage_function(stage, options), input))
    };
    let mut ready = stages.iter().map(|stage| ready(*stage)).collect::<Outcome<Vec<_>>>()?;
    // The first run of a function reads its model, and is not what takes the time of many.
    run_once(&mut ready)?;
    let sampling = Sampling::start().map_err(|why| Refusal::Io(why.to_string()))?;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(seconds) {
        run_once(&mut ready)?;
    }
    let profile = sampling.end().map_err(|why| Refusal::Io(why.to_string()))?;
    Ok(Stacks::of(&profile))
}

fn run_once(ready: &mut [(Box<dyn StageFunction>, Input)]) -> Outcome<()> {
    for (function, input) in ready {
        let ran = function.run(input, &Context::new(&Silent, 0));
        ran.map_err(|error| Refusal::Input(format!("the picture is rejected: {error}")))?;
    }
    Ok(())
}
