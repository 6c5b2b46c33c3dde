//! `up`: the embedded service, kept running; optionally a folder in and a folder out.

use crate::cli::UpArgs;
use crate::folder;
use crate::refusal::{Outcome, Refusal};
use crate::service::{Service, ServiceOptions, data_folder};
use domain::{Bytes, EVENTS, Event, EventKind, Site};
use futures::StreamExt;
use ports::{GetOptions, Got, Ports, list_all};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time between two looks at a watched folder. A file is taken once it looks the same twice, so that none is
/// taken half written.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Models are copied out at most this often.
const COPY_EVERY: Duration = Duration::from_millis(500);

pub(crate) async fn up(args: UpArgs, json: bool, shutdown: CancellationToken) -> Outcome<()> {
    Bytes::parse(&args.keep)
        .ok_or_else(|| Refusal::Config(format!("--keep {:?}: use a size, as 50GB", args.keep)))?;
    let data = args.data.clone().unwrap_or_else(|| data_folder("up"));
    let keep = Some((args.keep.clone(), args.keep_days));
    let options = ServiceOptions { data: data.clone(), s3: args.s3, listen: args.listen, keep };
    let service = Service::start(options, shutdown.clone()).await?;
    print_address(&service, &data, json);
    if let (Some(images), Some(out)) = (args.images, args.out) {
        std::fs::create_dir_all(&out).map_err(|e| Refusal::Io(format!("make {}: {e}", out.display())))?;
        folder::files_below(&images)?;
        let (ports, site) = (service.ports.clone(), service.config.site.clone());
        tokio::spawn(watch(ports.clone(), site.clone(), images, shutdown.clone()));
        tokio::spawn(copy_out(ports, site, out, shutdown.clone()));
    }
    service.wait().await
}

fn print_address(service: &Service, data: &Path, json: bool) {
    let (endpoint, page) = (&service.endpoint, &service.page);
    let (access, secret) = (&service.credentials.access_key, &service.credentials.secret_key);
    if json {
        println!("{}", json!({"s3": endpoint, "page": page, "access_key": access, "secret_key": secret}));
        return;
    }
    println!("Page and HTTP API   {page}");
    println!("S3 endpoint         {endpoint}");
    println!("Keys                {}", data.join("credentials.json").display());
    println!();
    println!("Put a picture in (any of these), find the model in bucket \"models\":");
    println!();
    println!("  export AWS_ACCESS_KEY_ID={access} AWS_SECRET_ACCESS_KEY={secret} AWS_REGION=us-east-1");
    println!("  aws --endpoint-url {endpoint} s3 cp chair.png s3://uploads/");
    println!("  aws --endpoint-url {endpoint} s3 ls --recursive s3://models/");
    println!();
    println!("  mc alias set meshwright {endpoint} {access} {secret}");
    println!("  mc cp chair.png meshwright/uploads/");
    println!();
    println!("  meshwright submit --server {page} --watch chair.png");
    println!();
    println!("Ctrl-C stops it; nothing is lost, the next `meshwright up` goes on.");
}

/// A file as a look finds it: changed when either changes.
type Seen = (u64, u128);

async fn watch(ports: Ports, site: Site, images: PathBuf, shutdown: CancellationToken) {
    let (mut last, mut taken): (BTreeMap<PathBuf, Seen>, BTreeMap<PathBuf, Seen>) = Default::default();
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! { _ = look.tick() => {}, () = shutdown.cancelled() => return }
        let found = match folder::files_below(&images) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "look at the watched folder");
                continue;
            }
        };
        let mut now = BTreeMap::new();
        for path in found {
            let Ok(seen) = seen(&images.join(&path)) else { continue };
            now.insert(path.clone(), seen);
            if last.get(&path) != Some(&seen) || taken.get(&path) == Some(&seen) {
                continue;
            }
            match take(&ports, &site, &images, &path, seen).await {
                Ok(()) => drop(taken.insert(path, seen)),
                Err(error) => tracing::warn!(file = %path.display(), %error, "take a picture in"),
            }
        }
        taken.retain(|path, _| now.contains_key(path));
        last = now;
    }
}

fn seen(path: &Path) -> std::io::Result<Seen> {
    let facts = std::fs::metadata(path)?;
    let modified = facts.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok((facts.len(), modified.as_millis()))
}

/// Uploads a file unless the bucket has it already, from before a restart.
async fn take(ports: &Ports, site: &Site, images: &Path, path: &Path, seen: Seen) -> Outcome<()> {
    let key = path.to_string_lossy().into_owned();
    let bucket = site.inputs.first().map(|input| input.bucket.as_str()).unwrap_or_default();
    let head = ports.store.head(bucket, &key).await.map_err(crate::pipeline::refusal)?;
    let uploaded_after = |info: &ports::ObjectInfo| u128::from(info.last_modified_s) * 1000 >= seen.1;
    if head.is_some_and(|info| info.size.0 == seen.0 && uploaded_after(&info)) {
        return Ok(());
    }
    if seen.0 > site.upload_bytes_max.0 {
        let max = site.upload_bytes_max;
        return Err(Refusal::Input(format!("it has {} bytes; at most {max} are taken", seen.0)));
    }
    let content = tokio::fs::read(images.join(path)).await;
    let content = content.map_err(|e| Refusal::Input(format!("read it: {e}")))?;
    folder::upload(ports, site, &key, content).await.map(drop)
}

/// Copies new models into a folder: at start, and whenever a job has finished.
async fn copy_out(ports: Ports, site: Site, out: PathBuf, shutdown: CancellationToken) {
    let from = ports.wire.last_sequence(&EVENTS).await.unwrap_or(0) + 1;
    let Ok(mut events) = ports.wire.follow(&EVENTS, "event.>", from).await else { return };
    let mut copied = BTreeMap::new();
    let mut pause = tokio::time::interval(COPY_EVERY);
    let mut due = true;
    loop {
        tokio::select! {
            Some(logged) = events.next() => {
                let event = logged.ok().and_then(|l| serde_json::from_slice::<Event>(&l.payload).ok());
                due |= event.is_some_and(|event| event.kind == EventKind::Finished);
            }
            _ = pause.tick(), if due => {
                due = false;
                if let Err(error) = copy_new(&ports, &site, &out, &mut copied).await {
                    tracing::warn!(%error, "copy models out");
                    due = true;
                }
            }
            () = shutdown.cancelled() => return,
        }
    }
}

async fn copy_new(
    ports: &Ports,
    site: &Site,
    out: &Path,
    copied: &mut BTreeMap<String, String>,
) -> Outcome<()> {
    let refused = crate::pipeline::refusal;
    for object in list_all(&*ports.store, &site.models, "").await.map_err(refused)? {
        if copied.get(&object.key) == Some(&object.etag) {
            continue;
        }
        let Some(path) = safe_path(&object.key).map(|path| out.join(path)) else { continue };
        if let Got::Found(model) =
            ports.store.get(&site.models, &object.key, &GetOptions::default()).await.map_err(refused)?
        {
            write_whole(&path, &model.body)
                .map_err(|e| Refusal::Io(format!("write {}: {e}", path.display())))?;
        }
        copied.insert(object.key, object.etag);
    }
    Ok(())
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
    std::fs::write(&temporary, content)?;
    std::fs::rename(&temporary, path)
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
}
