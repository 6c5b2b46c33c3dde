//! HTTP: jobs, progress, artifacts, metrics, one page.
#![forbid(unsafe_code)]
