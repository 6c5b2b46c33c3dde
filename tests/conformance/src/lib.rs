//! Runs the public conformance suites against every adapter and twin: one file of `tests/` for each thing
//! that stands behind a port, the suites themselves in `ports::conformance`. Here is what those files share:
//! clients of a store, ours and a stranger's.
#![forbid(unsafe_code)]

use anyhow::Result;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use ports::Store;
use std::sync::Arc;

/// The store at this endpoint, through our adapter.
pub fn client(endpoint: &str, access_key: &str, secret_key: &str) -> Arc<dyn Store> {
    s3::connect(s3::Config {
        endpoint: Some(endpoint.to_owned()),
        region: "us-east-1".to_owned(),
        access_key: access_key.to_owned(),
        secret_key: s3::Secret::new(secret_key.to_owned()),
        session_token: None,
        path_style: true,
    })
}

/// Somebody else's client, who does what our adapter never would.
pub fn foreign_client(endpoint: &str, access_key: &str, secret_key: &str) -> Client {
    let keys = Credentials::new(access_key, secret_key, None, None, "conformance");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(keys)
        .endpoint_url(endpoint)
        .force_path_style(true);
    Client::from_conf(config.build())
}

/// Begins this many multipart uploads, sends a part of each, and leaves them.
///
/// # Errors
/// The store refuses.
pub async fn abandon_uploads(client: &Client, bucket: &str, count: usize) -> Result<()> {
    for n in 0..count {
        let key = format!("abandoned/{n} of ü+%.glb");
        let begun = client.create_multipart_upload().bucket(bucket).key(&key).send().await?;
        let part = client.upload_part().bucket(bucket).key(&key).part_number(1);
        part.set_upload_id(begun.upload_id).body(vec![7; 1000].into()).send().await?;
    }
    Ok(())
}
