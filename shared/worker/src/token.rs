//! Tokens: keeps a delivery ours while it is worked on, by the token rules of the protocol.
//!
//! An acknowledgement is not a lock and a token is no proof: all that hangs on it is who works, never who
//! won.

use domain::{AckToken, Times};
use ports::Queue;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Instrument;

/// A delivery in our hands. It is extended until this value is dropped.
pub(crate) struct HeldToken {
    token: AckToken,
    queue: Arc<dyn Queue>,
    age: Age,
    extender: JoinHandle<()>,
}

/// How long ago the last extension that succeeded was asked for. From an ack wait on the delivery may be
/// another's; such a token is never used again.
#[derive(Clone)]
struct Age {
    extended: Arc<Mutex<Instant>>,
    /// It is not extended after this.
    cap: Arc<Mutex<Option<Instant>>>,
    times: Times,
}

impl Age {
    fn is_lost(&self) -> bool {
        self.extended.lock().expect("a plain instant").elapsed() >= self.times.ack_wait
    }

    fn extended(&self, asked: Instant) {
        *self.extended.lock().expect("a plain instant") = asked;
    }

    fn is_past_cap(&self) -> bool {
        self.cap.lock().expect("a plain instant").is_some_and(|cap| Instant::now() >= cap)
    }

    fn set_cap(&self, cap: Option<Instant>) {
        *self.cap.lock().expect("a plain instant") = cap;
    }
}

impl HeldToken {
    /// Begins to extend when the planner would have, and at once if nobody knows how old its last extension
    /// is: most short tasks are done before. What it logs later stands in the span in which this is called.
    pub(crate) fn hold(
        token: AckToken,
        queue: Arc<dyn Queue>,
        times: Times,
        age: Option<Duration>,
    ) -> HeldToken {
        let now = Instant::now();
        let extended = age.and_then(|age| now.checked_sub(age)).unwrap_or(now);
        let first = age.map_or(now, |_| extended + times.extend_every);
        let age = Age { extended: Arc::new(Mutex::new(extended)), cap: Arc::default(), times };
        let extending = extend(token.clone(), queue.clone(), age.clone(), first);
        let extender = tokio::spawn(extending.in_current_span());
        HeldToken { token, queue, age, extender }
    }

    /// It waits, and is extended for so long only: the task goes elsewhere if this takes longer.
    pub(crate) fn extend_at_most(&self, span: Duration) {
        self.age.set_cap(Some(Instant::now() + span));
    }

    /// It is being computed: whoever watches that decides how long it may take.
    pub(crate) fn extend_freely(&self) {
        self.age.set_cap(None);
    }

    /// Removes the task from the queue. A failure leaves it there; it is delivered again and found finished.
    pub(crate) async fn done(&self) {
        self.extender.abort();
        if let Err(error) = self.queue.done(&self.token).await {
            tracing::info!(%error, "acknowledge a task: left to redelivery");
        }
    }

    /// Makes the task deliverable at once, unless the token is too old: then it may be another's delivery by
    /// now.
    pub(crate) async fn give_back(&self) {
        self.extender.abort();
        if self.age.is_lost() {
            return;
        }
        if let Err(error) = self.queue.give_back(&self.token).await {
            tracing::info!(%error, "give a task back: left to redelivery");
        }
    }

    /// Stops extending and says nothing: the task is delivered again after the ack wait, or its giver uses
    /// the token.
    pub(crate) fn let_go(&self) {
        self.extender.abort();
    }
}

impl Drop for HeldToken {
    fn drop(&mut self) {
        self.extender.abort();
    }
}

async fn extend(token: AckToken, queue: Arc<dyn Queue>, age: Age, first: Instant) {
    sleep_until(first).await;
    while !age.is_lost() && !age.is_past_cap() {
        let asked = Instant::now();
        match queue.extend(&token).await {
            Ok(()) => age.extended(asked),
            Err(error) => tracing::debug!(%error, "extend a task"),
        }
        sleep(age.times.extend_every).await;
    }
    tracing::info!("a token is older than the ack wait, or waited for too long, and is dropped");
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use bytes::Bytes as Payload;
    use domain::Consumer;
    use ports::{Backlog, Delivery, PortError, PortResult, Put};

    /// Notes what is done with the token; extends it while it is up.
    struct Broker {
        said: Mutex<Vec<&'static str>>,
        up: Mutex<bool>,
    }

    impl Broker {
        fn note(&self, what: &'static str) {
            self.said.lock().expect("a plain list").push(what);
        }

        fn said(&self) -> Vec<&'static str> {
            std::mem::take(&mut *self.said.lock().expect("a plain list"))
        }

        fn set_up(&self, up: bool) {
            *self.up.lock().expect("a plain word") = up;
        }
    }

    #[async_trait]
    impl Queue for Broker {
        async fn put_if_absent(&self, _: &str, _: Payload) -> PortResult<Put> {
            unreachable!("tokens only")
        }
        async fn take(&self, _: &Consumer, _: usize, _: Duration) -> PortResult<Vec<Delivery>> {
            unreachable!("tokens only")
        }
        async fn extend(&self, _: &AckToken) -> PortResult<()> {
            self.note("extend");
            let up = *self.up.lock().expect("a plain word");
            if up { Ok(()) } else { Err(PortError::Unavailable("nobody answers".to_owned())) }
        }
        async fn done(&self, _: &AckToken) -> PortResult<()> {
            self.note("done");
            Ok(())
        }
        async fn give_back(&self, _: &AckToken) -> PortResult<()> {
            self.note("give back");
            Ok(())
        }
        async fn backlog(&self, _: &Consumer) -> PortResult<Backlog> {
            unreachable!("tokens only")
        }
    }

    fn held() -> (Arc<Broker>, HeldToken) {
        held_since(None)
    }

    fn held_since(age: Option<Duration>) -> (Arc<Broker>, HeldToken) {
        let broker = Arc::new(Broker { said: Mutex::default(), up: Mutex::new(true) });
        let token = AckToken("token".to_owned());
        (broker.clone(), HeldToken::hold(token, broker, Times::PRODUCTION, age))
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_extended_at_once_and_every_three_seconds_and_may_be_given_back() {
        let (broker, token) = held();
        tokio::time::sleep(Duration::from_secs(7)).await;
        token.give_back().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(broker.said(), ["extend", "extend", "extend", "give back"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_whose_age_is_known_is_extended_when_its_giver_would_have_or_is_lost_by_then() {
        let (broker, _token) = held_since(Some(Duration::from_secs(1)));
        tokio::time::sleep(Duration::from_millis(1_900)).await;
        assert!(broker.said().is_empty());
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(broker.said(), ["extend"]);
        let (broker, token) = held_since(Some(Duration::from_secs(10)));
        tokio::time::sleep(Duration::from_secs(60)).await;
        token.give_back().await;
        assert!(broker.said().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_not_extended_for_an_ack_wait_is_neither_extended_nor_given_back_again() {
        let (broker, token) = held();
        tokio::time::sleep(Duration::from_secs(1)).await;
        broker.set_up(false);
        tokio::time::sleep(Duration::from_secs(10)).await;
        broker.said();
        // The broker is there again, too late: the delivery may be another's.
        broker.set_up(true);
        tokio::time::sleep(Duration::from_secs(60)).await;
        token.give_back().await;
        assert!(broker.said().is_empty());
        // An acknowledgement tells what is true whoever holds the task: it is finished.
        token.done().await;
        assert_eq!(broker.said(), ["done"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_shorter_than_the_ack_wait_costs_nothing() {
        let (broker, token) = held();
        tokio::time::sleep(Duration::from_secs(1)).await;
        broker.set_up(false);
        tokio::time::sleep(Duration::from_secs(7)).await;
        broker.set_up(true);
        tokio::time::sleep(Duration::from_secs(60)).await;
        broker.said();
        token.give_back().await;
        assert_eq!(broker.said(), ["give back"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_extended_up_to_a_cap_and_what_is_computed_without() {
        let (broker, token) = held();
        token.extend_at_most(Duration::from_secs(7));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(broker.said(), ["extend"; 3]);
        let (broker, token) = held();
        token.extend_at_most(Duration::from_secs(7));
        tokio::time::sleep(Duration::from_secs(4)).await;
        token.extend_freely();
        tokio::time::sleep(Duration::from_secs(57)).await;
        assert_eq!(broker.said().len(), 21);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_dropped_is_not_extended_any_more() {
        let (broker, token) = held();
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(token);
        broker.said();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(broker.said().is_empty());
    }
}
