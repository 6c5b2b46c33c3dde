//! S3 event -> job record -> first task; event dialects, sweep, collector.
#![forbid(unsafe_code)]
