//! Ingest over a real object store and the broker's twin: accepting, sweeping, collecting.

mod accept;
mod collect;
mod store;
mod sweep;
mod world;
