//! Pages of jobs: chosen in memory, read from the bucket as far as a caller sees them, and no further.

use crate::Gateway;
use crate::index::{Known, Place, Read, Shown};
use crate::problem::Problem;
use domain::{JobId, Life, Timestamp};
use futures::stream::{StreamExt, TryStreamExt};
use ports::{PortError, PortResult};

/// Jobs of one page, unless fewer are asked for.
const PAGE: usize = 50;
/// Most jobs of one page.
const PAGE_MAX: usize = 200;
/// Jobs that are read from the bucket at once.
const READS_AT_ONCE: usize = 16;
/// Jobs that are read from the bucket for one call; the cursor goes on behind them.
const READS_MAX: usize = 400;
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

/// A page of jobs, newest first.
pub(crate) async fn page(
    gateway: &Gateway,
    after: Option<&str>,
    state: Option<Shown>,
    limit: Option<usize>,
) -> Result<Page, Problem> {
    let after = after.map(place).transpose()?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit is a number from 1 to {PAGE_MAX}")));
    }
    let mut reads_left = READS_MAX;
    loop {
        let (mut rows, more) = gateway.hub.read().page(after, state, limit);
        let unread: Vec<_> =
            rows.iter().filter(|(_, known)| known.is_unread()).take(reads_left).cloned().collect();
        if unread.is_empty() {
            let whole = rows.len();
            let known = rows.iter().take_while(|(_, known)| !known.is_unread()).count();
            rows.truncate(known);
            let last = rows.last().map(|(job, known)| (known.seen_at, *job));
            let next = (more || known < whole).then(|| cursor(last.or(after).unwrap_or(TOP)));
            return Ok(Page { rows, next });
        }
        reads_left -= unread.len();
        // What was read may belong to another page: it is chosen again.
        let reads = futures::stream::iter(unread).map(|(job, known)| read(gateway, job, known));
        reads.buffer_unordered(READS_AT_ONCE).try_collect::<()>().await?;
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

/// Reads what names and events did not tell of a job: its key, and how it ended.
async fn read(gateway: &Gateway, job: JobId, known: Known) -> PortResult<()> {
    let (record, is_record) = match known.upload.filter(|_| known.key.is_none()) {
        Some(upload) => readable(gateway.ledger.record(upload, job).await)?,
        None => (None, true),
    };
    let (outcome, is_outcome) = match known.has_outcome && known.end.is_none() {
        true => readable(gateway.ledger.outcome(job, Life(known.life)).await)?,
        false => (None, true),
    };
    let key = record.map(|record| record.upload.key);
    let read = Read { key, outcome, unreadable: !is_record || !is_outcome };
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
