//! The distributed form: ports on a real NATS server and a real S3 store, checked before anything is bound.

use crate::config::{Config, S3Config};
use crate::pipeline::refusal;
use crate::refusal::{Outcome, Refusal};
use ports::{PortError, Ports, Store, SystemClock};
use std::sync::Arc;

/// Connects to broker and store, makes or verifies streams and boards, and probes the store.
pub(crate) async fn connect(config: &Config) -> Outcome<Ports> {
    let store = connect_store(&config.s3)?;
    check_buckets(&*store, config).await?;
    let broker = reach_broker(config).await?;
    broker.ensure().await.map_err(undeclared)?;
    Ok(Ports {
        queue: broker.queue(),
        boards: broker.boards(),
        wire: broker.wire(),
        store,
        clock: Arc::new(SystemClock),
    })
}

/// Why streams and boards are not as they must be.
pub(crate) fn undeclared(error: nats::DeclareError) -> Refusal {
    match error {
        nats::DeclareError::Failed(PortError::Unavailable(_)) => Refusal::Unavailable(error.to_string()),
        _ => Refusal::Config(error.to_string()),
    }
}

/// Reaches the broker, and makes nothing on it.
pub(crate) async fn reach_broker(config: &Config) -> Outcome<Arc<nats::Broker>> {
    nats::connect(nats_config(config)).await.map_err(|error| match error {
        nats::ConnectError::Unreachable { .. } => Refusal::Unavailable(error.to_string()),
        _ => Refusal::Config(error.to_string()),
    })
}

/// The client of the store; nothing is asked yet.
pub(crate) fn connect_store(config: &S3Config) -> Outcome<Arc<dyn Store>> {
    let config = s3::Config {
        endpoint: config.endpoint.clone(),
        region: config.region.clone().unwrap_or_else(|| "us-east-1".to_owned()),
        access_key: config.access_key.clone(),
        secret_key: s3::Secret::new(config.secret_key.0.clone()),
        session_token: config.session_token.as_ref().map(|token| s3::Secret::new(token.0.clone())),
        path_style: config.path_style,
    };
    Ok(s3::connect(config))
}

/// Every bucket is there and readable, and the state and models buckets keep their promises about conditional
/// writes.
pub(crate) async fn check_buckets(store: &dyn Store, config: &Config) -> Outcome<()> {
    for bucket in config.site.buckets() {
        if let Err(error) = store.list(bucket, "", None).await {
            let (refusal, hint) = match refusal(error) {
                Refusal::Config(text) => (Refusal::Config as fn(String) -> Refusal, text),
                other => (Refusal::Unavailable as fn(String) -> Refusal, other.to_string()),
            };
            return Err(refusal(format!("bucket {bucket:?} cannot be used: {hint}")));
        }
    }
    for bucket in [&config.site.state, &config.site.models] {
        s3::probe(store, bucket).await.map_err(|error| match &error {
            s3::ProbeError::Port { error: PortError::Unavailable(_), .. } => {
                Refusal::Unavailable(error.to_string())
            }
            _ => Refusal::Config(error.to_string()),
        })?;
    }
    Ok(())
}

fn nats_config(config: &Config) -> nats::Config {
    let nats = &config.nats;
    nats::Config {
        servers: nats.url.clone(),
        name: format!("meshwright-{}", std::process::id()),
        user: nats.user.clone(),
        password: nats.password.as_ref().map(|password| nats::Secret::new(password.0.clone())),
        credentials_file: nats.credentials_file.clone(),
        root_ca_file: nats.root_ca_file.clone(),
        client_cert_file: nats.client_cert_file.clone(),
        client_key_file: nats.client_key_file.clone(),
        times: config.times(),
        replicas: nats.replicas,
    }
}
