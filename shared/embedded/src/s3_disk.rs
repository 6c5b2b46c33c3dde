//! Objects on disk: one file each, content first and its description behind it, renamed into place when
//! complete. So an object is there whole or not at all, through kill -9 and power loss. Names and
//! descriptions are also held in memory for listing.

use crate::broker::locked;
use crate::s3_keys::{file_name, level_name};
use fs_err::{self as fs, File};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use tokio::sync::Mutex as AsyncMutex;

/// Locks of keys: two keys may share one, which only costs time.
const STRIPES: usize = 256;

/// The folder of unfinished files in a bucket's folder; emptied at start.
const UNFINISHED: &str = ".unfinished";
/// The folder of multipart uploads in a bucket's folder.
pub(crate) const UPLOADS: &str = ".uploads";

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) key: String,
    pub(crate) etag: String,
    pub(crate) size: u64,
    pub(crate) modified_ms: u64,
    pub(crate) content_type: Option<String>,
    pub(crate) metadata: HashMap<String, String>,
}

/// When a write is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Only {
    Always,
    IfAbsent,
    IfPresent,
    IfEtag(String),
}

/// What a commit found.
#[derive(Debug)]
pub(crate) enum Commit {
    Written(Arc<Description>),
    ConditionFailed,
}

/// A file that is not complete yet, on the file system of its bucket. It goes with this value: once it has
/// been renamed into its place there is nothing left to remove.
#[derive(Debug)]
pub(crate) struct Unfinished(PathBuf);

impl Unfinished {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %self.0.display(), %error, "remove an unfinished file");
            }
            _ => {}
        }
    }
}

/// One bucket.
pub(crate) struct Bucket {
    pub(crate) folder: PathBuf,
    objects: RwLock<BTreeMap<String, Arc<Description>>>,
    stripes: Vec<AsyncMutex<()>>,
    pub(crate) created_ms: u64,
}

/// All buckets.
pub(crate) struct Disk {
    root: PathBuf,
    buckets: Mutex<BTreeMap<String, Arc<Bucket>>>,
}

/// What a folder names is there after a power loss.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Disk {
    /// Opens what is there; unfinished files of an earlier process are removed.
    pub(crate) fn open(root: &Path) -> io::Result<Disk> {
        fs::create_dir_all(root)?;
        sync_folder(root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(root))?;
        let mut buckets = BTreeMap::new();
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                let name = entry.file_name().to_string_lossy().into_owned();
                buckets.insert(name, Arc::new(Bucket::open(entry.path())?));
            }
        }
        Ok(Disk { root: root.to_owned(), buckets: Mutex::new(buckets) })
    }

    pub(crate) fn bucket(&self, name: &str) -> Option<Arc<Bucket>> {
        locked(&self.buckets).get(name).cloned()
    }

    pub(crate) fn buckets(&self) -> Vec<(String, Arc<Bucket>)> {
        locked(&self.buckets).iter().map(|(name, bucket)| (name.clone(), bucket.clone())).collect()
    }

    /// Creates a bucket; false if it is there already. The name was checked by the protocol's rules.
    pub(crate) fn create_bucket(&self, name: &str) -> io::Result<bool> {
        let mut buckets = locked(&self.buckets);
        if buckets.contains_key(name) {
            return Ok(false);
        }
        let bucket = Bucket::open(self.root.join(name))?;
        sync_folder(&self.root)?;
        buckets.insert(name.to_owned(), Arc::new(bucket));
        Ok(true)
    }

    /// Removes an empty bucket; false if it has objects.
    pub(crate) fn remove_bucket(&self, name: &str) -> io::Result<bool> {
        let mut buckets = locked(&self.buckets);
        let empty = buckets.get(name).is_none_or(|bucket| bucket.objects().is_empty());
        if empty && buckets.remove(name).is_some() {
            fs::remove_dir_all(self.root.join(name))?;
            sync_folder(&self.root)?;
        }
        Ok(empty)
    }
}

impl Bucket {
    fn open(folder: PathBuf) -> io::Result<Bucket> {
        let unfinished = folder.join(UNFINISHED);
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir_all(&unfinished)?;
        fs::create_dir_all(folder.join(UPLOADS))?;
        // All of them here and now: a folder that a writer finds has survived a power loss.
        for level in 0..=u8::MAX {
            fs::create_dir_all(folder.join(level_name(level)))?;
        }
        sync_folder(&folder)?;
        let created = fs::metadata(&folder)?.modified()?.duration_since(std::time::UNIX_EPOCH);
        let mut objects = BTreeMap::new();
        for level in fs::read_dir(&folder)? {
            let level = level?;
            if level.file_name().to_string_lossy().starts_with('.') || !level.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(level.path())? {
                let path = file?.path();
                match read_description(&path) {
                    Ok(found) => drop(objects.insert(found.key.clone(), Arc::new(found))),
                    Err(error) => {
                        tracing::warn!(file = %path.display(), %error, "not one of our objects: left alone")
                    }
                }
            }
        }
        Ok(Bucket {
            folder,
            objects: RwLock::new(objects),
            stripes: (0..STRIPES).map(|_| AsyncMutex::new(())).collect(),
            created_ms: created.unwrap_or_default().as_millis() as u64,
        })
    }

    /// All descriptions, by key.
    pub(crate) fn objects(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Description>>> {
        self.objects.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn describe(&self, key: &str) -> Option<Arc<Description>> {
        self.objects().get(key).cloned()
    }

    /// An empty file that is not complete yet.
    pub(crate) fn unfinished(&self) -> io::Result<Unfinished> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let unfinished = Unfinished(self.folder.join(UNFINISHED).join(name));
        File::create_new(&unfinished.0)?;
        Ok(unfinished)
    }

    /// The lock of a key.
    pub(crate) fn stripe(&self, key: &str) -> &AsyncMutex<()> {
        let hash = blake3::hash(key.as_bytes());
        &self.stripes[usize::from(hash.as_bytes()[0]) % STRIPES]
    }

    /// Opens an object's content together with the description that belongs to it.
    pub(crate) async fn read(&self, key: &str) -> io::Result<Option<(std::fs::File, Arc<Description>)>> {
        let _one_at_a_time = self.stripe(key).lock().await;
        let Some(found) = self.describe(key) else { return Ok(None) };
        Ok(Some((File::open(self.folder.join(file_name(key)))?.into_file(), found)))
    }

    /// Makes the finished content of `from` the object, if the condition holds. One writer of a key at a time
    /// decides. Whoever drops this before its end may have changed the disk and not the list.
    pub(crate) async fn commit(
        &self,
        from: Unfinished,
        mut object: Description,
        only: &Only,
    ) -> io::Result<Commit> {
        let _one_at_a_time = self.stripe(&object.key).lock().await;
        let present = self.describe(&object.key);
        let allowed = match only {
            Only::Always => true,
            Only::IfAbsent => present.is_none(),
            Only::IfPresent => present.is_some(),
            Only::IfEtag(etag) => present.as_ref().is_some_and(|present| present.etag == *etag),
        };
        if !allowed {
            return Ok(Commit::ConditionFailed);
        }
        // Two versions of a key are told apart by their time as well.
        object.modified_ms = object.modified_ms.max(present.map_or(0, |present| present.modified_ms + 1));
        let object = Arc::new(object);
        let (described, to) = (object.clone(), self.folder.join(file_name(&object.key)));
        let written = tokio::task::spawn_blocking(move || write_down(&from, &described, &to));
        let synced = written.await.map_err(io::Error::other)??;
        let mut objects = self.objects.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        objects.insert(object.key.clone(), object.clone());
        synced.map(|()| Commit::Written(object))
    }

    pub(crate) async fn remove(&self, key: &str) -> io::Result<()> {
        let _one_at_a_time = self.stripe(key).lock().await;
        if self.describe(key).is_none() {
            return Ok(());
        }
        let path = self.folder.join(file_name(key));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _gone => {}
        }
        self.objects.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(key);
        sync_folder(path.parent().unwrap_or(&path))
    }
}

/// Puts the description behind the content, and both into their place. What is answered within: whether a
/// power loss can take them from there.
fn write_down(from: &Unfinished, object: &Description, to: &Path) -> io::Result<io::Result<()>> {
    let mut file = fs::OpenOptions::new().append(true).open(from.path())?;
    let text = serde_json::to_vec(object)?;
    file.write_all(&text)?;
    file.write_all(&(text.len() as u32).to_le_bytes())?;
    file.sync_all()?;
    fs::rename(from.path(), to)?;
    Ok(sync_folder(to.parent().unwrap_or(to)))
}

/// The description behind an object's content.
fn read_description(path: &Path) -> io::Result<Description> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut text_length = [0u8; 4];
    let start = length.checked_sub(4).ok_or_else(|| bad("too short"))?;
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut text_length)?;
    let text_length = u64::from(u32::from_le_bytes(text_length));
    let start = start.checked_sub(text_length).ok_or_else(|| bad("too short"))?;
    let mut text = vec![0u8; text_length as usize];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut text)?;
    let found: Description = serde_json::from_slice(&text)?;
    let whole = found.size == start && path.ends_with(file_name(&found.key));
    if whole { Ok(found) } else { Err(bad("it does not describe itself")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(key: &str, content: &[u8]) -> Description {
        Description {
            key: key.to_owned(),
            etag: format!("e{}", content.len()),
            size: content.len() as u64,
            modified_ms: 7,
            content_type: None,
            metadata: HashMap::new(),
        }
    }

    async fn put(bucket: &Bucket, key: &str, content: &[u8], only: Only) -> bool {
        let file = bucket.unfinished().expect("a writable folder");
        fs::write(file.path(), content).expect("a writable folder");
        let commit = bucket.commit(file, description(key, content), &only).await.expect("a disk with room");
        matches!(commit, Commit::Written(_))
    }

    fn unfinished(bucket: &Bucket) -> usize {
        fs::read_dir(bucket.folder.join(UNFINISHED)).expect("a folder").count()
    }

    #[tokio::test]
    async fn objects_survive_a_restart_and_leftovers_do_not() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let disk = Disk::open(root.path()).expect("a writable folder");
        assert!(disk.create_bucket("b").expect("a writable folder"));
        let bucket = disk.bucket("b").expect("just made");
        assert!(put(&bucket, "d ir/ü.png", b"content", Only::IfAbsent).await);
        std::mem::forget(bucket.unfinished().expect("a writable folder"));
        assert_eq!(unfinished(&bucket), 1, "as after kill -9");
        let again = Disk::open(root.path()).expect("a readable folder");
        let bucket = again.bucket("b").expect("it was there");
        assert_eq!(bucket.describe("d ir/ü.png").expect("it was written").size, 7);
        assert_eq!(unfinished(&bucket), 0);
    }

    #[tokio::test]
    async fn a_commit_that_fails_leaves_no_file() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let disk = Disk::open(root.path()).expect("a writable folder");
        disk.create_bucket("b").expect("a writable folder");
        let bucket = disk.bucket("b").expect("just made");
        assert!(!put(&bucket, "k", b"12", Only::IfPresent).await);
        assert_eq!(unfinished(&bucket), 0, "a condition that does not hold");
        // A folder stands where the object's file would go: no rename replaces it.
        fs::create_dir(bucket.folder.join(file_name("k"))).expect("a writable folder");
        let file = bucket.unfinished().expect("a writable folder");
        assert!(bucket.commit(file, description("k", b""), &Only::Always).await.is_err());
        assert_eq!(unfinished(&bucket), 0, "a disk that fails");
        assert!(bucket.describe("k").is_none());
    }

    #[tokio::test]
    async fn conditions_are_judged_under_the_lock_of_the_key() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let disk = Disk::open(root.path()).expect("a writable folder");
        disk.create_bucket("b").expect("a writable folder");
        let bucket = disk.bucket("b").expect("just made");
        let racers = (0..32).map(|_| put(&bucket, "k", b"12", Only::IfAbsent));
        let winners = futures::future::join_all(racers).await.into_iter().filter(|won| *won).count();
        assert_eq!(winners, 1);
        assert!(!put(&bucket, "k", b"123", Only::IfEtag("other".to_owned())).await);
        assert!(put(&bucket, "k", b"123", Only::IfEtag("e2".to_owned())).await);
        assert!(!put(&bucket, "none", b"1", Only::IfPresent).await);
    }
}
