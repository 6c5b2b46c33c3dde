//! Starts what tests need outside their own process: nats-server, MinIO, `aws`, `mc`, and `meshwright`
//! itself.
//!
//! The way through it: [`tool`] finds or installs a program, [`Child`] runs it with its output in files,
//! [`NatsServer`] and [`Minio`] are such children that are ready when `start` returns, [`Stack`] is both of
//! them joined by bucket events. Every wait is bounded. Nothing outlives the test process, however that ends.
//! A test that panics keeps its [`Scratch`] folders and prints where they are (so tests panic rather than
//! return errors); `MESHWRIGHT_KEEP=1` keeps them always.
//!
//! [`Proxy`] is a link between them that a test can hold or cut.
//!
//! It knows neither NATS's nor S3's protocol: what is in the servers is the test's business.
#![forbid(unsafe_code)]

mod child;
mod minio;
mod nats;
mod open_files;
mod port;
mod proxy;
mod reaper;
mod s3;
mod scratch;
mod stack;
mod tool;
mod wait;

pub use child::{Child, Spec, children, kill, meshwright};
pub use minio::{Minio, MinioConfig, NotifyNats};
pub use nats::{NatsConfig, NatsServer, ROLE_PASSWORD};
pub use open_files::allow_all_files;
pub use port::PortLease;
pub use proxy::{Proxy, Weather};
pub use rustix::process::{Pid, Signal};
pub use s3::{S3Endpoint, output};
pub use scratch::Scratch;
pub use stack::{Stack, StackConfig};
pub use tool::{infra, tool};
pub use wait::{until, until_every};
