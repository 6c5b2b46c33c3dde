//! Where the store is, and as whom we speak to it.

use crate::store::S3Store;
use aws_credential_types::Credentials;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use ports::Store;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A secret key: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps it.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where the store is.
#[derive(Clone, Debug)]
pub struct Config {
    /// As `http://127.0.0.1:9000`; none for AWS itself.
    pub endpoint: Option<String>,
    /// Its region; any word will do for most stores.
    pub region: String,
    /// The access key id.
    pub access_key: String,
    /// The secret key.
    pub secret_key: Secret,
    /// The session token of temporary credentials.
    pub session_token: Option<Secret>,
    /// Buckets in the path instead of the host name: what every store but AWS wants.
    pub path_style: bool,
}

/// Tries of one call, the first included; with jittered exponential backoff between them.
const ATTEMPTS_MAX: u32 = 4;
/// Longest pause between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest try of a call, a large body not counted.
const TRY_MAX: Duration = Duration::from_secs(60);
/// The slowest link that still gets a body through.
const LINK_BYTES_PER_S: u64 = 32 << 10;
/// A larger body gets time of its own.
const BODY_BYTES: usize = 1 << 20;

/// Longest try of a call that sends a body of this size.
fn try_max(body_bytes: usize) -> Duration {
    TRY_MAX + Duration::from_secs(body_bytes as u64 / LINK_BYTES_PER_S)
}

/// What a call that sends a body of this size does otherwise than the others.
pub(crate) fn with_time_for(body_bytes: usize) -> aws_sdk_s3::config::Builder {
    let builder = aws_sdk_s3::Config::builder();
    if body_bytes <= BODY_BYTES {
        return builder;
    }
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_MAX);
    builder.timeout_config(timeouts.operation_attempt_timeout(try_max(body_bytes)).build())
}

/// A store as a port. Nothing is asked yet.
pub fn connect(config: Config) -> Arc<dyn Store> {
    Arc::new(S3Store { client: client(config) })
}

pub(crate) fn client(config: Config) -> aws_sdk_s3::Client {
    let token = config.session_token.map(|token| token.0);
    let keys = Credentials::new(config.access_key, config.secret_key.0, token, None, "meshwright");
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_MAX).operation_attempt_timeout(TRY_MAX);
    let mut builder = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(config.region))
        .credentials_provider(keys)
        .force_path_style(config.path_style)
        // Stores other than AWS refuse or mangle the checksums that newer clients send unasked.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX).with_max_backoff(BACKOFF_MAX))
        .timeout_config(timeouts.build())
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled().grace_period(CONNECT_MAX).build(),
        );
    if let Some(endpoint) = config.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    aws_sdk_s3::Client::from_conf(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".to_owned())), "***");
    }

    #[test]
    fn a_large_part_has_time_on_a_slow_link() {
        let seconds = |bytes: u64, per_s: u64| Duration::from_secs(bytes / per_s);
        assert!(try_max(16 << 20) > seconds(16 << 20, 64_000) + TRY_MAX / 2);
        assert_eq!(try_max(0), TRY_MAX);
    }
}
