//! Pictures of a folder, as `demo --images` and `up --images` see them. It reads and uploads; it decides
//! nothing about content.

use crate::refusal::{Outcome, Refusal};
use domain::{Bytes, JobId, Recipe, Site, Upload, job_id};
use ports::{Condition, PortError, Ports, PutOptions, Stored};
use std::io;
use std::path::{Path, PathBuf};

/// The regular files of a folder and its subfolders, by path relative to it. Hidden files and links are left
/// alone.
pub(crate) fn files_below(root: &Path) -> Outcome<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = open.pop() {
        let io = |error: io::Error| Refusal::Input(format!("read folder {}: {error}", folder.display()));
        for entry in std::fs::read_dir(&folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            let kind = entry.file_type().map_err(io)?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                found.extend(entry.path().strip_prefix(root).map(Path::to_path_buf));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Refuses folders that would feed on each other: what is written must not lie where pictures are looked for,
/// and pictures are not looked for in the service's own files.
pub(crate) fn check_apart(images: Option<&Path>, out: Option<&Path>, data: &Path) -> Outcome<()> {
    let data = real(data)?;
    if let Some(out) = out.map(real).transpose()?.filter(|out| out.starts_with(&data)) {
        let (out, data) = (out.display(), data.display());
        return Err(Refusal::Input(format!(
            "--out {out} lies in --data {data}, which holds the service's own files; choose folders side by \
             side"
        )));
    }
    let Some(images) = images else { return Ok(()) };
    if !images.is_dir() {
        return Err(Refusal::Input(format!("--images {}: there is no such folder", images.display())));
    }
    let images = real(images)?;
    let endless = |what: String| {
        Err(Refusal::Input(format!("{what}: it would take in its own results; choose folders side by side")))
    };
    let shown = images.display();
    if let Some(out) = out {
        let out = real(out)?;
        if out.starts_with(&images) {
            return endless(format!("--out {} lies in --images {shown}", out.display()));
        }
    }
    if data.starts_with(&images) || images.starts_with(&data) {
        return endless(format!("--data {} and --images {shown} lie in each other", data.display()));
    }
    Ok(())
}

/// The path without links. What does not exist yet stands below the nearest folder that does.
fn real(path: &Path) -> Outcome<PathBuf> {
    let failed = |e: io::Error| Refusal::Io(format!("look at {}: {e}", path.display()));
    let absolute = std::path::absolute(path).map_err(failed)?;
    for there in absolute.ancestors() {
        match there.canonicalize() {
            Ok(found) => {
                let rest = absolute.strip_prefix(there).unwrap_or(Path::new(""));
                return Ok(if rest.as_os_str().is_empty() { found } else { found.join(rest) });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(absolute)
}

/// Reads a picture of at most so many bytes.
pub(crate) async fn read(path: &Path, bytes_max: Bytes) -> Outcome<Vec<u8>> {
    let unread = |e: io::Error| Refusal::Input(format!("read it: {e}"));
    let bytes = tokio::fs::metadata(path).await.map_err(unread)?.len();
    if bytes > bytes_max.0 {
        return Err(Refusal::Input(format!("it has {bytes} bytes; at most {bytes_max} are taken")));
    }
    tokio::fs::read(path).await.map_err(unread)
}

/// Puts a picture into the input bucket, like anybody, and tells the job that will come of it.
pub(crate) async fn upload(ports: &Ports, site: &Site, key: &str, content: Vec<u8>) -> Outcome<JobId> {
    let input = site.inputs.first().ok_or_else(|| Refusal::Config("no input bucket".to_owned()))?;
    let failed = |error: PortError| match error {
        PortError::Invalid(why) => Refusal::Input(why),
        other => Refusal::Unavailable(format!("upload {key}: {other}")),
    };
    let options = PutOptions::of("application/octet-stream", Condition::Always);
    let stored = ports.store.put(&input.bucket, key, content.into(), &options).await.map_err(failed)?;
    if stored == Stored::ConditionFailed {
        return Err(Refusal::Unavailable(format!("upload {key}: the store refused an unconditional write")));
    }
    let info = ports.store.head(&input.bucket, key).await.map_err(failed)?;
    let info = info.ok_or_else(|| Refusal::Unavailable(format!("upload {key}: it is gone again")))?;
    let upload = Upload {
        store: site.store.clone(),
        bucket: input.bucket.clone(),
        key: key.to_owned(),
        version_id: None,
        etag: info.etag,
        size_bytes: info.size,
        last_modified_s: info.last_modified_s,
    };
    let recipe: &Recipe = &input.recipe;
    Ok(job_id(upload.id(), recipe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_are_left_alone_and_subfolders_are_walked() {
        let root = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(root.path().join("b")).expect("a folder");
        for name in ["a.png", ".hidden", "b/c.jpg"] {
            std::fs::write(root.path().join(name), b"x").expect("a small file");
        }
        let found = files_below(root.path()).expect("a readable folder");
        assert_eq!(found, [PathBuf::from("a.png"), PathBuf::from("b/c.jpg")]);
        assert!(files_below(&root.path().join("none")).is_err());
    }

    #[test]
    fn folders_that_feed_on_each_other_are_refused() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| root.path().join(name);
        for name in ["in/deep", "data"] {
            std::fs::create_dir_all(at(name)).expect("a folder");
        }
        std::os::unix::fs::symlink(at("in"), at("link")).expect("a link");
        let check = |images: &str, out: Option<&str>, data: &str, part: &str| {
            let out = out.map(at);
            let found = check_apart(Some(&at(images)), out.as_deref(), &at(data));
            let said = found.err().map(|refusal| refusal.to_string()).unwrap_or_default();
            assert!(said.contains(part) && said.is_empty() == part.is_empty(), "{images} {out:?}: {said}");
        };
        check("in", Some("out"), "data", "");
        check("in/deep", Some("in"), "data", "");
        check("in", Some("in"), "data", "--out");
        check("in", Some("in/new/folder"), "data", "--out");
        check("link", Some("in/models"), "data", "--out");
        check("in", Some("link/models"), "data", "--out");
        check("in", None, "link/data", "--data");
        check("data", None, "data", "--data");
        check("none", None, "data", "there is no such folder");
        assert!(check_apart(None, Some(&at("in")), &at("data")).is_ok());
    }

    #[tokio::test]
    async fn what_cannot_be_taken_is_not_read() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let path = root.path().join("a.png");
        assert!(read(&path, Bytes(3)).await.expect_err("no file").to_string().contains("read it"));
        std::fs::write(&path, b"1234").expect("a small file");
        let refused = read(&path, Bytes(3)).await.expect_err("too large");
        assert!(refused.to_string().contains("it has 4 bytes"), "{refused}");
        assert_eq!(read(&path, Bytes(4)).await.expect("a small file"), b"1234");
    }
}
