//! Tasks, offers, devices and limits for this crate's tests.

use crate::{Decision, Event, Limits, Planner};
use domain::{
    AckToken, BatchTask, Bytes, Class, DeviceClass, JobId, Offer, Reading, Recipe, Stage, Task, TenantId,
    Timestamp, UploadId,
};
use std::time::Duration;

/// What most tests set a planner up with.
pub(crate) fn limits(tenants: u8) -> Limits {
    Limits {
        batch_max: 8,
        batch_rule: crate::BatchRule::Learned,
        hold_max: Duration::from_secs(30),
        patience: Duration::from_secs(10),
        drain_target: Duration::from_secs(60),
        tenants: (0..tenants).map(tenant).collect(),
    }
}

/// Tells a planner something; what it decides.
pub(crate) fn tell(planner: &mut Planner, now: Timestamp, event: Event) -> Vec<Decision> {
    planner.handle(now, event);
    std::iter::from_fn(|| planner.poll()).collect()
}

pub(crate) fn tenant(n: u8) -> TenantId {
    format!("tenant-{n}").parse().expect("a name")
}

pub(crate) fn job(n: u64) -> JobId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    JobId(id)
}

pub(crate) fn number(job: JobId) -> u64 {
    u64::from_be_bytes(job.0[8..].try_into().expect("eight bytes"))
}

pub(crate) fn task(n: u64) -> Task {
    Task {
        job: job(n),
        upload: UploadId(job(n).0),
        stage: Stage::Shape,
        class: Class::Normal,
        tenant: tenant(0),
        recipe: Recipe::default(),
        size_bytes: Bytes::kib(500),
        accepted_at: Timestamp(0),
        deadline: None,
    }
}

/// A delivery of a task of the stage `shape`.
pub(crate) fn given(n: u64, of: u8, class: Class, at: Timestamp) -> BatchTask {
    let task = Task { class, tenant: tenant(of), ..task(n) };
    let ack_token = AckToken(format!("token-{n}"));
    BatchTask { task, ack_token, delivery: 1, published_at: at, drawn_at: at }
}

/// An idle host that runs `shape` and `texture`.
pub(crate) fn offer(worker: &str, gib: u64, lanes: u32) -> Offer {
    Offer {
        worker: worker.parse().expect("a name"),
        device: worker.parse().expect("a name"),
        device_class: DeviceClass("host".to_owned()),
        lanes_free: lanes,
        lanes,
        reading: Reading { total_bytes: Bytes::gib(gib), ..Reading::default() },
        reserved_bytes: Bytes::ZERO,
        stages: vec![Stage::Shape, Stage::Texture],
        warm: Vec::new(),
        valid_for_ms: 15_000,
        running: Vec::new(),
        next_bytes: None,
    }
}
