//! Whether the disk has room left.

use domain::Bytes;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// With less than this the disk counts as full: records and manifests of what is under way still fit.
const ROOM_MIN: Bytes = Bytes::mib(16);
/// Longest wait before somebody is told.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why a data folder takes nothing more, in a sentence for a person; none if it does.
pub fn trouble(data_dir: &Path) -> Option<String> {
    trouble_with(room(data_dir), data_dir)
}

fn trouble_with(room: io::Result<Bytes>, data_dir: &Path) -> Option<String> {
    let folder = data_dir.display();
    match room {
        Ok(room) if room >= ROOM_MIN => None,
        Ok(room) => Some(format!(
            "the disk of {folder} is full ({room} left): uploads and results are refused and tried again; \
             make room there"
        )),
        Err(error) => Some(format!("the disk of {folder} cannot be asked how full it is: {error}")),
    }
}

/// Room that is left on the disk of a folder.
///
/// # Errors
/// There is no such folder.
pub fn room(data_dir: &Path) -> io::Result<Bytes> {
    let disk = rustix::fs::statvfs(data_dir)?;
    Ok(Bytes(disk.f_bavail.saturating_mul(disk.f_frsize)))
}

/// Says once when the room is used up, and once when there is room again: what is refused in between is said
/// by whoever asked.
pub(crate) async fn watch(data_dir: PathBuf) {
    let (mut look, mut was_full) = (tokio::time::interval(LOOK_EVERY), false);
    loop {
        look.tick().await;
        let trouble = trouble(&data_dir);
        match (&trouble, was_full) {
            (Some(trouble), false) => tracing::warn!("{trouble}"),
            (None, true) => tracing::info!(folder = %data_dir.display(), "the disk has room again"),
            _ => {}
        }
        was_full = trouble.is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_with_what_is_left_and_what_to_do() {
        let folder = Path::new("/data");
        assert_eq!(trouble_with(Ok(ROOM_MIN), folder), None);
        let full = trouble_with(Ok(Bytes::mib(3)), folder).expect("3 MiB are too little");
        assert!(full.contains("/data") && full.contains("3.0 MiB") && full.contains("make room"), "{full}");
        assert!(trouble(Path::new("/nothing/here")).is_some_and(|why| why.contains("/nothing/here")));
    }
}
