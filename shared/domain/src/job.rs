//! An upload, the job made of it, and how its lives end.

use crate::{
    Bytes, Class, JobId, Life, Recipe, Stage, StoreId, Task, TenantId, Timestamp, UploadId, ids::hash128,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An object that arrived in an input bucket, as a LIST tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upload {
    /// Which store.
    pub store: StoreId,
    /// Which input bucket.
    pub bucket: String,
    /// Its key: data, never a path, subject or label.
    pub key: String,
    /// The store's version, where the bucket has versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// Without quotes; `…-N` for multipart uploads.
    pub etag: String,
    /// Size of the object.
    pub size_bytes: Bytes,
    /// Truncated to whole seconds, since a HEAD tells no more.
    pub last_modified_s: u64,
}

impl Upload {
    /// The id: everything in it stands in a LIST, so that the sweep needs no HEAD. The version is not in a
    /// LIST, hence not in the id.
    pub fn id(&self) -> UploadId {
        UploadId(hash128(
            "meshwright upload 1",
            &[
                self.store.as_str().as_bytes(),
                self.bucket.as_bytes(),
                self.key.as_bytes(),
                self.etag.as_bytes(),
                &self.size_bytes.0.to_le_bytes(),
                &self.last_modified_s.to_le_bytes(),
            ],
        ))
    }
}

/// The job record `j/<upload_id>/<job_id>.json`: written once, before the first task is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobRecord {
    /// What arrived.
    pub upload: Upload,
    /// On whose behalf; from the bucket map.
    pub tenant: TenantId,
    /// How urgent; from the bucket map.
    pub class: Class,
    /// What is wanted; an edit of a default never changes it.
    pub recipe: Recipe,
    /// When ingest took it.
    pub accepted_at: Timestamp,
    /// Made beside the upload's own job, by an HTTP call with another recipe: its files are published under
    /// `<job8>/`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secondary: bool,
    /// W3C trace context of the job's trace, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl JobRecord {
    /// The job's id: upload and recipe, and whether the job is the upload's own or one beside it.
    pub fn job_id(&self) -> JobId {
        let JobId(mut id) = job_id(self.upload.id(), &self.recipe);
        id[15] |= u8::from(self.secondary);
        JobId(id)
    }

    /// The task of this job at `stage`.
    pub fn task(&self, stage: Stage) -> Task {
        Task {
            job: self.job_id(),
            upload: self.upload.id(),
            stage,
            class: self.class,
            tenant: self.tenant.clone(),
            recipe: self.recipe.clone(),
            size_bytes: self.upload.size_bytes,
            accepted_at: self.accepted_at,
            deadline: None,
        }
    }
}

/// The id of the upload's own job if it makes this recipe: an even number.
pub fn job_id(upload: UploadId, recipe: &Recipe) -> JobId {
    let mut id = hash128("meshwright job 1", &[&upload.0, &recipe.canonical()]);
    id[15] &= !1;
    JobId(id)
}

impl JobId {
    /// Whether it is the id of a job beside the upload's own one: an odd number. So the key of a record
    /// tells it, and the sweep need not read records to find uploads that have no job of their own.
    pub const fn is_beside(self) -> bool {
        self.0[15] & 1 == 1
    }
}

/// How a life of a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Ending {
    /// All files are written and published.
    Done {
        /// Keys in the output bucket.
        files: Vec<String>,
        /// Why nothing was published under a friendly key, if so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unpublished: Option<String>,
    },
    /// The input or the recipe cannot become a model.
    Rejected {
        /// What a person reads.
        reason: String,
    },
    /// Every attempt at one stage failed.
    Dead {
        /// The stage.
        stage: Stage,
        /// The last known error.
        error: String,
    },
    /// A person, or a newer version of the upload, ended it.
    Cancelled {
        /// Who or what: `requested`, `superseded`.
        reason: String,
    },
}

impl Ending {
    /// As in events and metric labels.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Ending::Done { .. } => "done",
            Ending::Rejected { .. } => "rejected",
            Ending::Dead { .. } => "dead",
            Ending::Cancelled { .. } => "cancelled",
        }
    }

    /// Whether a redrive or a retry may start the next life.
    pub const fn may_redrive(&self) -> bool {
        matches!(self, Ending::Dead { .. } | Ending::Cancelled { .. })
    }
}

/// The outcome `m/<job_id>/outcome.<life>.json`: one object per life, decided once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// The job.
    pub job: JobId,
    /// Which of its lives.
    pub life: Life,
    /// How it ended.
    #[serde(flatten)]
    pub ending: Ending,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// From when on the collector may delete the intermediates.
    pub intermediates_expire_at: Timestamp,
}

/// The object `m/<job_id>/life.<n>.json` that starts life n > 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LifeStart {
    /// The job.
    pub job: JobId,
    /// The life that starts.
    pub life: Life,
    /// When it was asked for.
    pub started_at: Timestamp,
}

/// How long intermediates stay after an outcome: long enough for a person to look and redrive.
pub const INTERMEDIATES_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// That an outside listener took word of an outcome. Written after it answered; never read for what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The job.
    pub job: JobId,
    /// Which of its lives.
    pub life: Life,
    /// The listener's name in keys.
    pub listener: u32,
    /// Where it is, for a person.
    pub to: String,
    /// When it answered.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(key: &str, last_modified_s: u64) -> Upload {
        Upload {
            store: "minio".parse().expect("a store name"),
            bucket: "uploads".to_owned(),
            key: key.to_owned(),
            version_id: None,
            etag: "764efa883dda1e11db47671c4a3bbd9e".to_owned(),
            size_bytes: Bytes(3),
            last_modified_s,
        }
    }

    fn record(secondary: bool) -> JobRecord {
        JobRecord {
            upload: upload("a", 7),
            tenant: "default".parse().expect("a tenant"),
            class: Class::Normal,
            recipe: Recipe::default(),
            accepted_at: Timestamp(7),
            secondary,
            traceparent: None,
        }
    }

    #[test]
    fn an_upload_id_changes_with_everything_a_list_tells_and_nothing_else() {
        let versioned = Upload { version_id: Some("v1".to_owned()), ..upload("a", 7) };
        assert_eq!(upload("a", 7).id(), versioned.id());
        assert_ne!(upload("a", 7).id(), upload("b", 7).id());
        assert_ne!(upload("a", 7).id(), upload("a", 8).id());
    }

    #[test]
    fn ids_are_the_same_on_every_machine_and_in_every_version() {
        let id = upload("d ir/a b+ü.png", 1_700_000_000).id();
        assert_eq!(id.to_string(), "cba1cbf6bfcf8bc6d87f659f814baff3");
        assert_eq!(job_id(id, &Recipe::default()).to_string(), "82fbe4eaea4a79e62c4a698c9275b2d2");
    }

    #[test]
    fn a_record_of_a_newer_version_gives_the_id_that_its_writer_gave() {
        let record = record(false);
        let newer = serde_json::to_string(&record)
            .expect("JSON")
            .replace(r#""recipe":{"#, r#""added":1,"recipe":{"colour":"red","#);
        let read: JobRecord = serde_json::from_str(&newer).expect("a record of a newer version");
        // The same fields in another order, as its own writer has them.
        let theirs: Recipe = serde_json::from_str(
            r#"{"engine":"inflate","colour":"red","quality":"standard","formats":["stl","glb"],
                "texture_px":1024,"size_mm":100}"#,
        )
        .expect("a recipe");
        assert_eq!(read.job_id(), job_id(record.upload.id(), &theirs));
        assert_ne!(read.job_id(), record.job_id());
        assert_eq!(read.task(Stage::Shape).job, read.job_id());
    }

    #[test]
    fn the_id_of_a_job_beside_an_uploads_own_tells_that_it_is_one() {
        let (own, beside) = (record(false).job_id(), record(true).job_id());
        assert!(!own.is_beside() && beside.is_beside());
        assert_eq!(own.0[..15], beside.0[..15]);
    }
}
