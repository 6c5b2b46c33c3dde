//! The worker loop, runner protocol, configuration, telemetry, shutdown.
#![forbid(unsafe_code)]
