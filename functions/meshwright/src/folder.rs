//! Pictures of a folder, as `demo --images` and `up --images` see them. It reads and uploads; it decides
//! nothing about content.

use crate::refusal::{Outcome, Refusal};
use domain::{JobId, Recipe, Site, Upload, job_id};
use ports::{Condition, Ports, PutOptions, Stored};
use std::path::{Path, PathBuf};

/// The regular files of a folder and its subfolders, by path relative to it. Hidden files and links are left
/// alone.
pub(crate) fn files_below(root: &Path) -> Outcome<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = open.pop() {
        let io = |error: std::io::Error| Refusal::Input(format!("read folder {}: {error}", folder.display()));
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

/// Puts a picture into the input bucket, like anybody, and tells the job that will come of it.
pub(crate) async fn upload(ports: &Ports, site: &Site, key: &str, content: Vec<u8>) -> Outcome<JobId> {
    let input = site.inputs.first().ok_or_else(|| Refusal::Config("no input bucket".to_owned()))?;
    let failed = |error: ports::PortError| Refusal::Unavailable(format!("upload {key}: {error}"));
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
}
