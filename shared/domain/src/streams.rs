//! The one table that declares streams and boards. Tests, `up` and production create-or-verify from it.

use crate::Bytes;
use std::time::Duration;

/// What happens to a message that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Gone once acknowledged.
    WorkQueue,
    /// Stays until a limit is reached.
    Limits,
}

/// What gives way when a limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// The new message is refused.
    New,
    /// The oldest message goes.
    Old,
}

/// Where a stream or board lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// On disk.
    File,
    /// In memory.
    Memory,
}

/// One stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    /// Its name.
    pub name: &'static str,
    /// Its subjects.
    pub subjects: &'static str,
    /// See [`Retention`].
    pub retention: Retention,
    /// See [`Discard`].
    pub discard: Discard,
    /// See [`Medium`].
    pub medium: Medium,
    /// At most one message per subject, and a second one is refused: that is the dedupe.
    pub one_per_subject: bool,
    /// Oldest message; none for a queue that keeps its work.
    pub age_max: Option<Duration>,
    /// Size of the stream.
    pub bytes_max: Bytes,
    /// Size of a message.
    pub message_bytes_max: Bytes,
    /// How long a message id is remembered.
    pub duplicate_window: Duration,
    /// Nobody may purge it.
    pub deny_purge: bool,
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const DUPLICATES: Duration = Duration::from_secs(120);

/// S3 events.
pub const UPLOADS: StreamSpec = StreamSpec {
    name: "UPLOADS",
    subjects: "s3ev.*",
    retention: Retention::WorkQueue,
    discard: Discard::New,
    medium: Medium::File,
    one_per_subject: false,
    age_max: Some(Duration::from_secs(7 * 24 * 3600)),
    bytes_max: Bytes::gib(4),
    message_bytes_max: Bytes::kib(64),
    duplicate_window: Duration::from_secs(600),
    deny_purge: false,
};

/// Tasks. No message ids here: they would swallow a redrive for the length of the window.
pub const TASKS: StreamSpec = StreamSpec {
    name: "TASKS",
    subjects: "task.*.*.*.*",
    retention: Retention::WorkQueue,
    discard: Discard::New,
    medium: Medium::File,
    one_per_subject: true,
    age_max: None,
    bytes_max: Bytes::gib(8),
    message_bytes_max: Bytes::kib(64),
    duplicate_window: DUPLICATES,
    deny_purge: true,
};

/// Dead letters.
pub const DEAD: StreamSpec = StreamSpec {
    name: "DEAD",
    subjects: "dead.*.*",
    retention: Retention::Limits,
    discard: Discard::Old,
    medium: Medium::File,
    one_per_subject: false,
    age_max: Some(Duration::from_secs(30 * 24 * 3600)),
    bytes_max: Bytes::gib(2),
    message_bytes_max: Bytes::kib(128),
    duplicate_window: DUPLICATES,
    deny_purge: false,
};

/// Timings.
pub const TIMINGS: StreamSpec = StreamSpec {
    name: "TIMINGS",
    subjects: "timing.*",
    retention: Retention::Limits,
    discard: Discard::Old,
    medium: Medium::File,
    one_per_subject: false,
    age_max: Some(Duration::from_secs(7 * 24 * 3600)),
    bytes_max: Bytes::gib(2),
    message_bytes_max: Bytes::kib(64),
    duplicate_window: DUPLICATES,
    deny_purge: false,
};

/// Events for people; `Last-Event-ID` is the sequence in this stream.
pub const EVENTS: StreamSpec = StreamSpec {
    name: "EVENTS",
    subjects: "event.*.*",
    retention: Retention::Limits,
    discard: Discard::Old,
    medium: Medium::Memory,
    one_per_subject: false,
    age_max: Some(DAY),
    bytes_max: Bytes::gib(1),
    message_bytes_max: Bytes::kib(64),
    duplicate_window: DUPLICATES,
    deny_purge: false,
};

/// All streams.
pub const STREAMS: [StreamSpec; 5] = [UPLOADS, TASKS, DEAD, TIMINGS, EVENTS];

/// One board: the latest value of each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoardSpec {
    /// Its name.
    pub name: &'static str,
    /// See [`Medium`].
    pub medium: Medium,
    /// An entry not rewritten for this long is gone.
    pub age_max: Option<Duration>,
    /// Values kept per key.
    pub history: u8,
    /// Size of the board.
    pub bytes_max: Bytes,
}

/// Each worker's own entry.
pub const DEVICES: BoardSpec = BoardSpec {
    name: "devices",
    medium: Medium::Memory,
    age_max: Some(Duration::from_secs(15)),
    history: 1,
    bytes_max: Bytes::mib(64),
};

/// One active planner per shard.
pub const LEASE: BoardSpec = BoardSpec {
    name: "lease",
    medium: Medium::Memory,
    age_max: Some(Duration::from_secs(10)),
    history: 1,
    bytes_max: Bytes::mib(1),
};

/// What was learned survives restarts.
pub const FOOTPRINTS: BoardSpec = BoardSpec {
    name: "footprints",
    medium: Medium::File,
    age_max: None,
    history: 5,
    bytes_max: Bytes::mib(256),
};

/// All boards.
pub const BOARDS: [BoardSpec; 3] = [DEVICES, LEASE, FOOTPRINTS];

/// Most items of a batch.
pub const BATCH_ITEMS_MAX: usize = 64;
/// Most devices that one broker's workers own.
pub const DEVICES_MAX: usize = 128;
/// Deliveries that a consumer may have in flight: two of the largest batches for each device, one that runs
/// and one that is planned.
pub const ACK_PENDING_MAX: usize = 2 * DEVICES_MAX * BATCH_ITEMS_MAX;

/// The times that the protocol's rules relate to each other. Tests scale all of them by one factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// A delivery not extended for this long is delivered again.
    pub ack_wait: Duration,
    /// Whoever holds a token extends it this often.
    pub extend_every: Duration,
    /// Offers are repeated this often, at the latest.
    pub offer_every: Duration,
    /// A worker's board entry and a planner's lease are renewed this often.
    pub renew_every: Duration,
    /// The planner waits this long for a worker's answer.
    pub run_answer: Duration,
    /// A job without outcome and older than this is swept.
    pub sweep_age_min: Duration,
    /// Shortest time between two sweeps.
    pub sweep_every_min: Duration,
    /// Compute without progress for this long is a stall.
    pub stall_min: Duration,
    /// Longest fetch, load, store or commit of a task, and with it the longest PUT.
    pub phase_max: Duration,
    /// Longest wait of a fetched task behind its neighbours in a batch.
    pub wait_max: Duration,
}

impl Times {
    /// As in production.
    pub const PRODUCTION: Times = Times {
        ack_wait: Duration::from_secs(10),
        extend_every: Duration::from_secs(3),
        offer_every: Duration::from_secs(5),
        renew_every: Duration::from_secs(3),
        run_answer: Duration::from_millis(500),
        sweep_age_min: Duration::from_secs(120),
        sweep_every_min: Duration::from_secs(60),
        stall_min: Duration::from_secs(60),
        phase_max: Duration::from_secs(120),
        wait_max: Duration::from_secs(3600),
    };

    /// All times divided by `factor`, for tests; the planner's patience for an answer stays, since machines
    /// do not get faster.
    pub fn scaled(self, factor: u32) -> Times {
        let times = Times {
            ack_wait: self.ack_wait / factor,
            extend_every: self.extend_every / factor,
            offer_every: self.offer_every / factor,
            renew_every: self.renew_every / factor,
            run_answer: self.run_answer,
            sweep_age_min: self.sweep_age_min / factor,
            sweep_every_min: self.sweep_every_min / factor,
            stall_min: self.stall_min / factor,
            phase_max: self.phase_max / factor,
            wait_max: self.wait_max / factor,
        };
        times.check();
        times
    }

    /// How old an attempt must be before the collector may take its objects: no manifest can name it any
    /// more. An attempt's age counts from its first artifact.
    pub fn grace(&self) -> Duration {
        2 * (self.phase_max * 2 + self.stall_min * 4 + self.ack_wait * 3)
    }

    /// How long after its attempt's first artifact the PUT of a manifest may begin (A4). It then takes at
    /// most `phase_max`, which ends in the first half of the grace; the other half is for a request that
    /// outlives the one who sent it.
    pub fn commit_begins_max(&self) -> Duration {
        (self.grace() / 2).saturating_sub(self.phase_max)
    }

    /// The relations that the protocol rests on.
    ///
    /// # Panics
    /// When a relation does not hold; they are constants of the program or of a test.
    pub fn check(&self) {
        assert!(self.extend_every * 3 <= self.ack_wait, "two extensions may be lost");
        assert!(self.sweep_age_min >= self.ack_wait * 2, "a sweep must not race a healthy job");
        assert!(self.phase_max >= self.ack_wait, "a phase may outlast one extension that was lost");
        assert!(self.commit_begins_max() > self.phase_max, "who stores for as long as allowed may commit");
        assert!(self.wait_max >= self.phase_max + self.stall_min, "one neighbour may load and stall");
    }
}

impl Default for Times {
    fn default() -> Times {
        Times::PRODUCTION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn production_times_keep_their_relations() {
        Times::PRODUCTION.check();
        Times::PRODUCTION.scaled(5).check();
        assert!(Times::PRODUCTION.grace() > Times::PRODUCTION.sweep_age_min);
        Times::PRODUCTION.scaled(100).check();
    }

    #[test]
    fn a_manifest_lands_in_the_first_half_of_the_grace_or_is_not_sent() {
        let times = Times::PRODUCTION;
        assert!(times.commit_begins_max() + times.phase_max <= times.grace() / 2);
        assert_eq!(times.commit_begins_max(), Duration::from_secs(390));
    }

    #[test]
    fn a_message_fits_many_times_into_its_stream() {
        for stream in STREAMS {
            assert!(stream.message_bytes_max.0 * 1000 <= stream.bytes_max.0, "{}", stream.name);
        }
    }
}
