//! `models list|install|verify`: which models there are, put in place and checked by hash. A licence is shown
//! and accepted once.

use crate::cli::{InstallArgs, ModelsCommand};
use crate::client::print_answer;
use crate::config::environment;
use crate::performance::table;
use crate::refusal::{Outcome, Refusal};
use crate::worker_config::WorkerConfig;
use domain::Bytes;
use futures::StreamExt;
use nn::{Manifest, Model};
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Largest file that is installed.
const BYTES_MAX: u64 = 4 << 30;
/// Longest wait for the next piece of a download.
const PIECE_MAX: Duration = Duration::from_secs(60);

/// A model, and where its file is looked for; none of one that lies in this program.
struct Place {
    manifest: &'static Manifest,
    file: Option<PathBuf>,
}

fn places() -> [Place; 2] {
    let mut worker = WorkerConfig::default();
    worker.apply_environment(environment);
    places_of(&worker)
}

fn places_of(worker: &WorkerConfig) -> [Place; 2] {
    [
        Place { manifest: &shape::LAYERED, file: None },
        Place { manifest: &nn::U2NETP, file: Some(worker.matting_place()) },
    ]
}

/// `models …`
pub(crate) async fn models(command: ModelsCommand, json: bool) -> Outcome<()> {
    match command {
        ModelsCommand::List => {
            let all: Vec<Value> = places().iter().map(|place| described(place, state(place))).collect();
            print_answer(&json!({ "models": all }), json, || list_text(&all));
            Ok(())
        }
        ModelsCommand::Verify => verify(json),
        ModelsCommand::Install(args) => install(&args, json).await,
    }
}

/// What a gateway beside such a worker tells of the models.
pub(crate) fn networks(worker: &WorkerConfig) -> Vec<gateway::Network> {
    let network = |place: Place| gateway::Network {
        name: place.manifest.name.to_owned(),
        what: place.manifest.what.to_owned(),
        licence: place.manifest.licence.to_owned(),
        installed: place.file.is_none_or(|file| file.is_file()),
    };
    places_of(worker).map(network).into()
}

/// Whether a model's file is there.
fn state(place: &Place) -> &'static str {
    match &place.file {
        None => "built in",
        Some(file) if file.is_file() => "installed",
        Some(_) => "not installed",
    }
}

fn described(place: &Place, state: &str) -> Value {
    let Manifest { name, what, source, sha256, licence, precision, input, output, peak_bytes } =
        place.manifest;
    json!({"name": name, "what": what, "state": state, "file": place.file, "source": source, "sha256": sha256,
           "licence": licence, "precision": precision, "input": input, "output": output,
           "peak_bytes": peak_bytes})
}

fn list_text(all: &[Value]) -> String {
    let mut models = table(&["model", "what", "licence", "memory", ""]);
    for of in all {
        let word = |name: &str| of[name].as_str().unwrap_or_default().to_owned();
        let memory = Bytes(of["peak_bytes"].as_u64().unwrap_or_default()).to_string();
        models.add_row([word("name"), word("what"), word("licence"), memory, word("state")]);
    }
    models.to_string()
}

/// Loads every model that is there, as a runner would.
fn verify(json: bool) -> Outcome<()> {
    let (mut checked, mut bad) = (Vec::new(), Vec::new());
    for place in places() {
        let name = place.manifest.name;
        let loaded = match &place.file {
            None => {
                let began = Instant::now();
                let loaded = shape::load_layered().map_err(|error| error.to_string());
                loaded.map(|()| Some(began.elapsed()))
            }
            Some(file) if !file.is_file() => Ok(None),
            Some(file) => read(file).and_then(|bytes| load(place.manifest, &bytes).map(Some)),
        };
        let text = match loaded {
            Ok(Some(took)) => format!("loads in {:.0} ms", took.as_secs_f64() * 1000.0),
            Ok(None) => format!("not installed; `meshwright models install {name}`"),
            Err(why) => {
                bad.push(name);
                why
            }
        };
        checked.push(json!({"name": name, "ok": !bad.contains(&name), "text": text}));
    }
    print_answer(&json!({ "models": checked }), json, || {
        let line = |of: &Value| {
            let mark = if of["ok"] == true { "ok  " } else { "FAIL" };
            format!(
                "{mark}  {}: {}",
                of["name"].as_str().unwrap_or_default(),
                of["text"].as_str().unwrap_or_default()
            )
        };
        checked.iter().map(line).collect::<Vec<_>>().join("\n")
    });
    if bad.is_empty() { Ok(()) } else { Err(Refusal::Config(format!("{}: install again", bad.join(", ")))) }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("read {}: {error}", file.display()))
}

/// Checks the hash and the form; how long that took.
fn load(manifest: &'static Manifest, bytes: &[u8]) -> Result<Duration, String> {
    let began = Instant::now();
    Model::load(manifest, bytes).map_err(|error| error.to_string())?;
    Ok(began.elapsed())
}

/// `models install NAME`
async fn install(args: &InstallArgs, json: bool) -> Outcome<()> {
    let known = || places().map(|place| place.manifest.name).join(", ");
    let found = places().into_iter().find(|place| place.manifest.name == args.name);
    let place = found
        .ok_or_else(|| Refusal::Input(format!("there is no model {:?}; there are {}", args.name, known())))?;
    let manifest = place.manifest;
    let Some(file) = place.file else {
        return Err(Refusal::Input(format!("{} is built in; there is nothing to install", manifest.name)));
    };
    let bytes = match (&args.from, &args.url) {
        (Some(from), _) => read(from).map_err(Refusal::Input)?,
        (None, Some(url)) => download(url).await?,
        (None, None) => {
            let name = manifest.name;
            return Err(Refusal::Input(format!(
                "say where {name} comes from, with --from FILE or --url URL; it is {}",
                manifest.source
            )));
        }
    };
    // Before anything is written: a file that is not the pinned one is never put in place.
    load(manifest, &bytes).map_err(Refusal::Input)?;
    accept(manifest, args.accept_licence)?;
    let failed = |error: std::io::Error| Refusal::Io(format!("write {}: {error}", file.display()));
    put(&file, &bytes).map_err(failed)?;
    let answer = json!({"name": manifest.name, "file": file, "licence": manifest.licence});
    print_answer(&answer, json, || format!("{} is installed in {}", manifest.name, file.display()));
    Ok(())
}

/// Whole or not at all.
fn put(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let temporary = file.with_extension(format!("{}.part", std::process::id()));
    std::fs::write(&temporary, bytes)?;
    std::fs::File::open(&temporary)?.sync_all()?;
    std::fs::rename(&temporary, file)
}

async fn download(url: &str) -> Outcome<Vec<u8>> {
    let failed = |error: reqwest::Error| Refusal::Unavailable(format!("fetch {url}: {error}"));
    let answer = reqwest::get(url).await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    let too_large = || Refusal::Input(format!("{url} has more than {}", Bytes(BYTES_MAX)));
    if answer.content_length().is_some_and(|length| length > BYTES_MAX) {
        return Err(too_large());
    }
    let (mut bytes, mut pieces) = (Vec::new(), answer.bytes_stream());
    loop {
        let late = |_| Refusal::Unavailable(format!("fetch {url}: nothing comes any more"));
        let Some(piece) = tokio::time::timeout(PIECE_MAX, pieces.next()).await.map_err(late)? else { break };
        bytes.extend_from_slice(&piece.map_err(failed)?);
        if bytes.len() as u64 > BYTES_MAX {
            return Err(too_large());
        }
    }
    Ok(bytes)
}

/// Shows the licence, and asks who has not accepted it yet.
fn accept(manifest: &Manifest, accepted: bool) -> Outcome<()> {
    let Manifest { name, licence, source, .. } = manifest;
    note!("{name} is licensed under {licence}; it comes from {source}");
    if accepted {
        return Ok(());
    }
    let refused =
        || Refusal::Input(format!("the licence of {name} was not accepted; say so with --accept-licence"));
    if !std::io::stdin().is_terminal() {
        return Err(refused());
    }
    let _shown = std::io::stderr().write_all(b"Accept it? [y/N] ");
    let mut said = String::new();
    std::io::stdin().lock().read_line(&mut said).map_err(|_| refused())?;
    if matches!(said.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_told_with_its_licence_and_where_it_is_from() {
        let all: Vec<Value> = places().iter().map(|place| described(place, state(place))).collect();
        for of in &all {
            for word in ["name", "what", "licence", "source", "sha256", "precision", "state"] {
                assert!(of[word].as_str().is_some_and(|word| !word.is_empty()), "{word}: {of}");
            }
        }
        let told = list_text(&all);
        assert!(told.contains("u2netp") && told.contains("built in"), "{told}");
    }

    #[test]
    fn a_file_is_put_in_place_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("models/a.onnx");
        for content in [b"first".as_slice(), b"second"] {
            put(&file, content).expect("a writable folder");
            assert_eq!(std::fs::read(&file).expect("a file"), content);
        }
        let there = std::fs::read_dir(folder.path().join("models")).expect("a folder").count();
        assert_eq!(there, 1);
    }

    #[tokio::test]
    async fn what_is_not_the_pinned_file_is_never_installed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("other.onnx");
        std::fs::write(&file, b"another model").expect("a file");
        let args = |name: &str, from: Option<&Path>| InstallArgs {
            name: name.to_owned(),
            from: from.map(Path::to_owned),
            url: None,
            accept_licence: true,
        };
        let refused = async |args: InstallArgs| install(&args, false).await.expect_err("refused").to_string();
        assert!(refused(args("u2netp", Some(&file))).await.contains("not the pinned model"));
        assert!(refused(args("u2netp", None)).await.contains("--from FILE or --url URL"));
        assert!(refused(args("layered", Some(&file))).await.contains("built in"));
        assert!(refused(args("triposr", Some(&file))).await.contains("there are layered, u2netp"));
    }
}
