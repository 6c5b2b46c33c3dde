//! `doctor`: checks everything that is needed, one line each, and says what to do. With a configuration of
//! the distributed form it asks its servers, without one it looks at this machine for `up`. It changes
//! nothing but what the store's probe writes and deletes.

use crate::check_embedded;
use crate::cli::ConfigArgs;
use crate::config::{Config, environment};
use crate::distributed;
use crate::refusal::{Outcome, Refusal};
use crate::worker_config::WorkerConfig;
use ports::Device;
use serde_json::json;
use std::path::Path;
use worker::{Lane, RunnerCommand};

/// One finding: what is well, or what to do.
pub(crate) struct Finding {
    pub(crate) what: &'static str,
    pub(crate) result: Outcome<String>,
}

pub(crate) async fn doctor(args: ConfigArgs, json: bool) -> Outcome<()> {
    let distributed = is_configured(&args);
    let config = if distributed { Config::load(args.config.as_deref()).map(Some) } else { Ok(None) };
    let mut unread = WorkerConfig::default();
    unread.apply_environment(environment);
    let told = config.as_ref().ok().and_then(Option::as_ref).map_or(&unread, |config| &config.worker);
    let (library, matting) = (told.nvml_library.clone(), matting(&told.matting_place()));
    let mut findings = vec![memory().await];
    findings.extend(gpus(library.as_deref()));
    findings.extend([runner().await, matting]);
    match config {
        Err(error) => findings.push(Finding { what: "configuration", result: Err(error) }),
        Ok(None) => findings.extend(check_embedded::findings().await),
        Ok(Some(config)) => {
            let buckets = config.site.buckets().join(", ");
            findings.push(Finding { what: "configuration", result: Ok(format!("buckets {buckets}")) });
            // A server that is away answers late: all are asked at once.
            let asked = tokio::join!(store(&config), events(&config), broker(&config));
            findings.extend(<[Finding; 3]>::from(asked));
        }
    }
    for finding in &findings {
        print(finding, json);
    }
    verdict(&findings)
}

/// Whether anything says that the distributed form is meant.
fn is_configured(args: &ConfigArgs) -> bool {
    let variables = ["MESHWRIGHT_NATS_URL", "MESHWRIGHT_S3_ENDPOINT"];
    args.config.is_some()
        || Path::new("meshwright.toml").exists()
        || variables.into_iter().any(|name| environment(name).is_some())
}

fn print(finding: &Finding, as_json: bool) {
    let Finding { what, result } = finding;
    let (mark, text) = match result {
        Ok(text) => ("ok  ", text.clone()),
        Err(error) => ("FAIL", error.to_string()),
    };
    if as_json {
        say!("{}", json!({"check": what, "ok": result.is_ok(), "text": text}));
    } else {
        say!("{mark}  {what}: {text}");
    }
}

/// The exit code is that of what must be mended first: the configuration, this machine, then servers.
fn verdict(findings: &[Finding]) -> Outcome<()> {
    let bad: Vec<&Refusal> = findings.iter().filter_map(|finding| finding.result.as_ref().err()).collect();
    let text = match bad.len() {
        1 => "one check failed; see above".to_owned(),
        many => format!("{many} checks failed; see above"),
    };
    match bad.iter().map(|refusal| refusal.exit_code()).max() {
        None => Ok(()),
        Some(78) => Err(Refusal::Config(text)),
        Some(74) => Err(Refusal::Io(text)),
        Some(_) => Err(Refusal::Unavailable(text)),
    }
}

async fn memory() -> Finding {
    let host = gpu::HostMemory::new(None);
    let failed = |error: ports::PortError| Refusal::Io(error.to_string());
    let result = host.reading(&[]).await.map_err(failed).map(|reading| {
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
        Err(error) => vec![finding(Err(Refusal::Io(error.to_string())))],
        Ok((driver, entries)) if entries.is_empty() => none(&format!("driver {driver} sees no GPU")),
        Ok((driver, entries)) => entries.into_iter().map(|entry| finding(gpu_line(entry, &driver))).collect(),
    }
}

fn gpu_line(entry: Result<gpu::GpuEntry, gpu::GpuError>, driver: &str) -> Outcome<String> {
    let failed = |error: gpu::GpuError| Refusal::Io(error.to_string());
    let entry = entry.map_err(failed)?;
    let memory = entry.memory.map_err(failed)?;
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

/// Whether the matting network is there and whole; a machine without it guesses before busy backgrounds.
fn matting(place: &Path) -> Finding {
    let shown = place.display();
    let result = match std::fs::read(place) {
        Ok(bytes) => nn::Model::load(&nn::U2NETP, &bytes)
            .map(|_| format!("{shown}: pictures need no plain background"))
            .map_err(|error| Refusal::Config(format!("{shown}: {error}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(format!(
            "not installed, so outlines before busy backgrounds are guessed from colours; put u2netp.onnx at \
             {shown}, or name it in MESHWRIGHT_MATTING_MODEL"
        )),
        Err(error) => Err(Refusal::Io(format!("read {shown}: {error}"))),
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
    Finding { what: "runner", result: result.await.map_err(Refusal::Io) }
}

async fn store(config: &Config) -> Finding {
    let result = async {
        let store = distributed::connect_store(&config.s3);
        distributed::check_buckets(&*store, config).await?;
        Ok("buckets are there, conditional writes are atomic".to_owned())
    };
    Finding { what: "object store", result: result.await }
}

/// Whether each input bucket tells somebody of its uploads. A store that has other ways, or does not say, is
/// taken at its word.
async fn events(config: &Config) -> Finding {
    let asked = config.site.inputs.iter().map(|input| async {
        let bucket = input.bucket.as_str();
        let tells = s3::tells_of_uploads(distributed::s3_config(&config.s3), bucket).await;
        (bucket, tells)
    });
    let (mut silent, mut unsaid) = (Vec::new(), Vec::new());
    for (bucket, tells) in futures::future::join_all(asked).await {
        match tells {
            Ok(true) => {}
            Ok(false) => silent.push(bucket),
            Err(_) => unsaid.push(bucket),
        }
    }
    let result = match (silent.as_slice(), unsaid.as_slice()) {
        ([], []) => Ok("every input bucket tells somebody of its uploads".to_owned()),
        ([], unsaid) => Ok(format!("the store does not say whom {} tells", unsaid.join(", "))),
        (silent, _) => Err(Refusal::Config(format!(
            "{} tells nobody of its uploads, so only sweeps find them: add a notification to subject \
             s3ev.{} (for MinIO: `mc event add ALIAS/BUCKET arn:minio:sqs::NAME:nats --event put`)",
            silent.join(", "),
            config.site.store
        ))),
    };
    Finding { what: "bucket events", result }
}

async fn broker(config: &Config) -> Finding {
    let result = async {
        let broker = distributed::reach_broker(config).await?;
        let missing = broker.missing().await.map_err(distributed::undeclared)?;
        let streams = match missing.as_slice() {
            [] => "streams and boards are as they must be".to_owned(),
            missing => format!("functions make {} when they start", missing.join(", ")),
        };
        Ok(format!("reachable, new enough, and it lets us in; {streams}"))
    };
    Finding { what: "NATS", result: result.await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_names_what_must_be_mended_first() {
        let check = |results: Vec<Outcome<String>>, expect: Option<u8>| {
            let findings: Vec<Finding> =
                results.into_iter().map(|result| Finding { what: "x", result }).collect();
            assert_eq!(verdict(&findings).err().map(|refusal| refusal.exit_code()), expect);
        };
        let fine = || Ok(String::new());
        let away = || Err(Refusal::Unavailable("away".to_owned()));
        let wrong = || Err(Refusal::Config("wrong".to_owned()));
        check(vec![fine(), fine()], None);
        check(vec![fine(), away()], Some(69));
        check(vec![away(), wrong(), away()], Some(78));
    }
}
