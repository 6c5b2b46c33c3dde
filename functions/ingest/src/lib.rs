//! S3 event -> job record -> first task; event dialects, sweep, collector.
//!
//! ```text
//! run ── events: message -> parse (events) -> accept -> acknowledge
//!     ├─ sweep:   LIST inputs, j/, m/ -> what nothing in the queue would finish -> accept or queue
//!     └─ collect: LIST a/, then m/ -> what nothing needs any more -> delete
//! ```
//! It decides nothing about pictures, runs nothing, and never writes to an input bucket; it deletes objects
//! there only where retention was told that uploads are its own.
#![forbid(unsafe_code)]

mod accept;
mod collect;
mod collect_plan;
mod event_key;
mod events;
mod outage;
mod retention;
mod retention_uploads;
mod run;
mod sweep;
mod sweep_plan;
mod telemetry;

pub use accept::*;
pub use collect::*;
pub use collect_plan::*;
pub use events::*;
pub use retention::*;
pub use run::*;
pub use sweep::*;
pub use sweep_plan::*;
pub use telemetry::{METRICS, describe_metrics};
