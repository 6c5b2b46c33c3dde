//! Where spans of traces go. As with counters there is one place in a process, and while nobody takes them
//! telling a span costs one look at it: not even the span is made.

use domain::Span;
use std::sync::{PoisonError, RwLock};

/// Takes spans and never waits.
pub type SpanTaker = Box<dyn Fn(Vec<Span>) + Send + Sync>;

static TAKER: RwLock<Option<SpanTaker>> = RwLock::new(None);

/// From now on the spans of this process go there, or nowhere.
pub fn set_span_taker(taker: Option<SpanTaker>) {
    *TAKER.write().unwrap_or_else(PoisonError::into_inner) = taker;
}

/// Tells spans to whoever takes them, if anybody does.
pub fn tell_spans(spans: impl FnOnce() -> Vec<Span>) {
    if let Some(taker) = &*TAKER.read().unwrap_or_else(PoisonError::into_inner) {
        taker(spans());
    }
}
