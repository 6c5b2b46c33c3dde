//! Uploads become models, through real parts: each function its own process, or two workers for all stages.

use anyhow::Result;
use domain::{Ending, Life, TaskEnd, Timing};
use e2e::{
    Cluster, EACH_ITS_OWN, Expect, Setup, Wanted, broken_pictures, check, outcomes, picture, unusual_pictures,
};
use futures::StreamExt;
use harness::{output, tool};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(120);

/// Keys that break what takes a key for a path, a subject, a URL or a form.
fn odd_keys() -> Vec<String> {
    let plain =
        ["plain.png", "chairs/red chair.png", "stühle/größe ü.png", "a+b.png", "100%25.png", "50%.png"];
    let dots = ["a..b/c..d.png", ".hidden", "no-extension", "d ir/a b+ü.png", "'quotes'.png", "$(x)`y`;.png"];
    let long = format!("{}long.png", "long-segment-of-a-key/".repeat(45));
    assert!((990..=1010).contains(&long.len()), "{}", long.len());
    plain.into_iter().chain(dots).map(str::to_owned).chain([long]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_uploads_by_aws_and_mc_with_odd_keys_become_models_and_broken_ones_rejections() {
    let setup = Setup { processes: EACH_ITS_OWN.into(), lanes: 1, ..Setup::default() };
    let cluster = Cluster::start(setup).await.expect("a cluster");
    let told = hear_timings(&cluster).await.expect("a subscription");
    let mut wanted = Wanted::new();
    let odd = odd_keys();
    let numbered = (0..40 - odd.len()).map(|n| format!("batch/{n}.png"));
    for (n, key) in odd.iter().cloned().chain(numbered).enumerate() {
        let content = picture(n as u32);
        let by_aws = n % 2 == 0;
        let sent =
            if by_aws { cluster.aws_cp(&content, &key).await } else { cluster.mc_cp(&content, &key).await };
        sent.unwrap_or_else(|error| panic!("upload {key:?}: {error:#}"));
        wanted.insert(cluster.job(&key).await.expect("an upload"), Expect::Done);
    }
    let mut rejected = Vec::new();
    for (name, content, words) in broken_pictures() {
        let key = format!("broken/{name}");
        cluster.put(content, &key).await.expect("an upload");
        let job = cluster.job(&key).await.expect("an upload");
        wanted.insert(job, Expect::Rejected);
        rejected.push((name, job, words));
    }
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
    for key in &odd {
        check_published(&cluster, key).await.unwrap_or_else(|error| panic!("{key:?}: {error:#}"));
    }
    for (name, job, words) in rejected {
        let outcome = cluster.ledger.outcome(job, Life(0)).await.expect("an answer").expect("an outcome");
        let Ending::Rejected { reason } = outcome.ending else { panic!("{name}: {outcome:?}") };
        assert!(reason.contains(words), "{name}: {reason:?} does not say {words:?}");
    }
    check_accounted(&told, 40).await.expect("the time of every task");
    // A task of one stage never ran where another stage is at home.
    let told = told.lock().expect("a plain list");
    let ran: BTreeSet<_> = told.iter().map(|timing| (timing.stage, timing.worker.clone())).collect();
    let workers: BTreeSet<_> = ran.iter().map(|(_, worker)| worker).collect();
    assert_eq!((ran.len(), workers.len()), (4, 4), "{ran:?}");
}

type Timings = Arc<Mutex<Vec<Timing>>>;

/// Collects what workers say of their time from now on.
async fn hear_timings(cluster: &Cluster) -> Result<Timings> {
    let told = Timings::default();
    let (mut said, heard) = (cluster.ports.wire.subscribe("timing.*").await?, told.clone());
    tokio::spawn(async move {
        while let Some(message) = said.next().await {
            let timing = serde_json::from_slice(&message.payload).expect("a worker's words");
            heard.lock().expect("a plain list").push(timing);
        }
    });
    Ok(told)
}

/// Of the time of all committed tasks no phase accounts for 1 % at most.
async fn check_accounted(told: &Timings, jobs: usize) -> Result<()> {
    let committed = harness::until("a timing of every task", WITHIN, async || {
        let told = told.lock().expect("a plain list");
        let committed: Vec<Timing> =
            told.iter().filter(|timing| timing.end == TaskEnd::Committed).cloned().collect();
        Ok((committed.len() >= jobs * domain::Stage::ALL.len()).then_some(committed))
    });
    let committed = committed.await?;
    // Of a single one it may be more: whoever reads a clock may lose the processor in between.
    let sum = |of: fn(&Timing) -> u64| committed.iter().map(of).sum::<u64>();
    let (unaccounted, wall) = (sum(|timing| timing.unaccounted_us), sum(|timing| timing.wall_us));
    println!("{unaccounted} of {wall} us are in no phase");
    anyhow::ensure!(unaccounted * 100 <= wall, "{unaccounted} of {wall} us are in no phase");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_pictures_become_models_too() {
    let cluster = Cluster::start(Setup::default()).await.expect("a cluster");
    let mut wanted = Wanted::new();
    for (key, content) in unusual_pictures() {
        cluster.put(content, key).await.expect("an upload");
        wanted.insert(cluster.job(key).await.expect("an upload"), Expect::Done);
    }
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
    for (key, _) in unusual_pictures() {
        check_published(&cluster, key).await.unwrap_or_else(|error| panic!("{key}: {error:#}"));
    }
}

/// Sweeps find every upload sooner or later; here none comes before events have done all the work.
#[tokio::test(flavor = "multi_thread")]
async fn events_alone_bring_uploads_to_their_models() {
    let setup = Setup { times_divided_by: 1, ..Setup::default() };
    let cluster = Cluster::start(setup).await.expect("a cluster");
    let mut wanted = Wanted::new();
    for n in 0..3 {
        let key = format!("told/{n}.png");
        cluster.put(picture(n), &key).await.expect("an upload");
        wanted.insert(cluster.job(&key).await.expect("an upload"), Expect::Done);
    }
    outcomes(&cluster, &wanted, WITHIN).await.expect("outcomes");
    let swept = || cluster.processes["ingest"].said_since_start()[1].contains("a sweep found work");
    assert!(!swept(), "it was a sweep that brought them");
    // A sweep that does find work says so: the look above was one at the right words.
    cluster.stack.minio.remove_events("uploads").await.expect("an answer");
    cluster.put(picture(9), "silent.png").await.expect("an upload");
    wanted.insert(cluster.job("silent.png").await.expect("an upload"), Expect::Done);
    cluster.sweep(false).await.expect("an answer");
    assert!(swept(), "nothing tells that a sweep found work");
    check(&cluster, &wanted, WITHIN).await.expect("the oracle");
}

/// The friendly copies are there and other people's tools like them.
async fn check_published(cluster: &Cluster, key: &str) -> Result<()> {
    let prefix = format!("{key}/");
    let listed = ports::list_all(&*cluster.ports.store, &cluster.site.models, &prefix).await?;
    let names: Vec<&str> = listed.iter().filter_map(|object| object.key.rsplit('/').next()).collect();
    if names.len() < 3 {
        // A friendly key that would be too long is not written, and the outcome says so.
        let outcome = cluster.ledger.outcome(cluster.job(key).await?, Life(0)).await?;
        let ending = outcome.map(|outcome| outcome.ending);
        let said = matches!(ending, Some(Ending::Done { unpublished: Some(_), .. }));
        anyhow::ensure!(said && key.len() > 990, "published only {names:?}: {ending:?}");
    }
    for object in &listed {
        let options = ports::GetOptions::default();
        let got = cluster.ports.store.get(&cluster.site.models, &object.key, &options).await?;
        let ports::Got::Found(found) = got else { anyhow::bail!("{} is gone", object.key) };
        let path = cluster.scratch.path().join(uuid::Uuid::new_v4().simple().to_string());
        if object.key.ends_with(".glb") {
            let path = path.with_extension("glb");
            std::fs::write(&path, &found.body)?;
            let mut validator = tokio::process::Command::new(tool("gltf-validator")?);
            validator.arg(&path);
            // It fails on errors and on warnings.
            output(validator, Duration::from_secs(60)).await?;
        } else if object.key.ends_with(".stl") {
            let path = path.with_extension("stl");
            std::fs::write(&path, &found.body)?;
            let mut python = tokio::process::Command::new(tool("mesh-python")?);
            let script = "import sys, trimesh; m = trimesh.load(sys.argv[1]); \
                          print(m.is_watertight and m.is_winding_consistent and m.volume > 0)";
            python.args(["-c", script]).arg(&path);
            let said = output(python, Duration::from_secs(60)).await?;
            anyhow::ensure!(said.trim() == "True", "trimesh does not find {} watertight", object.key);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipe_in_the_metadata_is_followed_and_a_senseless_one_is_a_rejection() {
    let cluster = Cluster::start(Setup::default()).await.expect("a cluster");
    let put = async |key: &str, name: &str, value: &str| {
        let mut options = ports::PutOptions::of("image/png", ports::Condition::Always);
        options.metadata.insert(format!("meshwright-{name}"), value.to_owned());
        cluster.ports.store.put("uploads", key, picture(7).into(), &options).await.expect("an upload");
        cluster.upload(key).await.expect("an upload").id()
    };
    let ending = async |job| {
        let outcome =
            harness::until("an outcome", WITHIN, async || Ok(cluster.ledger.outcome(job, Life(0)).await?));
        outcome.await.expect("an outcome").ending
    };
    let stl = put("stl.png", "formats", "stl").await;
    put("bad.png", "quality", "best").await;
    let recipe = cluster.site.inputs[0].recipe.with_options([("formats", "stl")]).expect("a good option");
    match ending(domain::job_id(stl, &recipe)).await {
        Ending::Done { files, .. } => assert_eq!(files, ["stl.png/stl.stl", "stl.png/preview.png"]),
        other => panic!("{other:?}"),
    }
    match ending(cluster.job("bad.png").await.expect("an upload")).await {
        Ending::Rejected { reason } => {
            assert!(reason.contains("use one of draft, standard, fine"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}
