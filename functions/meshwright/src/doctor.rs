//! `doctor`: checks every dependency of the distributed form, one line each, and says what to do. It changes
//! nothing but what the store's probe writes and deletes.

use crate::cli::ConfigArgs;
use crate::config::Config;
use crate::distributed;
use crate::refusal::{Outcome, Refusal};
use ports::Device;
use serde_json::json;
use worker::{Lane, RunnerCommand};

/// One finding.
struct Finding {
    what: &'static str,
    result: Result<String, String>,
}

pub(crate) async fn doctor(args: ConfigArgs, json: bool) -> Outcome<()> {
    let mut findings = vec![memory().await, runner().await];
    match Config::load(args.config.as_deref()) {
        Err(error) => findings.push(Finding { what: "configuration", result: Err(error.to_string()) }),
        Ok(config) => {
            let buckets = config.site.buckets().join(", ");
            findings.push(Finding { what: "configuration", result: Ok(format!("buckets {buckets}")) });
            findings.push(store(&config).await);
            findings.push(broker(&config).await);
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
