//! The collector's decision (step G of the protocol): which objects below `a/` nothing needs any more. Pure.
//!
//! Ages are fixed before `m/` is listed. So an attempt that is older than the grace and that no manifest
//! names in that later LIST will never be named by one (A4), and deleting it loses nothing.

use domain::{AttemptId, Bytes, JobId, Life, Stage, StateKey, Timestamp, outcome_key, parse_state_key};
use ports::{JobState, Listed};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// An artifact or attempt marker, as a LIST of `a/` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactSeen {
    /// Its key.
    pub key: String,
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: Stage,
    /// The attempt.
    pub attempt: AttemptId,
    /// Whether it is the attempt's marker.
    pub is_marker: bool,
    /// Its size.
    pub size: Bytes,
    /// How old it was before `m/` was listed.
    pub age: Duration,
}

/// What a LIST of `a/` shows, with ages at `now`, which must be a moment before `m/` is listed. Foreign
/// names are ignored and so never deleted.
pub fn artifacts_seen(now: Timestamp, listed: Vec<Listed>) -> Vec<ArtifactSeen> {
    let seen = listed.into_iter().filter_map(|object| {
        let (job, stage, attempt, is_marker) = match parse_state_key(&object.key)? {
            StateKey::Artifact(job, stage, attempt, _) => (job, stage, attempt, false),
            StateKey::AttemptMarker(job, stage, attempt) => (job, stage, attempt, true),
            _ => return None,
        };
        let age = now.since(object.last_modified);
        Some(ArtifactSeen { key: object.key, job, stage, attempt, is_marker, size: object.size, age })
    });
    seen.collect()
}

/// A job, as a LIST of `m/` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSeen {
    /// Its life, whether that has ended, what is committed.
    pub state: JobState,
    /// When its current life ended, by the store's clock.
    pub ended_at: Option<Timestamp>,
}

/// The jobs of a LIST of `m/`.
pub fn jobs_seen(listed: &[Listed]) -> BTreeMap<JobId, JobSeen> {
    let mut objects: BTreeMap<JobId, Vec<&Listed>> = BTreeMap::new();
    for object in listed {
        let job = match parse_state_key(&object.key) {
            Some(StateKey::Manifest(job, _) | StateKey::Outcome(job, _) | StateKey::LifeStart(job, _)) => job,
            _ => continue,
        };
        objects.entry(job).or_default().push(object);
    }
    let seen = objects.into_iter().map(|(job, objects)| {
        let state = JobState::from_keys(job, objects.iter().map(|object| object.key.as_str()));
        let outcome = outcome_key(job, state.life);
        let ended_at = objects.iter().find(|object| object.key == outcome).map(|object| object.last_modified);
        (job, JobSeen { state, ended_at })
    });
    seen.collect()
}

/// What the names alone do not tell, and must be read before a plan is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// Manifests to read: stages that are committed and have more than one attempt, one of them older than
    /// the grace.
    pub winners: BTreeSet<(JobId, Stage)>,
    /// Outcomes to read: ended jobs that still have intermediates.
    pub expiries: BTreeSet<(JobId, Life)>,
}

/// What was read. What is missing here is not deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// The attempt that a manifest names.
    pub winners: BTreeMap<(JobId, Stage), AttemptId>,
    /// When the intermediates of a job expire, by its outcome. An outcome never changes: this is kept from
    /// run to run.
    pub expiries: BTreeMap<(JobId, Life), Expiry>,
}

/// What an outcome says of artifacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// When intermediates are no longer needed.
    pub at: Timestamp,
    /// Whether the files of `export` are the job's result, and stay. Those of a job that ended otherwise go
    /// with its intermediates.
    pub has_result: bool,
}

/// What must be read before anything can be planned.
pub fn questions(grace: Duration, seen: &[ArtifactSeen], jobs: &BTreeMap<JobId, JobSeen>) -> Questions {
    let mut attempts: BTreeMap<(JobId, Stage), (BTreeSet<AttemptId>, bool)> = BTreeMap::new();
    let mut questions = Questions::default();
    for object in seen.iter().filter(|object| !object.is_marker) {
        let Some(job) = jobs.get(&object.job) else { continue };
        if job.state.has_outcome && object.stage != Stage::Export {
            questions.expiries.insert((object.job, job.state.life));
        }
        if job.state.committed.contains(&object.stage) {
            let (ids, any_old) = attempts.entry((object.job, object.stage)).or_default();
            ids.insert(object.attempt);
            *any_old |= object.age > grace;
        }
    }
    let unclear = attempts.into_iter().filter(|(_, (ids, any_old))| ids.len() > 1 && *any_old);
    questions.winners = unclear.map(|(stage, _)| stage).collect();
    questions
}

/// Why an object may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Litter {
    /// Its attempt lost, or died before it could commit.
    Unreferenced,
    /// A marker that no decision needs any more.
    Marker,
    /// An intermediate whose time has come.
    Expired,
}

impl Litter {
    /// As in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Litter::Unreferenced => "unreferenced",
            Litter::Marker => "marker",
            Litter::Expired => "expired",
        }
    }
}

/// The keys that nothing needs any more, and why. `now` is the moment of the ages.
pub fn plan_collection(
    now: Timestamp,
    grace: Duration,
    seen: &[ArtifactSeen],
    jobs: &BTreeMap<JobId, JobSeen>,
    answers: &Answers,
) -> Vec<(String, Litter)> {
    let unknown = JobSeen { state: JobState::from_keys(JobId([0; 16]), []), ended_at: None };
    let litter = seen.iter().filter_map(|object| {
        let state = &jobs.get(&object.job).unwrap_or(&unknown).state;
        let committed = state.committed.contains(&object.stage);
        let why = if object.is_marker {
            (committed || state.has_outcome).then_some(Litter::Marker)
        } else if has_expired(now, grace, object, state, answers) {
            Some(Litter::Expired)
        } else if object.age <= grace {
            None
        } else if committed {
            let winner = answers.winners.get(&(object.job, object.stage));
            winner.is_some_and(|winner| *winner != object.attempt).then_some(Litter::Unreferenced)
        } else {
            Some(Litter::Unreferenced)
        };
        why.map(|why| (object.key.clone(), why))
    });
    litter.collect()
}

/// A grace after the time in the outcome, so that a redrive that was allowed just before still finds its
/// inputs.
fn has_expired(
    now: Timestamp,
    grace: Duration,
    object: &ArtifactSeen,
    state: &JobState,
    answers: &Answers,
) -> bool {
    let Some(expiry) = answers.expiries.get(&(object.job, state.life)) else { return false };
    let stays = object.stage == Stage::Export && expiry.has_result;
    !stays && state.has_outcome && now > expiry.at + grace
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{artifact_key, attempt_marker_key, life_key, manifest_key};

    const NOW: Timestamp = Timestamp(10_000_000);
    const GRACE: Duration = Duration::from_secs(1000);
    const OLD: u64 = 8_000_000;
    const YOUNG: u64 = 9_500_000;
    const JOB: JobId = JobId([1; 16]);

    fn listed(key: String, at: u64) -> Listed {
        Listed { key, etag: "e".to_owned(), size: Bytes(10), last_modified: Timestamp(at) }
    }

    fn artifact(stage: Stage, attempt: u8, at: u64) -> Listed {
        listed(artifact_key(JOB, stage, AttemptId([attempt; 16]), "x"), at)
    }

    fn marker(stage: Stage, attempt: u8) -> Listed {
        listed(attempt_marker_key(JOB, stage, AttemptId([attempt; 16])), OLD)
    }

    fn state(key: String) -> Listed {
        listed(key, OLD)
    }

    /// The names of `a`, those of `m`, what the manifests of shape and the outcomes say, and which of `a` go.
    fn check(a: &[Listed], m: &[Listed], winner: u8, expires: u64, expect: &[(usize, Litter)]) {
        check_ended(a, m, winner, Expiry { at: Timestamp(expires), has_result: true }, expect);
    }

    fn check_ended(a: &[Listed], m: &[Listed], winner: u8, expiry: Expiry, expect: &[(usize, Litter)]) {
        let seen = artifacts_seen(NOW, a.to_vec());
        let jobs = jobs_seen(m);
        let asked = questions(GRACE, &seen, &jobs);
        let answers = Answers {
            winners: asked.winners.iter().map(|at| (*at, AttemptId([winner; 16]))).collect(),
            expiries: asked.expiries.iter().map(|at| (*at, expiry)).collect(),
        };
        let expect: Vec<_> = expect.iter().map(|(n, why)| (a[*n].key.clone(), *why)).collect();
        assert_eq!(plan_collection(NOW, GRACE, &seen, &jobs, &answers), expect);
    }

    #[test]
    fn an_attempt_without_manifest_goes_after_the_grace_and_not_before() {
        let a = [artifact(Stage::Shape, 1, OLD), artifact(Stage::Shape, 2, YOUNG)];
        check(&a, &[], 0, 0, &[(0, Litter::Unreferenced)]);
    }

    #[test]
    fn the_losers_of_a_committed_stage_go_and_the_winner_stays() {
        let a = [
            artifact(Stage::Shape, 1, OLD),
            artifact(Stage::Shape, 2, OLD),
            artifact(Stage::Shape, 3, YOUNG),
        ];
        check(&a, &[state(manifest_key(JOB, Stage::Shape))], 2, 0, &[(0, Litter::Unreferenced)]);
    }

    #[test]
    fn a_single_attempt_of_a_committed_stage_is_the_winner_and_nothing_is_read() {
        let a = [artifact(Stage::Shape, 1, OLD)];
        let m = [state(manifest_key(JOB, Stage::Shape))];
        let (seen, jobs) = (artifacts_seen(NOW, a.to_vec()), jobs_seen(&m));
        assert_eq!(questions(GRACE, &seen, &jobs), Questions::default());
        check(&a, &m, 9, 0, &[]);
    }

    #[test]
    fn nothing_is_deleted_on_a_missing_answer() {
        let a = [artifact(Stage::Shape, 1, OLD), artifact(Stage::Shape, 2, OLD)];
        let m = [state(manifest_key(JOB, Stage::Shape)), state(outcome_key(JOB, Life(0)))];
        let (seen, jobs) = (artifacts_seen(NOW, a.to_vec()), jobs_seen(&m));
        assert_eq!(plan_collection(NOW, GRACE, &seen, &jobs, &Answers::default()), []);
    }

    #[test]
    fn markers_stay_while_they_are_counted() {
        let a = [marker(Stage::Preprocess, 1), marker(Stage::Shape, 2)];
        check(&a, &[], 0, 0, &[]);
        let committed = state(manifest_key(JOB, Stage::Preprocess));
        check(&a, std::slice::from_ref(&committed), 0, 0, &[(0, Litter::Marker)]);
        let ended = state(outcome_key(JOB, Life(0)));
        check(&a, std::slice::from_ref(&ended), 0, 0, &[(0, Litter::Marker), (1, Litter::Marker)]);
        // It lives again: what the new life counts is decided by the content of the markers.
        check(&a, &[ended, state(life_key(JOB, Life(1)))], 0, 0, &[]);
    }

    #[test]
    fn intermediates_go_when_the_outcome_says_so_and_exports_artifacts_only_if_they_are_no_result() {
        let all = Stage::ALL;
        let a: Vec<Listed> = all.iter().map(|stage| artifact(*stage, 1, OLD)).collect();
        let mut m: Vec<Listed> = all.iter().map(|stage| state(manifest_key(JOB, *stage))).collect();
        let long_ago = NOW.0 - 1_000_001;
        check(&a, &m, 1, long_ago, &[]);
        m.push(state(outcome_key(JOB, Life(0))));
        check(&a, &m, 1, NOW.0, &[]);
        check(&a, &m, 1, long_ago + 1, &[]);
        let expired = [(0, Litter::Expired), (1, Litter::Expired), (2, Litter::Expired)];
        check(&a, &m, 1, long_ago, &expired);
        let cancelled = Expiry { at: Timestamp(long_ago), has_result: false };
        let with_export = [expired.as_slice(), &[(3, Litter::Expired)]].concat();
        check_ended(&a, &m, 1, cancelled, &with_export);
        m.push(state(life_key(JOB, Life(1))));
        check(&a, &m, 1, long_ago, &[]);
    }

    #[test]
    fn foreign_names_are_never_deleted() {
        let a = [listed("a/readme.txt".to_owned(), 0), listed(format!("a/{JOB}/shape/not-an-attempt/x"), 0)];
        check(&a, &[], 0, 0, &[]);
    }
}
