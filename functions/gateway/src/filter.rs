//! Which jobs a list is of, judged by what is known of each: what is not known yet may be anything, and is
//! read when it matters.

use crate::index::{Known, Shown};
use domain::{TenantId, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Where a job's upload lies and whose it is; few for many jobs.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) bucket: String,
    /// An event does not tell it.
    pub(crate) tenant: Option<TenantId>,
}

/// All there are, each kept once.
#[derive(Default)]
pub(crate) struct Origins(BTreeSet<Arc<Origin>>);

impl Origins {
    pub(crate) fn of(&mut self, bucket: &str, tenant: Option<&TenantId>) -> Arc<Origin> {
        let origin = Origin { bucket: bucket.to_owned(), tenant: tenant.cloned() };
        if let Some(known) = self.0.get(&origin) {
            return known.clone();
        }
        let origin = Arc::new(origin);
        self.0.insert(origin.clone());
        origin
    }
}

/// Which jobs; all if nothing is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) state: Option<Shown>,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) bucket: Option<String>,
    /// How the upload's key begins.
    pub(crate) key: Option<String>,
    /// Seen then or later.
    pub(crate) after: Option<Timestamp>,
    /// Seen before.
    pub(crate) before: Option<Timestamp>,
}

impl Filter {
    /// Whether a job is one of these, or may be as far as is known.
    pub(crate) fn may_take(&self, known: &Known) -> bool {
        let has_record = known.upload.is_some() && !known.is_recorded;
        let origin = known.origin.as_ref();
        let tenant = origin.and_then(|origin| origin.tenant.as_ref());
        let key = known.key.as_ref();
        self.state.is_none_or(|state| match known.state() {
            Some(is) => is == state,
            // It has ended, and nobody has read how.
            None => !matches!(state, Shown::Queued | Shown::Running),
        }) && self.after.is_none_or(|after| known.seen_at >= after)
            // Until it is placed it counts as newer than it is.
            && self.before.is_none_or(|before| known.seen_at < before || !known.is_placed)
            && self.tenant.as_ref().is_none_or(|asked| tenant.map_or(has_record, |is| is == asked))
            && self.bucket.as_ref().is_none_or(|asked| origin.map_or(has_record, |is| is.bucket == *asked))
            && self.key.as_ref().is_none_or(|asked| key.map_or(has_record, |is| is.starts_with(asked)))
    }

    /// Whether the bucket must be read before a job can be told to be one of these, or be shown.
    pub(crate) fn is_unread(&self, known: &Known) -> bool {
        known.is_unread() || self.needs_record(known)
    }

    /// Whether its record has something to say that matters here.
    pub(crate) fn needs_record(&self, known: &Known) -> bool {
        let origin = known.origin.as_ref();
        let lacks_tenant = self.tenant.is_some() && origin.is_none_or(|origin| origin.tenant.is_none());
        let lacks_bucket = self.bucket.is_some() && origin.is_none();
        let has_record = known.upload.is_some() && !known.is_recorded;
        has_record && (known.key.is_none() || lacks_tenant || lacks_bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::UploadId;

    fn known(key: Option<&str>, origin: Option<(&str, Option<&str>)>) -> Known {
        let origin = origin.map(|(bucket, tenant)| {
            let tenant = tenant.map(|tenant| tenant.parse().expect("a tenant"));
            Origins::default().of(bucket, tenant.as_ref())
        });
        let (upload, seen_at) = (Some(UploadId([2; 16])), Timestamp(50));
        Known { upload, key: key.map(str::to_owned), origin, seen_at, is_placed: true, ..Known::default() }
    }

    fn tenant(name: &str) -> Filter {
        Filter { tenant: Some(name.parse().expect("a tenant")), ..Filter::default() }
    }

    #[test]
    fn what_is_not_known_may_be_anything_until_it_was_read() {
        let check = |filter: &Filter, known: &Known, expect: (bool, bool)| {
            assert_eq!((filter.may_take(known), filter.is_unread(known)), expect, "{filter:?} {known:?}");
        };
        let told = known(Some("a/1"), Some(("in", None)));
        let read = known(Some("a/1"), Some(("in", Some("shop"))));
        let gone = Known { is_recorded: true, key: Some(String::new()), ..known(None, None) };
        let of = |bucket: Option<&str>, key: Option<&str>| Filter {
            bucket: bucket.map(str::to_owned),
            key: key.map(str::to_owned),
            ..Filter::default()
        };
        check(&Filter::default(), &told, (true, false));
        check(&tenant("shop"), &told, (true, true));
        check(&tenant("shop"), &read, (true, false));
        check(&tenant("other"), &read, (false, false));
        check(&tenant("shop"), &gone, (false, false));
        check(&of(Some("in"), Some("a/")), &told, (true, false));
        check(&of(Some("out"), None), &told, (false, false));
        check(&of(None, Some("b/")), &told, (false, false));
        check(&of(Some("in"), None), &known(None, None), (true, true));
        check(&of(None, Some("a/")), &known(None, None), (true, true));
        check(&of(None, Some("a/")), &gone, (false, false));
    }

    #[test]
    fn a_span_of_time_has_its_beginning_and_not_its_end() {
        let check = |after: u64, before: u64, expect: bool| {
            let (after, before) = (Some(Timestamp(after)), Some(Timestamp(before)));
            let filter = Filter { after, before, ..Filter::default() };
            assert_eq!(filter.may_take(&known(Some("k"), None)), expect, "{filter:?}");
        };
        check(50, 51, true);
        check(0, 50, false);
        check(51, 99, false);
        let (before, late) = (Some(Timestamp(10)), Known { is_placed: false, ..known(Some("k"), None) });
        assert!(Filter { before, ..Filter::default() }.may_take(&late));
    }
}
