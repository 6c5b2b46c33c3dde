//! The promises of the HTTP API, each kept by a real gateway on a real socket, with the embedded store and
//! broker. No worker runs: what one would write and say, `world` writes and says.

mod abuse;
mod actions;
mod artifacts;
mod cors;
mod create;
mod dashboard;
mod door;
mod events;
mod gpu;
mod jobs;
mod openapi;
mod outages;
mod performance;
mod sampling;
mod sockets;
mod system;
mod two;
mod webhooks;
mod world;
