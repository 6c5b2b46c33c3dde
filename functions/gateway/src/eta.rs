//! What is left of jobs on their way: `profile`'s model, asked with what the events, the board of devices and
//! the timings of late tell at this moment. Nothing here is learned.

use crate::Gateway;
use crate::devices;
use crate::index::{Index, Known, Place};
use crate::timings::{self, Analysis};
use domain::{DeviceEntry, JobId, Manifest, RunningBatch, Stage, Timestamp};
use profile::{Ahead, Eta, JobNow};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How old the analysis may be that the line's speed is read from: it changes slowly, and every page of the
/// list asks.
const PATIENCE: Duration = Duration::from_secs(5);

/// Jobs at each stage: waiting and running.
type Counts = [[u64; 2]; Stage::ALL.len()];

/// Jobs that have not ended, in the order of their acceptance.
struct Line {
    jobs: Vec<(Place, Stage, bool)>,
    /// Of those before each of them, and of all at the end.
    before: Vec<Counts>,
}

impl Line {
    fn of(index: &Index) -> Line {
        let open = index.jobs.iter().filter(|(_, known)| !known.has_ended());
        let open = open.map(|(job, known)| {
            let place = (known.seen_at, *job);
            (place, known.stage().unwrap_or(Stage::Export), known.running.is_some())
        });
        let mut jobs: Vec<_> = open.collect();
        jobs.sort_unstable();
        let mut sum = Counts::default();
        let mut before = vec![sum];
        for (_, stage, is_running) in &jobs {
            sum[*stage as usize][usize::from(*is_running)] += 1;
            before.push(sum);
        }
        Line { jobs, before }
    }

    /// How many were accepted before this place.
    fn ahead(&self, place: Place) -> usize {
        self.jobs.partition_point(|(of, ..)| *of < place)
    }
}

/// Jobs that have not ended, at each stage: waiting and running.
pub(crate) fn queue(index: &Index) -> [(Stage, [u64; 2]); Stage::ALL.len()] {
    let mut all = Counts::default();
    for known in index.jobs.values().filter(|known| !known.has_ended()) {
        let stage = known.stage().unwrap_or(Stage::Export);
        all[stage as usize][usize::from(known.running.is_some())] += 1;
    }
    Stage::ALL.map(|stage| (stage, all[stage as usize]))
}

/// What is known of the moment, for any number of jobs.
pub(crate) struct Outlook<'a> {
    gateway: &'a Gateway,
    line: Line,
    devices: Arc<Vec<DeviceEntry>>,
    analysis: Option<Arc<Analysis>>,
    now: Timestamp,
}

/// What is told of one job.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// From 1; none once it has ended.
    pub(crate) queue_position: Option<usize>,
    /// None once it has ended, and while one of its stages was never measured.
    pub(crate) eta: Option<Eta>,
}

impl Outlook<'_> {
    /// Of this moment.
    pub(crate) async fn of(gateway: &Gateway) -> Outlook<'_> {
        Outlook {
            gateway,
            devices: devices::recent(gateway).await,
            analysis: timings::recent(gateway, PATIENCE).await.ok(),
            now: gateway.ports.clock.now(),
            line: Line::of(&gateway.hub.read()),
        }
    }

    /// Of a job, with the manifests that somebody has read already: they tell how fast it went so far.
    pub(crate) fn job(&self, job: JobId, known: &Known, manifests: &[Manifest]) -> Told {
        if known.has_ended() {
            return Told::default();
        }
        let place = (known.seen_at, job);
        let ahead = self.line.ahead(place);
        let queue_position = Some(ahead + 1);
        let now = self.job_now(job, known, manifests);
        let wait = self.wait(&now, ahead);
        let eta = self.gateway.timings.with_model(|model| model.estimate(&now, wait));
        // Every stage is done, and the outcome is being decided: nothing of this is left to be told.
        let eta = eta.filter(|_| now.stage.is_some());
        Told { queue_position, eta }
    }

    fn job_now(&self, job: JobId, known: &Known, manifests: &[Manifest]) -> JobNow {
        let stage = known.stage();
        let batch = self.batches().find(|batch| Some(batch.stage) == stage && batch.jobs.contains(&job));
        let running = known.running.as_ref().filter(|(of, ..)| Some(*of) == stage);
        let computing = running.map(|(_, fraction, _)| (self.now.since(known.started_at), *fraction));
        let accepted = batch.map(|batch| self.now.since(batch.since));
        let of_this_life = manifests.iter().filter(|manifest| manifest.life.0 == known.life);
        let behind = of_this_life
            .map(|manifest| (manifest.stage, manifest.marks.stored_at.since(manifest.marks.accepted_at)));
        JobNow {
            kind: known.kind.clone().unwrap_or_default(),
            stage,
            working: accepted.or(computing.map(|(spent, _)| spent)),
            batch_items: batch.and_then(|batch| u32::try_from(batch.jobs.len()).ok()),
            computing,
            behind: behind.collect(),
        }
    }

    /// How long the line before a job takes, from the first stage at which it still waits; none while nobody
    /// can tell.
    fn wait(&self, now: &JobNow, ahead: usize) -> Option<Duration> {
        let stage = now.stage?;
        let Some(from) = (if now.working.is_some() { stage.next() } else { Some(stage) }) else {
            return Some(Duration::ZERO);
        };
        let counts = &self.line.before[ahead];
        let at = |stage: Stage| {
            let [waiting, running] = counts[stage as usize];
            let batches = self.batches().filter(|batch| batch.stage == stage).count() as u64;
            // The board may not be there to tell, or be a little older than the events.
            let batches = if self.devices.is_empty() { running } else { batches.min(running) };
            (stage, Ahead { waiting, running, batches })
        };
        let ahead: BTreeMap<Stage, Ahead> = Stage::ALL.into_iter().map(at).collect();
        self.analysis.as_ref()?.capacity.wait(from, &ahead)
    }

    fn batches(&self) -> impl Iterator<Item = &RunningBatch> {
        self.devices.iter().flat_map(|entry| &entry.running).filter(|batch| !batch.waits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Event, EventKind, Life};

    #[test]
    fn the_line_is_that_of_acceptance_and_counts_each_job_where_it_is() {
        let mut index = Index::default();
        let job = |n: u8| JobId([n; 16]);
        let mut hear = |n: u8, kind: EventKind| {
            index.hear(1, &Event { job: job(n), life: Life(0), at: Timestamp(u64::from(n)), kind });
        };
        let accepted = || EventKind::Accepted { bucket: "b".into(), key: "k".into(), upload: None };
        (1..=4).rev().for_each(|n| hear(n, accepted()));
        hear(2, EventKind::Finished);
        hear(3, EventKind::StageDone { stage: Stage::Preprocess });
        hear(3, EventKind::Started { stage: Stage::Shape });
        let line = Line::of(&index);
        let ahead = |n: u8| line.ahead((Timestamp(u64::from(n)), job(n)));
        assert_eq!([1, 3, 4, 5].map(ahead), [0, 1, 2, 3]);
        let none = [0, 0];
        assert_eq!(line.before[2], [[1, 0], [0, 1], none, none]);
        assert_eq!(line.before[3], [[2, 0], [0, 1], none, none]);
    }
}
