//! The sampling profiler of this process: a hundred times in a second of computing, the stack of whoever
//! computes. A process has one, so two cannot sample at once.

use flate2::Compression;
use flate2::write::GzEncoder;
use gateway::Unsampled;
use pprof::protos::{Message, Profile};
use pprof::{ProfilerGuard, ProfilerGuardBuilder};
use std::io::Write;
use std::time::Duration;

/// Not a round number: what happens at every tick of some clock would be seen always or never.
const PER_SECOND: i32 = 99;
/// Whoever is interrupted within these is left out: their stacks cannot be walked safely.
const LEFT_OUT: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// Samples, until it is ended or dropped.
pub(crate) struct Sampling(ProfilerGuard<'static>);

impl Sampling {
    pub(crate) fn start() -> Result<Sampling, Unsampled> {
        let builder = ProfilerGuardBuilder::default().frequency(PER_SECOND).blocklist(&LEFT_OUT);
        match builder.build() {
            Ok(guard) => Ok(Sampling(guard)),
            Err(pprof::Error::Running) => Err(Unsampled::Busy),
            Err(error) => Err(Unsampled::Failed(error.to_string())),
        }
    }

    /// What was seen. Finding the names of functions takes a second of computing and some 100 MB.
    pub(crate) fn end(self) -> Result<Profile, Unsampled> {
        let report = self.0.report().build().and_then(|report| report.pprof());
        report.map_err(|error| Unsampled::Failed(error.to_string()))
    }
}

/// As `go tool pprof` reads it.
pub(crate) fn gzipped(profile: &Profile) -> std::io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&profile.encode_to_vec())?;
    gzip.finish()
}

/// Samples this process for so long, for its gateway.
pub(crate) async fn sample(span: Duration) -> Result<Vec<u8>, Unsampled> {
    let sampling = Sampling::start()?;
    tokio::time::sleep(span).await;
    let end = tokio::task::spawn_blocking(move || {
        gzipped(&sampling.end()?).map_err(|error| Unsampled::Failed(error.to_string()))
    });
    end.await.map_err(|error| Unsampled::Failed(error.to_string()))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flame::Stacks;

    #[inline(never)]
    fn spin_until_it_is_seen(rounds: u64) -> u64 {
        (0..rounds * 1_000_000).fold(1, |a, n| std::hint::black_box(a ^ n).rotate_left(7))
    }

    /// One test, since a process has one sampler.
    #[test]
    fn a_function_that_computes_is_in_the_samples_by_its_name_and_two_never_sample_at_once() {
        let sampling = Sampling::start().expect("nobody samples");
        assert!(matches!(Sampling::start(), Err(Unsampled::Busy)));
        std::hint::black_box(spin_until_it_is_seen(400));
        let gzip = gzipped(&sampling.end().expect("samples")).expect("memory");
        assert_eq!(gzip[..2], [0x1f, 0x8b]);
        let stacks = Stacks::read(&gzip).expect("a profile");
        assert!(stacks.svg("here").contains("spin_until_it_is_seen"), "{:?}", stacks.busiest(20));
        drop(Sampling::start().expect("it has ended"));
    }
}
