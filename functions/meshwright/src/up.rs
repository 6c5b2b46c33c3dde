//! `up`: the embedded service, kept running; optionally a folder in and a folder out.

use crate::cli::UpArgs;
use crate::folder;
use crate::refusal::{Outcome, Refusal};
use crate::service::{Service, ServiceOptions, data_folder, webhook_secret_file};
use crate::taken::{Seen, Taken};
use domain::{EVENTS, Event, EventKind, Recipe, Site};
use futures::StreamExt;
use ports::{GetOptions, Got, Listed, Ports, list_all};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Time between two looks at a watched folder. A file is taken once it looks the same twice, so that none is
/// taken half written.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Models are copied out at most this often.
const COPY_EVERY: Duration = Duration::from_millis(500);
/// What could not be copied is tried again after this.
const COPY_AGAIN: Duration = Duration::from_secs(30);

pub(crate) async fn up(args: UpArgs, json: bool, shutdown: CancellationToken) -> Outcome<()> {
    let data = args.data.clone().unwrap_or_else(|| data_folder("up"));
    folder::check_apart(args.images.as_deref(), args.out.as_deref(), &data)?;
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).map_err(|e| Refusal::Io(format!("make {}: {e}", out.display())))?;
    }
    let keep = (args.keep.clone(), args.keep_days);
    let options = ServiceOptions {
        data: data.clone(),
        s3: args.s3,
        listen: args.listen,
        keep,
        webhooks: args.webhook.clone(),
        recipe: Recipe::default(),
        lanes: None,
    };
    let mut service = Service::start(options, shutdown.clone()).await?;
    let (ports, site) = (service.ports.clone(), service.config.site.clone());
    if let Some(images) = args.images {
        let journal = data.join("taken.jsonl");
        let unread = |e: std::io::Error| Refusal::Io(format!("keep {}: {e}", journal.display()));
        let taken = Taken::open(journal.clone()).map_err(unread)?;
        let watch =
            Watch { ports: ports.clone(), site: site.clone(), images, taken, refused: BTreeMap::new() };
        let watching = watch.run(shutdown.clone());
        service.spawn("--images", async move {
            watching.await;
            Ok(())
        });
    }
    if let Some(out) = args.out {
        let copier = Copier { ports, site, out, copied: BTreeMap::new(), refused: BTreeMap::new() };
        let copying = copier.run(shutdown);
        service.spawn("--out", async move {
            copying.await;
            Ok(())
        });
    }
    print_address(&service, &data, json);
    if !args.webhook.is_empty() && !json {
        say!("Webhooks are signed with the secret in {}", webhook_secret_file(&data).display());
    }
    service.wait().await
}

fn print_address(service: &Service, data: &Path, json: bool) {
    let (endpoint, page) = (&service.endpoint, &service.page);
    let (access, secret) = (&service.credentials.access_key, &service.credentials.secret_key);
    let aws = [
        format!("export AWS_ACCESS_KEY_ID={access} AWS_SECRET_ACCESS_KEY={secret} AWS_REGION=us-east-1"),
        format!("aws --endpoint-url {endpoint} s3 cp chair.png s3://uploads/"),
        format!("aws --endpoint-url {endpoint} s3 ls --recursive s3://models/"),
    ];
    let mc = [
        format!("mc alias set meshwright {endpoint} {access} {secret}"),
        "mc cp chair.png meshwright/uploads/".to_owned(),
    ];
    let submit = [format!("meshwright submit --server {page} --watch chair.png")];
    if json {
        let lines = json!({"aws": aws, "mc": mc, "submit": submit});
        say!(
            "{}",
            json!({"s3": endpoint, "page": page, "access_key": access, "secret_key": secret, "lines": lines})
        );
        return;
    }
    say!("Page and HTTP API   {page}");
    say!("S3 endpoint         {endpoint}");
    say!("Keys                {}", data.join("credentials.json").display());
    say!("");
    say!("Put a picture in (any of these), find the model in bucket \"models\":");
    for lines in [&aws[..], &mc[..], &submit[..]] {
        say!("");
        for line in lines {
            say!("  {line}");
        }
    }
    say!("");
    say!("Ctrl-C stops it; nothing is lost, the next `meshwright up` goes on.");
}

/// The watched folder.
struct Watch {
    ports: Ports,
    site: Site,
    images: PathBuf,
    taken: Taken,
    /// What cannot be taken as it is, and was told.
    refused: BTreeMap<String, Seen>,
}

impl Watch {
    async fn run(mut self, shutdown: CancellationToken) {
        let (mut last, mut away) = (BTreeMap::new(), false);
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! { _ = look.tick() => {}, () = shutdown.cancelled() => return }
            match self.look(&last).await {
                Ok(now) => (last, away) = (now, false),
                Err(error) if !away => {
                    tracing::warn!(%error, "the watched folder: tried again until it can be taken in");
                    away = true;
                }
                Err(error) => tracing::debug!(%error, "the watched folder"),
            }
        }
    }

    /// Takes what looks as it did before; gives how all files look now.
    async fn look(&mut self, last: &BTreeMap<String, Seen>) -> Outcome<BTreeMap<String, Seen>> {
        let mut now = BTreeMap::new();
        for path in folder::files_below(&self.images)? {
            let Ok(seen) = seen(&self.images.join(&path)) else { continue };
            let key = path.to_string_lossy().into_owned();
            now.insert(key.clone(), seen);
            let known = self.taken.has(&key, seen) || self.refused.get(&key) == Some(&seen);
            if known || last.get(&key) != Some(&seen) {
                continue;
            }
            match self.take(&path, &key, seen).await {
                Ok(()) => self.note(&key, seen),
                Err(Refusal::Input(why)) => {
                    tracing::warn!(file = key, why, "a file of the watched folder is not taken");
                    self.refused.insert(key, seen);
                }
                Err(away) => return Err(away),
            }
        }
        self.taken.keep_only(&now.keys().cloned().collect::<BTreeSet<_>>());
        self.refused.retain(|key, _| now.contains_key(key));
        Ok(now)
    }

    /// A journal that cannot be written costs no picture: at most one more upload after a restart.
    fn note(&mut self, key: &str, seen: Seen) {
        if let Err(error) = self.taken.note(key, seen) {
            tracing::warn!(file = key, %error, "note what was taken");
        }
    }

    /// Uploads a file unless the bucket has it already: the journal may lack the last lines.
    async fn take(&self, path: &Path, key: &str, seen: Seen) -> Outcome<()> {
        let bucket = self.site.inputs.first().map(|input| input.bucket.as_str()).unwrap_or_default();
        let head = self.ports.store.head(bucket, key).await;
        let head = head.map_err(|error| Refusal::Unavailable(format!("look for {key}: {error}")));
        let uploaded_after = |info: &ports::ObjectInfo| info.last_modified_s * 1000 >= seen.modified_ms;
        if head?.is_some_and(|info| info.size.0 == seen.bytes && uploaded_after(&info)) {
            return Ok(());
        }
        let content = folder::read(&self.images.join(path), self.site.upload_bytes_max).await?;
        folder::upload(&self.ports, &self.site, key, content).await.map(drop)
    }
}

fn seen(path: &Path) -> std::io::Result<Seen> {
    let facts = std::fs::metadata(path)?;
    let modified = facts.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(Seen { bytes: facts.len(), modified_ms: modified.as_millis() as u64 })
}

/// Copies models into a folder.
struct Copier {
    ports: Ports,
    site: Site,
    out: PathBuf,
    /// Key and etag of what lies in the folder.
    copied: BTreeMap<String, String>,
    /// Of what cannot be written there, and was told.
    refused: BTreeMap<String, String>,
}

impl Copier {
    /// At start, and whenever a job has finished.
    async fn run(mut self, shutdown: CancellationToken) {
        let from = self.ports.wire.range(&EVENTS).await.map_or(0, |range| range.last) + 1;
        let Ok(mut events) = self.ports.wire.follow(&EVENTS, "event.>", from).await else { return };
        let mut due = Some(Instant::now());
        loop {
            let pause = async move {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(logged) = events.next() => {
                    let event = logged.ok().and_then(|l| serde_json::from_slice::<Event>(&l.payload).ok());
                    if event.is_some_and(|event| event.kind == EventKind::Finished) {
                        let soon = Instant::now() + COPY_EVERY;
                        due = Some(due.map_or(soon, |due| due.min(soon)));
                    }
                }
                () = pause => {
                    due = match self.copy_new().await {
                        Ok(0) => None,
                        Ok(_failed) => Some(Instant::now() + COPY_AGAIN),
                        Err(error) => {
                            tracing::warn!(%error, "copy models out");
                            Some(Instant::now() + COPY_AGAIN)
                        }
                    };
                }
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Copies what is new; gives how many could not be.
    async fn copy_new(&mut self) -> Outcome<usize> {
        let listed = list_all(&*self.ports.store, &self.site.models, "").await.map_err(Refusal::from)?;
        let listed = listed.into_iter().filter(|object| !s3::is_probe_key(&object.key));
        let (mut copied, mut failed) = (BTreeMap::new(), 0);
        for Listed { key, etag, .. } in listed {
            let done = self.copied.get(&key) == Some(&etag);
            let result = if done { Ok(()) } else { self.copy(&key).await };
            match result {
                Ok(()) => drop(copied.insert(key, etag)),
                Err(Refusal::Io(why)) => {
                    failed += 1;
                    // The others go on; this one is told once.
                    if self.refused.get(&key) != Some(&etag) {
                        tracing::warn!(why, "a model is not copied out");
                        self.refused.insert(key, etag);
                    }
                }
                Err(away) => return Err(away),
            }
        }
        self.copied = copied;
        if failed == 0 {
            self.refused.clear();
        }
        Ok(failed)
    }

    async fn copy(&self, key: &str) -> Outcome<()> {
        let Some(path) = safe_path(key).map(|path| self.out.join(path)) else { return Ok(()) };
        let got = self.ports.store.get(&self.site.models, key, &GetOptions::default()).await;
        if let Got::Found(model) = got.map_err(Refusal::from)? {
            let failed = |e: std::io::Error| Refusal::Io(format!("write {}: {e}", path.display()));
            write_whole(&path, &model.body).map_err(failed)?;
        }
        Ok(())
    }
}

/// A key as a path below a folder; none if it would leave it.
fn safe_path(key: &str) -> Option<PathBuf> {
    let path = PathBuf::from(key);
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}

/// A file appears whole or not at all; one with this content stays untouched.
fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let temporary = folder.join(format!(".{}.part", uuid::Uuid::new_v4().simple()));
    let written = std::fs::write(&temporary, content).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // Nothing half written is left; what cannot be removed was not written.
        let _gone = std::fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_leaves_the_folder() {
        assert_eq!(safe_path("a/b.png/b.glb"), Some(PathBuf::from("a/b.png/b.glb")));
        for bad in ["../x", "/etc/passwd", "a/../../x"] {
            assert_eq!(safe_path(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_put_into_its_place_leaves_nothing() {
        let root = tempfile::tempdir().expect("a temporary folder");
        // A folder stands where the file would go.
        std::fs::create_dir_all(root.path().join("a/model.glb/x")).expect("a folder");
        assert!(write_whole(&root.path().join("a/model.glb"), b"model").is_err());
        let left = std::fs::read_dir(root.path().join("a")).expect("a folder").count();
        assert_eq!(left, 1);
    }
}
