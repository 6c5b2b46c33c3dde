//! What the names below `m/` tell of every job, folded page by page: a few bytes a job, so that a look at a
//! large bucket stays small.

use domain::{JobId, Stage, StateKey, parse_state_key};
use ports::{JobState, Listed};
use std::collections::BTreeSet;

/// What a job's names tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) life: u32,
    pub(crate) has_outcome: bool,
    pub(crate) committed: BTreeSet<Stage>,
}

/// What all jobs' names tell. A LIST is in the order of keys, so a job's names are adjacent.
#[derive(Default)]
pub(crate) struct States {
    /// Sorted once it is closed: job, life, whether that has an outcome, committed stages as bits.
    all: Vec<(JobId, u32, bool, u8)>,
    open: Option<(JobId, Vec<String>)>,
}

impl States {
    /// Adds what a page shows; foreign names are ignored.
    pub(crate) fn add(&mut self, page: Vec<Listed>) {
        for object in page {
            let job = match parse_state_key(&object.key) {
                Some(
                    StateKey::Manifest(job, _) | StateKey::Outcome(job, _) | StateKey::LifeStart(job, _),
                ) => job,
                _ => continue,
            };
            match &mut self.open {
                Some((open, keys)) if *open == job => keys.push(object.key),
                _ => {
                    self.fold();
                    self.open = Some((job, vec![object.key]));
                }
            }
        }
    }

    /// To be called after the last page.
    pub(crate) fn close(mut self) -> States {
        self.fold();
        self.all.sort_unstable();
        self
    }

    fn fold(&mut self) {
        if let Some((job, keys)) = self.open.take() {
            let state = JobState::from_keys(job, keys.iter().map(String::as_str));
            let bits = state.committed.iter().fold(0, |bits, stage| bits | (1 << *stage as u8));
            self.all.push((job, state.life.0, state.has_outcome, bits));
        }
    }

    /// One job's; as at its beginning if it has no names.
    pub(crate) fn of(&self, job: JobId) -> Seen {
        let Ok(at) = self.all.binary_search_by_key(&job, |(of, ..)| *of) else { return Seen::default() };
        let (_, life, has_outcome, bits) = self.all[at];
        let committed = Stage::ALL.into_iter().filter(|stage| bits & (1 << *stage as u8) != 0).collect();
        Seen { life, has_outcome, committed }
    }

    /// From these names alone.
    #[cfg(test)]
    pub(crate) fn from_keys(keys: impl IntoIterator<Item = String>) -> States {
        let (etag, size, last_modified) = (String::new(), domain::Bytes(0), domain::Timestamp(0));
        let mut keys: Vec<String> = keys.into_iter().collect();
        keys.sort();
        let mut states = States::default();
        states.add(
            keys.into_iter().map(|key| Listed { key, etag: etag.clone(), size, last_modified }).collect(),
        );
        states.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Life, life_key, manifest_key, outcome_key};

    #[test]
    fn names_are_folded_by_job() {
        let (a, b, none) = (JobId([1; 16]), JobId([2; 16]), JobId([3; 16]));
        let states = States::from_keys([
            manifest_key(a, Stage::Preprocess),
            manifest_key(a, Stage::Shape),
            outcome_key(a, Life(0)),
            life_key(a, Life(1)),
            outcome_key(b, Life(0)),
            "m/foreign".to_owned(),
        ]);
        let committed = BTreeSet::from([Stage::Preprocess, Stage::Shape]);
        assert_eq!(states.of(a), Seen { life: 1, has_outcome: false, committed });
        assert_eq!(states.of(b), Seen { life: 0, has_outcome: true, committed: BTreeSet::new() });
        assert_eq!(states.of(none), Seen::default());
    }
}
