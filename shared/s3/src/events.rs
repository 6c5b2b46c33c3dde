//! Whether a bucket tells anybody of its uploads: what `doctor` asks.

use crate::Config;
use crate::config::client;
use crate::errors::port_error;
use ports::PortResult;

/// Whether the bucket's notification names anything at all that hears of its events.
///
/// # Errors
/// The store does not answer, knows no notifications, or does not let us ask.
pub async fn tells_of_uploads(config: Config, bucket: &str) -> PortResult<bool> {
    let asked = client(config).get_bucket_notification_configuration().bucket(bucket).send().await;
    let told = asked.map_err(|error| port_error(&format!("ask bucket {bucket} whom it tells"), &error))?;
    Ok(!told.queue_configurations().is_empty()
        || !told.topic_configurations().is_empty()
        || !told.lambda_function_configurations().is_empty()
        || told.event_bridge_configuration().is_some())
}
