//! What callers may take of this process. Everything has a limit.

use std::num::NonZeroU32;
use std::time::Duration;

/// Limits of one gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; further ones wait at the door.
    pub connections: usize,
    /// Clients that follow events; further ones are told to come later.
    pub followers: usize,
    /// Bodies that are read at once, each of which is held in memory; further ones are told to come later.
    pub bodies: usize,
    /// Jobs that each tenant may make in a minute, over HTTP; no limit without.
    pub jobs_per_minute: Option<NonZeroU32>,
    /// Time for the head of a call. A connection that says nothing ends after it too.
    pub head_max: Duration,
    /// Time for the body of a call.
    pub body_max: Duration,
    /// Time in which a client must take something of what it is sent; one that takes nothing is cut off.
    pub take_max: Duration,
    /// Pause before a webhook that did not answer is told again; the ones after it are longer.
    pub webhook_pause: Duration,
    /// Time that open answers get after the shutdown.
    pub drain_max: Duration,
}

impl Default for Limits {
    /// More followers than any site has people; eight bodies of 25 MB; a body over a line of 1 Mbit/s.
    fn default() -> Limits {
        Limits {
            connections: 10_000,
            followers: 8_000,
            bodies: 8,
            jobs_per_minute: None,
            head_max: Duration::from_secs(30),
            body_max: Duration::from_secs(240),
            take_max: Duration::from_secs(60),
            webhook_pause: Duration::from_secs(5),
            drain_max: Duration::from_secs(10),
        }
    }
}
