//! `doctor`: checks every dependency of the distributed form, one line each, and says what to do. It changes
//! nothing but what the store's probe writes and deletes.

use crate::cli::ConfigArgs;
use crate::config::{Config, WorkerConfig};
use crate::distributed;
use crate::refusal::{Outcome, Refusal};
use ports::Device;
use serde_json::json;
use std::path::Path;
use worker::{Lane, RunnerCommand};

/// One finding.
struct Finding {
    what: &'static str,
    result: Result<String, String>,
}

pub(crate) async fn doctor(args: ConfigArgs, json: bool) -> Outcome<()> {
    let config = Config::load(args.config.as_deref());
    let unread = WorkerConfig::default();
    let told = config.as_ref().map_or(&unread, |config| &config.worker);
    let (library, matting) = (told.nvml_library.clone(), matting(&told.matting_place()));
    let mut findings = vec![memory().await];
    findings.extend(gpus(library.as_deref()));
    findings.extend([runner().await, matting]);
    match config {
        Err(error) => findings.push(Finding { what: "configuration", result: Err(error.to_string()) }),
        Ok(config) => {
            let buckets = config.site.buckets().join(", ");
            findings.push(Finding { what: "configuration", result: Ok(format!("buckets {buckets}")) });
            // A server that is away answers late: both are asked at once.
            findings.extend(<[Finding; 2]>::from(tokio::join!(store(&config), broker(&config))));
        }
    }
    let bad = findings.iter().filter(|finding| finding.result.is_err()).count();
    for Finding { what, result } in findings {
        let (mark, text) = match &result {
            Ok(text) => ("ok  ", text),
            Err(text) => ("FAIL", text),
        };
        if json {
            println!("{}", json!({"check": what, "ok": result.is_ok(), "text": text}));
        } else {
            println!("{mark}  {what}: {text}");
        }
    }
    if bad == 0 { Ok(()) } else { Err(Refusal::Config(format!("{bad} checks failed; see above"))) }
}

async fn memory() -> Finding {
    let host = gpu::HostMemory::new(None);
    let result = host.reading(&[]).await.map_err(|error| error.to_string()).map(|reading| {
        let give = reading.to_give(&host.class(), domain::Bytes::ZERO, domain::Bytes::ZERO);
        format!("{} in all, {} in use, {give} to plan with", reading.total_bytes, reading.used_bytes)
    });
    Finding { what: "memory", result }
}

/// Each GPU with what NVML and CUDA say of its memory. A machine without one is fine.
fn gpus(library: Option<&Path>) -> Vec<Finding> {
    let finding = |result| Finding { what: "GPU", result };
    let listed = gpu::Gpus::open(library).and_then(|gpus| Ok((gpus.driver_version()?, gpus.list()?)));
    let none = |why: &str| vec![finding(Ok(format!("none, so host memory is used ({why})")))];
    match listed {
        Err(gpu::GpuError::NoDriver(why)) => none(&why),
        Err(error) => vec![finding(Err(error.to_string()))],
        Ok((driver, entries)) if entries.is_empty() => none(&format!("driver {driver} sees no GPU")),
        Ok((driver, entries)) => entries.into_iter().map(|entry| finding(gpu_line(entry, &driver))).collect(),
    }
}

fn gpu_line(entry: Result<gpu::GpuEntry, gpu::GpuError>, driver: &str) -> Result<String, String> {
    let entry = entry.map_err(|error| error.to_string())?;
    let memory = entry.memory.map_err(|error| error.to_string())?;
    let gpu::GpuMemory { total, used, free, reserved } = memory;
    let gpu::GpuEntry { index, uuid, name, .. } = entry;
    let of = entry.slice_of.map(|gpu| format!(", a slice of {gpu}")).unwrap_or_default();
    let counted = format!("{total} in all, {used} in use, {reserved} kept by driver {driver}, {free} free");
    if entry.sliced {
        return Ok(format!("{index} {uuid} {name}: cut into the slices below; {counted}"));
    }
    let cuda = match gpu::second_opinion(&uuid) {
        Ok(cuda) => format!("CUDA {}.{} finds {} free", cuda.version.0, cuda.version.1, cuda.free),
        Err(error) => format!("CUDA cannot be asked: {error}"),
    };
    Ok(format!("{index} {uuid} {name}{of}: {counted}; {cuda}"))
}

/// Whether the matting network is there and whole; a machine without it cuts out before plain backgrounds.
fn matting(place: &Path) -> Finding {
    let shown = place.display();
    let result = match std::fs::read(place) {
        Ok(bytes) => nn::Model::load(&nn::U2NETP, &bytes)
            .map(|_| format!("{shown}: pictures need no plain background"))
            .map_err(|error| format!("{shown}: {error}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(format!(
            "not installed, so pictures need transparency or a plain background; put u2netp.onnx at {shown}"
        )),
        Err(error) => Err(format!("read {shown}: {error}")),
    };
    Finding { what: "matting", result }
}

/// Starts a runner and ends it again.
async fn runner() -> Finding {
    let result = async {
        let program = std::env::current_exe().map_err(|error| format!("find this binary: {error}"))?;
        let mut lane = Lane::new(RunnerCommand { program, args: vec!["runner".into()] });
        let since = std::time::Instant::now();
        lane.warm_up().await.map_err(|error| format!("start a runner: {error}"))?;
        let took = since.elapsed();
        lane.rest().await;
        Ok(format!("starts in {:.0} ms", took.as_secs_f64() * 1000.0))
    };
    Finding { what: "runner", result: result.await }
}

async fn store(config: &Config) -> Finding {
    let result = async {
        let store = distributed::connect_store(&config.s3)?;
        distributed::check_buckets(&*store, config).await?;
        Ok("buckets are there, conditional writes are atomic".to_owned())
    };
    Finding { what: "object store", result: result.await.map_err(|error: Refusal| error.to_string()) }
}

async fn broker(config: &Config) -> Finding {
    let result = distributed::connect(config).await.map_err(|error| error.to_string());
    Finding { what: "NATS", result: result.map(|_| "reachable, streams and boards as declared".to_owned()) }
}
