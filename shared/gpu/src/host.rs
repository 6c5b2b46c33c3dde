//! A host without a GPU is a device too: its memory, as far as a control group lets us use it.
//!
//! Linux: `/proc/meminfo`, cgroup v2 `memory.max` and `memory.current` of this process's group and all
//! groups above it, and the
//! resident size of each of our processes.

use crate::cap::capped;
use async_trait::async_trait;
use domain::{Bytes, DeviceClass, Reading};
use ports::{Clock, Device, PortError, PortResult, SystemClock};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The memory of this machine or of this container.
#[derive(Clone, Debug)]
pub struct HostMemory {
    proc: PathBuf,
    cgroups: PathBuf,
    cap: Option<Bytes>,
}

impl HostMemory {
    /// As the kernel tells; `cap` makes the device smaller than it is.
    pub fn new(cap: Option<Bytes>) -> HostMemory {
        HostMemory { proc: "/proc".into(), cgroups: "/sys/fs/cgroup".into(), cap }
    }

    /// Resident bytes of these processes, each counted once; one that is gone holds nothing.
    fn resident(&self, pids: &[u32]) -> Bytes {
        let pids: BTreeSet<&u32> = pids.iter().collect();
        let pages = pids.into_iter().filter_map(|pid| {
            // proc(5): sizes in pages, the resident one second. `status` says the same and costs more, and
            // this is read for every batch.
            let text = fs::read_to_string(self.proc.join(pid.to_string()).join("statm")).ok()?;
            text.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        Bytes(pages.sum::<u64>() * rustix::param::page_size() as u64)
    }

    /// The limit of this process's groups that leaves least, with what its group uses. The smallest limit is
    /// not always the tightest: a group above may be nearly full of others.
    fn group_limit(&self) -> Option<(Bytes, Bytes)> {
        let own = fs::read_to_string(self.proc.join("self/cgroup")).ok()?;
        let path = own.lines().find_map(|line| line.strip_prefix("0::"))?.trim_start_matches('/');
        let group = self.cgroups.join(path);
        let groups = group.ancestors().take_while(|group| group.starts_with(&self.cgroups));
        let limits = groups.filter_map(|group| {
            let limit = read_number(group, "memory.max")?;
            let current = read_number(group, "memory.current").unwrap_or_default();
            let cache = inactive_file(group).unwrap_or_default();
            Some((limit, current.saturating_sub(cache)))
        });
        limits.min_by_key(|(limit, current)| (limit.saturating_sub(*current), *limit))
    }
}

/// A field of `/proc/meminfo`, which says KiB.
fn meminfo(text: &str, field: &str) -> Option<Bytes> {
    let line = text.lines().find(|line| line.split(':').next() == Some(field))?;
    line.split_whitespace().nth(1)?.parse().ok().map(Bytes::kib)
}

fn read_number(group: &Path, file: &str) -> Option<Bytes> {
    fs::read_to_string(group.join(file)).ok()?.trim().parse().ok().map(Bytes)
}

/// Page cache that the kernel gives up before it kills anything: counted in `memory.current`, and yet free.
fn inactive_file(group: &Path) -> Option<Bytes> {
    let text = fs::read_to_string(group.join("memory.stat")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("inactive_file "))?;
    line.trim().parse().ok().map(Bytes)
}

#[async_trait]
impl Device for HostMemory {
    fn name(&self) -> String {
        "host memory".to_owned()
    }

    fn class(&self) -> DeviceClass {
        DeviceClass("host".to_owned())
    }

    async fn reading(&self, own_pids: &[u32]) -> PortResult<Reading> {
        let text = fs::read_to_string(self.proc.join("meminfo")).unwrap_or_default();
        let missing = |what: &str| PortError::Missing(format!("{what} in {}/meminfo", self.proc.display()));
        let told = |what: &str| meminfo(&text, what).ok_or_else(|| missing(what));
        let (mut total, available) = (told("MemTotal")?, told("MemAvailable")?);
        let mut used = total.saturating_sub(available);
        if let Some((limit, current)) = self.group_limit().filter(|(limit, _)| *limit < total) {
            // What is free outside the group bounds us too.
            used = current.max(limit.saturating_sub(available));
            total = limit;
        }
        let own_bytes = self.resident(own_pids);
        let (total, used, own_bytes) = capped(self.cap, total, used, own_bytes);
        let reclaimable_bytes = Bytes::ZERO;
        Ok(Reading {
            total_bytes: total,
            used_bytes: used,
            own_bytes,
            reclaimable_bytes,
            read_at: SystemClock.now(),
        })
    }

    async fn held(&self, pids: &[u32]) -> PortResult<Bytes> {
        Ok(self.resident(pids))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, HostMemory) {
        let root = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
            fs::write(path, text).expect("a small file");
        }
        let host =
            HostMemory { proc: root.path().join("proc"), cgroups: root.path().join("cgroup"), cap: None };
        (root, host)
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal: 8192 kB\nMemAvailable: 6144 kB\n");

    #[tokio::test]
    async fn without_a_group_the_machine_is_the_device() {
        let (_root, host) = machine(&[MEMINFO, ("proc/7/statm", "900 256 64 1 0 300 0\n")]);
        let reading = host.reading(&[7, 8]).await.expect("a machine");
        let found = (reading.total_bytes, reading.used_bytes, reading.own_bytes);
        let own = Bytes(256 * rustix::param::page_size() as u64);
        assert_eq!(found, (Bytes::mib(8), Bytes::mib(2), own));
        assert_eq!(host.held(&[7, 7, 8]).await, Ok(own));
    }

    #[tokio::test]
    async fn the_tightest_group_limit_rules_and_page_cache_is_free() {
        let (_root, host) = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("cgroup/a/b/memory.max", "max\n"),
            ("cgroup/a/memory.max", "4194304\n"),
            ("cgroup/a/memory.current", "3145728\n"),
            ("cgroup/a/memory.stat", "anon 1\ninactive_file 1048576\n"),
        ]);
        let reading = host.reading(&[]).await.expect("a machine");
        assert_eq!((reading.total_bytes, reading.used_bytes), (Bytes::mib(4), Bytes::mib(2)));
    }

    #[tokio::test]
    async fn a_group_above_that_others_have_filled_is_tighter_than_a_smaller_limit() {
        let (_root, host) = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("cgroup/a/b/memory.max", "2097152\n"),
            ("cgroup/a/b/memory.current", "0\n"),
            ("cgroup/a/memory.max", "4194304\n"),
            ("cgroup/a/memory.current", "3145728\n"),
        ]);
        let reading = host.reading(&[]).await.expect("a machine");
        assert_eq!((reading.total_bytes, reading.used_bytes), (Bytes::mib(4), Bytes::mib(3)));
    }

    #[tokio::test]
    async fn a_machine_without_meminfo_is_an_error_that_says_so() {
        let (_root, host) = machine(&[]);
        assert!(matches!(host.reading(&[]).await, Err(PortError::Missing(_))));
    }
}
