//! Pages of jobs: chosen in memory, read from the bucket as far as a caller sees them, and no further.

use crate::Gateway;
use crate::filter::Filter;
use crate::index::{Known, Place, Read};
use crate::problem::Problem;
use domain::{JobId, Life, Timestamp, job_record_key};
use futures::stream::{StreamExt, TryStreamExt};
use ports::{PortError, PortResult};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;

/// Jobs of one page, unless fewer are asked for.
const PAGE: usize = 50;
/// Most jobs of one page.
const PAGE_MAX: usize = 200;
/// Jobs that are read from the bucket at once.
const READS_AT_ONCE: usize = 16;
/// Jobs that are read from the bucket for one call; the cursor goes on behind them.
const READS_MAX: usize = 400;
/// How long what is known already waits for the store to say it better.
const SETTLE_MAX: Duration = Duration::from_secs(1);
/// Newer than every job.
const TOP: Place = (Timestamp(u64::MAX), JobId([0xff; 16]));

/// A page: its rows, and the cursor of the next one.
pub(crate) struct Page {
    pub(crate) rows: Vec<(JobId, Known)>,
    pub(crate) next: Option<String>,
}

fn cursor((at, job): Place) -> String {
    format!("{}-{job}", at.0)
}

fn place(cursor: &str) -> Result<Place, Problem> {
    let parse = || {
        let (at, job) = cursor.split_once('-')?;
        Some((Timestamp(at.parse().ok()?), job.parse().ok()?))
    };
    parse().ok_or_else(|| Problem::bad_request("the cursor is not one that this server gave"))
}

/// A page of the jobs that a filter takes, newest first.
pub(crate) async fn page(
    gateway: &Gateway,
    after: Option<&str>,
    filter: &Filter,
    limit: Option<usize>,
) -> Result<Page, Problem> {
    let after = after.map(place).transpose()?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit is a number from 1 to {PAGE_MAX}")));
    }
    let (mut reads_left, mut settled) = (READS_MAX, BTreeSet::new());
    loop {
        let (mut rows, more) = gateway.hub.read().page(after, filter, limit);
        let is_unread = |known: &Known| filter.is_unread(known);
        let unread: Vec<_> =
            rows.iter().filter(|(_, known)| is_unread(known)).take(reads_left).cloned().collect();
        // What was read may belong to another page: it is chosen again.
        if !unread.is_empty() {
            reads_left -= unread.len();
            read_all(gateway, filter, unread).await?;
            continue;
        }
        let room = READS_MAX - settled.len();
        let is_rough = |(job, known): &&(JobId, Known)| known.is_rough() && !settled.contains(job);
        let rough: Vec<_> = rows.iter().filter(is_rough).take(room).cloned().collect();
        if !rough.is_empty() {
            settled.extend(rough.iter().map(|(job, _)| *job));
            settle(gateway, filter, rough).await;
            continue;
        }
        let whole = rows.len();
        let known = rows.iter().take_while(|(_, known)| !is_unread(known)).count();
        rows.truncate(known);
        let last = rows.last().map(|(job, known)| (known.seen_at, *job));
        let next = (more || known < whole).then(|| cursor(last.or(after).unwrap_or(TOP)));
        return Ok(Page { rows, next });
    }
}

/// Lets the bucket say better what events told, if it answers at once: what is known is told without it too.
pub(crate) async fn settle(gateway: &Gateway, filter: &Filter, rough: Vec<(JobId, Known)>) {
    match timeout(SETTLE_MAX, read_all(gateway, filter, rough)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "read what events told"),
        Err(_) => tracing::debug!("the store does not answer at once"),
    }
}

/// What is not ours is told apart from what is not there, and is no reason to fail.
pub(crate) fn readable<T>(read: PortResult<Option<T>>) -> PortResult<(Option<T>, bool)> {
    match read {
        Ok(found) => Ok((found, true)),
        Err(PortError::Invalid(error)) => {
            tracing::warn!(error, "read the bucket");
            Ok((None, false))
        }
        Err(error) => Err(error),
    }
}

async fn read_all(gateway: &Gateway, filter: &Filter, jobs: Vec<(JobId, Known)>) -> PortResult<()> {
    let reads = futures::stream::iter(jobs).map(|(job, known)| read(gateway, filter, job, known));
    reads.buffer_unordered(READS_AT_ONCE).try_collect::<()>().await
}

/// Reads what names and events did not tell of a job, or not well: its record, when that was written, and
/// how it ended.
async fn read(gateway: &Gateway, filter: &Filter, job: JobId, known: Known) -> PortResult<()> {
    let mut read = Read::default();
    let needs_record = filter.needs_record(&known) || known.lacks_kind();
    if let Some(upload) = known.upload.filter(|_| needs_record) {
        let (record, is_readable) = readable(gateway.ledger.record(upload, job).await)?;
        (read.record, read.unreadable) = (Some(record), !is_readable);
    }
    if let Some(upload) = known.upload.filter(|_| !known.is_placed) {
        let key = job_record_key(upload, job);
        let page = gateway.ports.store.list(gateway.ledger.bucket(), &key, None).await?;
        let written_at = page.objects.first().map(|object| object.last_modified);
        read.written_at = Some(written_at.unwrap_or(known.seen_at));
    }
    if known.state().is_none() || known.end.as_ref().is_some_and(|end| end.is_told) {
        let (outcome, is_readable) = readable(gateway.ledger.outcome(job, Life(known.life)).await)?;
        (read.outcome, read.unreadable) = (Some(outcome), read.unreadable || !is_readable);
    }
    gateway.hub.write().read(job, known.life, read);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_a_foreign_one_refused() {
        for there in [TOP, (Timestamp(0), JobId([7; 16]))] {
            assert_eq!(place(&cursor(there)).ok(), Some(there));
        }
        for foreign in ["", "7", "x-07", "-1-07070707070707070707070707070707", "7-0707"] {
            assert!(place(foreign).is_err(), "{foreign}");
        }
    }
}
