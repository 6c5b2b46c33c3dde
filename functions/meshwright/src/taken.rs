//! What `up --images` has taken: a journal in the data folder, so that a file whose upload was retired is not
//! taken again by the next start. One line per file. A torn or foreign line is ignored: that costs one more
//! upload of the same file at most.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Lines that may be out of date before the journal is written anew.
const STALE_MAX: usize = 1000;

/// A file as a look finds it: changed when either changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) bytes: u64,
    pub(crate) modified_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    path: String,
    #[serde(flatten)]
    seen: Seen,
}

/// The files that were taken, by path relative to the watched folder.
#[derive(Debug)]
pub(crate) struct Taken {
    journal: PathBuf,
    files: BTreeMap<String, Seen>,
    lines: usize,
}

impl Taken {
    /// Reads the journal; one that is not there yet is empty.
    pub(crate) fn open(journal: PathBuf) -> io::Result<Taken> {
        let text = match fs::read(&journal) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let read = lines.iter().filter_map(|line| serde_json::from_slice::<Line>(line).ok());
        let files = read.map(|line| (line.path, line.seen)).collect();
        let mut taken = Taken { journal, files, lines: lines.len() };
        // Also mends a torn last line, before anything is written behind it.
        taken.write_anew()?;
        Ok(taken)
    }

    /// Whether this very state of the file was taken.
    pub(crate) fn has(&self, path: &str, seen: Seen) -> bool {
        self.files.get(path) == Some(&seen)
    }

    /// Notes that it was taken.
    pub(crate) fn note(&mut self, path: &str, seen: Seen) -> io::Result<()> {
        self.files.insert(path.to_owned(), seen);
        let mut line = serde_json::to_vec(&Line { path: path.to_owned(), seen })?;
        line.push(b'\n');
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&self.journal)?;
        file.write_all(&line)?;
        self.lines += 1;
        if self.lines > self.files.len() + STALE_MAX { self.write_anew() } else { Ok(()) }
    }

    /// Forgets what is not in the folder any more. An empty folder may be one that is not mounted.
    pub(crate) fn keep_only(&mut self, there: &BTreeSet<String>) {
        if !there.is_empty() {
            self.files.retain(|path, _| there.contains(path));
        }
    }

    fn write_anew(&mut self) -> io::Result<()> {
        let mut text = Vec::new();
        for (path, seen) in &self.files {
            serde_json::to_writer(&mut text, &Line { path: path.clone(), seen: *seen })?;
            text.push(b'\n');
        }
        let temporary = self.journal.with_extension("new");
        write_synced(&temporary, &text)?;
        fs::rename(&temporary, &self.journal)?;
        self.lines = self.files.len();
        Ok(())
    }
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_known_after_a_restart_and_the_journal_stays_small() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let journal = folder.path().join("taken.jsonl");
        let seen = |bytes| Seen { bytes, modified_ms: 7 };
        let mut taken = Taken::open(journal.clone()).expect("a writable folder");
        for n in 0..3 * STALE_MAX as u64 {
            taken.note("a ü.png", seen(n)).expect("a writable folder");
        }
        taken.note("gone.png", seen(1)).expect("a writable folder");
        taken.keep_only(&BTreeSet::new());
        assert!(taken.has("gone.png", seen(1)), "an empty folder forgets nothing");
        taken.keep_only(&BTreeSet::from(["a ü.png".to_owned()]));
        assert!(!taken.has("gone.png", seen(1)));
        let lines = fs::read_to_string(&journal).expect("a journal").lines().count();
        assert!(lines <= STALE_MAX + 3, "{lines} lines");
        fs::OpenOptions::new()
            .append(true)
            .open(&journal)
            .and_then(|mut file| file.write_all(b"{\"path\":\"to"))
            .expect("a torn line");
        let mut again = Taken::open(journal.clone()).expect("a readable journal");
        let last = seen(3 * STALE_MAX as u64 - 1);
        assert!(again.has("a ü.png", last) && !again.has("a ü.png", seen(0)));
        again.note("b.png", seen(2)).expect("a writable folder");
        assert!(Taken::open(journal).expect("a readable journal").has("b.png", seen(2)));
    }
}
