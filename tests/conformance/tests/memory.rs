//! The in-memory twins of Queue, Boards and Wire. On a paused clock: what waits, waits exactly and at once.

use domain::{Bytes, DEVICES, FOOTPRINTS, LEASE, StreamSpec, Times};
use embedded::MemoryBroker;
use ports::SystemClock;
use ports::conformance::{boards, queue, wire};
use std::sync::Arc;

fn broker() -> Arc<MemoryBroker> {
    MemoryBroker::new(Times::PRODUCTION, Arc::new(SystemClock))
}

#[tokio::test(start_paused = true)]
async fn the_queue_conforms() {
    let (queue, ack_wait) = (broker().queue(), Times::PRODUCTION.ack_wait);
    queue::conforms(queue::Subject { queue: &*queue, elsewhere: &*queue, ack_wait }).await;
}

#[tokio::test(start_paused = true)]
async fn the_queue_tells_a_full_stream_from_a_full_subject() {
    let puts_max = (Bytes::gib(1).0 / Bytes::kib(60).0) as usize;
    queue::tells_a_full_stream_from_a_full_subject(&*broker().queue(), puts_max).await;
}

#[tokio::test(start_paused = true)]
async fn the_boards_conform() {
    let boards = broker().boards();
    let (boards, lasting, brief, quiet) = (&*boards, &FOOTPRINTS, &LEASE, &DEVICES);
    boards::conforms(boards::Subject { boards, elsewhere: boards, lasting, brief, quiet }).await;
}

#[tokio::test(start_paused = true)]
async fn the_wire_conforms() {
    let wire = broker().wire();
    wire::conforms(wire::Subject { wire: &*wire, elsewhere: &*wire }).await;
}

#[tokio::test(start_paused = true)]
async fn the_wire_tells_where_a_shortened_log_begins() {
    let broker = broker();
    let wire = broker.wire();
    let purge = async |log: &StreamSpec, before| broker.purge(log, before);
    wire::tells_where_a_shortened_log_begins(wire::Subject { wire: &*wire, elsewhere: &*wire }, purge).await;
}
