//! The way from those who tell spans to the task that sends them: bounded, and nobody waits at its entrance.

use domain::Span;
use tokio::sync::mpsc::{self, Receiver, Sender};

/// Most spans that wait. A task has about twenty, of half a kilobyte each: 4 MiB at most.
const WAITING_MAX: usize = 8_192;

/// Where spans are told.
pub(crate) struct Inlet(Sender<Span>);

/// Both ends.
pub(crate) fn new() -> (Inlet, Receiver<Span>) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Inlet(sender), receiver)
}

impl Inlet {
    /// Takes spans that belong together: all, or none and counts them.
    pub(crate) fn take(&self, spans: Vec<Span>) {
        match self.0.try_reserve_many(spans.len()) {
            Ok(places) => places.zip(spans).for_each(|(place, span)| place.send(span)),
            Err(_full) => crate::count("dropped", spans.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Ending, JobId, Life, Outcome, Timestamp};

    fn spans(many: usize) -> Vec<Span> {
        let (job, life, decided_at) = (JobId([1; 16]), Life(0), Timestamp(2));
        let ending = Ending::Cancelled { reason: "requested".to_owned() };
        let outcome = Outcome { job, life, ending, decided_at, intermediates_expire_at: decided_at };
        vec![domain::life_span("gateway", Timestamp(1), &outcome); many]
    }

    #[test]
    fn what_does_not_fit_is_dropped_as_a_whole_and_nobody_waits() {
        let (inlet, mut outlet) = new();
        inlet.take(spans(WAITING_MAX - 1));
        inlet.take(spans(2));
        inlet.take(spans(1));
        inlet.take(spans(1));
        assert_eq!(outlet.len(), WAITING_MAX);
        assert!(outlet.try_recv().is_ok());
        inlet.take(spans(1));
        assert_eq!(outlet.len(), WAITING_MAX);
        drop(outlet);
        inlet.take(spans(1));
    }
}
