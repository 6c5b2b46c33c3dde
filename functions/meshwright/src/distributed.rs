//! The distributed form: ports on a real NATS server and a real S3 store, checked before anything is bound.

use crate::config::{Config, S3Config};
use crate::refusal::{Outcome, Refusal};
use ports::{PortError, Ports, Store, SystemClock};
use std::sync::Arc;

/// Connects to broker and store, makes or verifies streams and boards, and probes the store.
pub(crate) async fn connect(config: &Config) -> Outcome<Ports> {
    let store = connect_store(&config.s3);
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

/// The store; nothing is asked yet.
pub(crate) fn connect_store(config: &S3Config) -> Arc<dyn Store> {
    s3::connect(s3_config(config))
}

/// Where the store is, and as whom we speak to it.
pub(crate) fn s3_config(config: &S3Config) -> s3::Config {
    s3::Config {
        endpoint: config.endpoint.clone(),
        region: config.region.clone().unwrap_or_else(|| "us-east-1".to_owned()),
        access_key: config.access_key.clone(),
        secret_key: s3::Secret::new(config.secret_key.0.clone()),
        session_token: config.session_token.as_ref().map(|token| s3::Secret::new(token.0.clone())),
        path_style: config.path_style,
    }
}

/// Every bucket is there and readable, and the state and models buckets keep their promises about conditional
/// writes.
pub(crate) async fn check_buckets(store: &dyn Store, config: &Config) -> Outcome<()> {
    for bucket in config.site.buckets() {
        if let Err(error) = store.list(bucket, "", None).await {
            return Err(unusable(bucket, &error, &config.s3));
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

/// Why a bucket cannot be used, and what to do about it.
fn unusable(bucket: &str, error: &PortError, config: &S3Config) -> Refusal {
    let endpoint = config.endpoint.as_deref().unwrap_or("the store of its region");
    let hint = match error {
        PortError::Unavailable(_) => format!("start the store at {endpoint}, or correct s3.endpoint"),
        PortError::Missing(_) => "make it, or correct its name under [site]".to_owned(),
        PortError::Denied(_) => {
            "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or let that user list it".to_owned()
        }
        _ => "`meshwright doctor` looks at everything else".to_owned(),
    };
    let text = format!("bucket {bucket:?} cannot be used: {error}; {hint}");
    match error {
        PortError::Unavailable(_) => Refusal::Unavailable(text),
        _ => Refusal::Config(text),
    }
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
