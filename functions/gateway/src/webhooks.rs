//! Webhooks: who is told how jobs ended, and what is said to them. Signed as Standard Webhooks 1.0 says
//! (standardwebhooks.com): headers `webhook-id`, `webhook-timestamp`, `webhook-signature`.

use crate::end::End;
use crate::index::Shown;
use blake3::hash;
use domain::{JobId, JobRecord, Life, Outcome, TenantId, Timestamp, UploadId};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Fewest and most bytes of a secret, as the standard says.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Pauses before the next tries, in first pauses: 5 s, 30 s, 5 min, 30 min, 2 h, 5 h, and so on every 5 h.
const PAUSES: [u32; 6] = [1, 6, 60, 360, 1_440, 3_600];
/// An ending that nobody took for so long is not told any more.
pub(crate) const TOLD_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// How a job ended, for those who want to hear only of some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Ended {
    /// All files are there.
    #[serde(rename = "job.done")]
    Done,
    /// It cannot become a model.
    #[serde(rename = "job.rejected")]
    Rejected,
    /// It was set aside for a person.
    #[serde(rename = "job.dead")]
    Dead,
    /// A person, or a newer upload, ended it.
    #[serde(rename = "job.cancelled")]
    Cancelled,
}

/// An address that is told.
#[derive(Clone)]
pub struct Listener {
    pub(crate) url: Url,
    id: u32,
    signer: Arc<Webhook>,
    events: BTreeSet<Ended>,
    tenants: BTreeSet<TenantId>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listener({})", self.place())
    }
}

impl Listener {
    /// Checks an address and its secret (`whsec_` and 24 to 64 bytes in base64). No `events` or no `tenants`
    /// are all of them.
    ///
    /// # Errors
    /// A sentence for a person.
    pub fn new(
        url: &str,
        secret: &str,
        events: BTreeSet<Ended>,
        tenants: BTreeSet<TenantId>,
    ) -> Result<Listener, String> {
        let bad = |why: &str| format!("a webhook's address {why}");
        let url = Url::parse(url).map_err(|error| bad(&format!("is none: {error}")))?;
        if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
            return Err(bad("must begin with https:// or http://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("must not carry a password; the signature says who speaks"));
        }
        let secret = secret.strip_prefix("whsec_").unwrap_or(secret);
        // Three bytes in four characters, the last ones filled up with `=`.
        let bytes = secret.trim_end_matches('=').len() * 3 / 4;
        let signer = Webhook::new(secret).ok().filter(|_| SECRET_BYTES.contains(&bytes)).ok_or(
            "a webhook's secret must be 24 to 64 bytes in base64, as `openssl rand -base64 32` makes",
        )?;
        let digest = hash(url.as_str().as_bytes());
        let [a, b, c, d, ..] = *digest.as_bytes();
        let id = u32::from_be_bytes([a, b, c, d]);
        Ok(Listener { url, id, signer: Arc::new(signer), events, tenants })
    }

    /// Its name in keys of the bucket: what two must not share.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Where it is, without a path or a query, which may hold a token.
    pub(crate) fn place(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Whether it wants to hear this.
    pub(crate) fn wants(&self, message: &WebhookMessage) -> bool {
        let wants_kind = self.events.is_empty() || self.events.contains(&message.kind);
        wants_kind && (self.tenants.is_empty() || self.tenants.contains(&message.data.tenant))
    }

    /// What goes over the line. The id is the same in every try, so that a repetition is known as one.
    pub(crate) fn signed(&self, message: &WebhookMessage, now: Timestamp) -> Option<(HeaderMap, Vec<u8>)> {
        let body = serde_json::to_vec(message).ok()?;
        let (id, at) = (format!("{}.{}", message.data.job, message.data.life), (now.0 / 1_000) as i64);
        let signature = self.signer.sign(&id, at, &body).ok()?;
        let header =
            |name, value: &str| Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?));
        let headers = [
            header("content-type", "application/json")?,
            header(HEADER_WEBHOOK_ID, &id)?,
            header(HEADER_WEBHOOK_TIMESTAMP, &at.to_string())?,
            header(HEADER_WEBHOOK_SIGNATURE, &signature)?,
        ];
        Some((headers.into_iter().collect(), body))
    }
}

/// What a webhook is told.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct WebhookMessage {
    #[serde(rename = "type")]
    kind: Ended,
    /// When it was decided.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String")]
    timestamp: time::OffsetDateTime,
    data: EndedJob,
}

/// A job that has ended.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct EndedJob {
    job: JobId,
    life: Life,
    upload_id: UploadId,
    tenant: TenantId,
    bucket: String,
    key: String,
    /// Why it ended so, or why nothing was published.
    reason: Option<String>,
    accepted_at_ms: Timestamp,
    decided_at_ms: Timestamp,
    /// Keys in the output bucket.
    published: Vec<String>,
}

impl WebhookMessage {
    /// From what the bucket says; none of an ending that this program does not know.
    pub(crate) fn of(record: &JobRecord, outcome: &Outcome) -> Option<WebhookMessage> {
        let end = End::of(outcome);
        let kind = match end.state {
            Shown::Done => Ended::Done,
            Shown::Rejected => Ended::Rejected,
            Shown::Dead => Ended::Dead,
            Shown::Cancelled => Ended::Cancelled,
            Shown::Queued | Shown::Running | Shown::Unreadable => return None,
        };
        let nanos = i128::from(outcome.decided_at.0) * 1_000_000;
        let published = match &outcome.ending {
            domain::Ending::Done { files, .. } => files.clone(),
            _ => Vec::new(),
        };
        let data = EndedJob {
            job: outcome.job,
            life: outcome.life,
            upload_id: record.upload.id(),
            tenant: record.tenant.clone(),
            bucket: record.upload.bucket.clone(),
            key: record.upload.key.clone(),
            reason: end.reason(),
            accepted_at_ms: record.accepted_at,
            decided_at_ms: outcome.decided_at,
            published,
        };
        Some(WebhookMessage {
            kind,
            timestamp: time::OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?,
            data,
        })
    }
}

/// Pause before the next try, after so many: longer each time, and up to a tenth longer by job, so that what
/// failed together does not come back together.
pub(crate) fn pause(first: Duration, tries: u32, job: JobId) -> Duration {
    let at = (tries.max(1) as usize - 1).min(PAUSES.len() - 1);
    let pause = first * PAUSES[at];
    pause + pause * u32::from(job.0[0]) / 2_560
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn listener(url: &str, secret: &str) -> Result<Listener, String> {
        Listener::new(url, secret, BTreeSet::new(), BTreeSet::new())
    }

    #[test]
    fn an_address_or_a_secret_that_cannot_work_is_refused_in_words() {
        let check = |url: &str, secret: &str, part: &str| match listener(url, secret) {
            Ok(listener) => assert_eq!(listener.place(), part),
            Err(said) => assert!(said.contains(part), "{said}"),
        };
        check("https://shop.example/hook?token=x", SECRET, "https://shop.example");
        check("http://10.0.0.7:8080/hook", SECRET, "http://10.0.0.7:8080");
        check("shop.example/hook", SECRET, "is none");
        check("ftp://shop.example", SECRET, "must begin with https://");
        check("https://me:secret@shop.example", SECRET, "must not carry a password");
        check("https://shop.example", "whsec_c2hvcnQ=", "24 to 64 bytes");
        check("https://shop.example", "no base64 at all, though it is long enough", "24 to 64 bytes");
    }

    #[test]
    fn an_addresses_path_is_not_printed() {
        let listener = listener("https://shop.example/secret-path", SECRET).expect("a listener");
        assert_eq!(format!("{listener:?}"), "Listener(https://shop.example)");
    }

    #[test]
    fn pauses_grow_and_differ_by_job() {
        let pauses: Vec<u64> =
            (1..9).map(|n| pause(Duration::from_secs(5), n, JobId([0; 16])).as_secs()).collect();
        assert_eq!(pauses, [5, 30, 300, 1_800, 7_200, 18_000, 18_000, 18_000]);
        assert!(pause(Duration::from_secs(5), 1, JobId([255; 16])) < Duration::from_millis(5_500));
    }
}
