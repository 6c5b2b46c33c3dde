//! A job's profile, read from what it left in the bucket: its record, the manifests of its stages and its
//! outcome. Needs no timing that was published on the way. It reads nothing itself.
//!
//! ```text
//! stage       from its task's publication to the next one's, the last to the outcome
//! queued      published -> drawn           planned  drawn -> accepted       fetch  accepted -> fetched
//! load        fetched -> started           (runner and turn)
//! compute     started -> computed          store    computed -> stored        commit stored -> stage's end
//! intake      accepted by ingest -> first task published: before the first stage
//! ```
//! Marks come from several clocks. A mark before the one it follows counts as equal to it, and by how much is
//! told as `clock_skew_ms`; so phases sum to their stage and stages to the job, always.

use crate::pipeline::{Part, PipelineProfile, StageProfile};
use domain::{Ending, JobId, JobRecord, Manifest, Outcome, Stage, Timestamp};
use std::collections::BTreeMap;

/// Objects that do not belong together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// A manifest or outcome of another job.
    #[error("job {found} is not {expected}")]
    Job {
        /// The record's job.
        expected: JobId,
        /// The other one.
        found: JobId,
    },
    /// Two manifests of one stage.
    #[error("two manifests of {0}")]
    Twice(Stage),
}

/// Walks along marks that never go back.
struct Walk {
    at: Timestamp,
    skew_ms: u64,
}

impl Walk {
    /// Microseconds to the next mark. One that was never set is passed over.
    fn to(&mut self, mark: Timestamp) -> u64 {
        if mark == Timestamp::default() {
            return 0;
        }
        self.skew_ms = self.skew_ms.saturating_add(self.at.0.saturating_sub(mark.0));
        let span = mark.0.saturating_sub(self.at.0);
        self.at = self.at.max(mark);
        span.saturating_mul(1_000)
    }
}

/// The profile of a job: complete once there is an outcome and no manifest between is missing, otherwise up
/// to its last mark. A stage that ended the job without a manifest is told as part `attempts`.
///
/// # Errors
/// [`Mismatch`]: the objects are not those of one job.
pub fn rebuild(
    record: &JobRecord,
    manifests: &[Manifest],
    outcome: Option<&Outcome>,
) -> Result<PipelineProfile, Mismatch> {
    let job = record.job_id();
    let of_job = |found: JobId| {
        if found == job { Ok(()) } else { Err(Mismatch::Job { expected: job, found }) }
    };
    let mut by_stage: BTreeMap<Stage, &Manifest> = BTreeMap::new();
    for manifest in manifests {
        of_job(manifest.job)?;
        if by_stage.insert(manifest.stage, manifest).is_some() {
            return Err(Mismatch::Twice(manifest.stage));
        }
    }
    outcome.map_or(Ok(()), |outcome| of_job(outcome.job))?;
    let begin = record.accepted_at;
    let mut walk = Walk { at: begin, skew_ms: 0 };
    let ended_at = outcome.map_or(Timestamp::default(), |outcome| outcome.decided_at);
    let mut stages: Vec<StageProfile> = Vec::new();
    let list: Vec<&Manifest> = by_stage.values().copied().collect();
    let first = list.first().map_or(Timestamp::default(), |manifest| manifest.marks.published_at);
    let intake_us = walk.to(first);
    for (n, manifest) in list.iter().enumerate() {
        let next = list.get(n + 1).map(|next| next.marks.published_at);
        let last_of_all = manifest.stage == Stage::Export || outcome.is_none();
        let until = next.unwrap_or(if last_of_all { ended_at } else { Timestamp::default() });
        stages.push(of_stage(&mut walk, begin, manifest, until));
    }
    let unfinished = list.last().map_or(Some(Stage::Preprocess), |manifest| manifest.stage.next());
    if let (Some(stage), Some(outcome)) = (unfinished, outcome) {
        let stage = match outcome.ending {
            Ending::Dead { stage, .. } => stage,
            _ => stage,
        };
        let begins_us = since(begin, walk.at);
        let us = walk.to(outcome.decided_at);
        let parts = vec![Part { name: "attempts".to_owned(), us }];
        stages.push(StageProfile {
            name: stage.to_string(),
            begins_us,
            wall_us: us,
            parts,
            unaccounted_us: 0,
        });
    }
    let gaps = list.windows(2).any(|two| two[0].stage.next() != Some(two[1].stage));
    let starts = list.first().is_none_or(|manifest| manifest.stage == Stage::Preprocess);
    let mut metadata = facts(record, &list, outcome);
    metadata.insert("intake_ms".to_owned(), (intake_us / 1_000).to_string());
    metadata.insert("clock_skew_ms".to_owned(), walk.skew_ms.to_string());
    Ok(PipelineProfile {
        name: job.to_string(),
        metadata,
        begins_us: begin.0.saturating_mul(1_000),
        wall_us: since(begin, walk.at),
        unaccounted_us: intake_us,
        stages,
        nested: Vec::new(),
        complete: outcome.is_some() && !gaps && starts,
    })
}

fn of_stage(walk: &mut Walk, begin: Timestamp, manifest: &Manifest, until: Timestamp) -> StageProfile {
    let begins_us = since(begin, walk.at);
    let marks = &manifest.marks;
    // An older worker did not say when the planner had drawn it.
    let drawn_at = if marks.drawn_at == Timestamp::default() { marks.accepted_at } else { marks.drawn_at };
    let ends = [
        ("queued", drawn_at),
        ("planned", marks.accepted_at),
        ("fetch", marks.fetched_at),
        ("load", marks.started_at),
        ("compute", marks.computed_at),
        ("store", marks.stored_at),
        ("commit", until),
    ];
    let parts: Vec<Part> =
        ends.into_iter().map(|(name, mark)| Part { name: name.to_owned(), us: walk.to(mark) }).collect();
    let wall_us = parts.iter().map(|part| part.us).sum();
    StageProfile { name: manifest.stage.to_string(), begins_us, wall_us, parts, unaccounted_us: 0 }
}

fn since(begin: Timestamp, at: Timestamp) -> u64 {
    at.0.saturating_sub(begin.0).saturating_mul(1_000)
}

fn facts(record: &JobRecord, list: &[&Manifest], outcome: Option<&Outcome>) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::from([
        ("bucket".to_owned(), record.upload.bucket.clone()),
        ("key".to_owned(), record.upload.key.clone()),
        ("tenant".to_owned(), record.tenant.to_string()),
        ("class".to_owned(), record.class.to_string()),
        ("size_bytes".to_owned(), record.upload.size_bytes.0.to_string()),
        ("outcome".to_owned(), outcome.map_or("none yet", |outcome| outcome.ending.as_str()).to_owned()),
    ]);
    for manifest in list {
        let engine = format!("{} {}", manifest.engine.name, manifest.engine.version);
        facts.insert(format!("engine.{}", manifest.stage), engine);
        facts.insert(format!("worker.{}", manifest.stage), manifest.marks.clock.clone());
        facts.insert(format!("life.{}", manifest.stage), manifest.life.to_string());
    }
    facts
}

#[cfg(test)]
mod tests;
