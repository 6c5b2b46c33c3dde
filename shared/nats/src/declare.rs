//! Streams and boards, created or verified from the one table of `domain`: never blindly updated.

use crate::Broker;
use crate::connect::ANSWER_MAX;
use async_nats::jetstream::kv;
use async_nats::jetstream::stream::{Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType};
use domain::{BOARDS, BoardSpec, Discard, Medium, Retention, STREAMS, StreamSpec};
use ports::PortError;

/// Why the broker cannot be used as it is: one sentence with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeclareError {
    /// It exists with other settings, made by somebody else or by an older version.
    #[error(
        "stream {stream} has {field} {found}, and {expected} is needed; change it with the nats CLI, or \
         delete the stream: the sweep queues again what it held"
    )]
    Differs {
        /// Its name.
        stream: String,
        /// Which setting.
        field: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The broker refuses or does not answer.
    #[error("JetStream cannot be set up: {0}; is JetStream enabled, with enough storage, for this user?")]
    Failed(PortError),
}

fn storage(medium: Medium) -> StorageType {
    match medium {
        Medium::File => StorageType::File,
        Medium::Memory => StorageType::Memory,
    }
}

/// A stream's settings. Small stores are for tests and laptops: a server that has less than the table asks
/// for refuses it.
fn stream_config(spec: &StreamSpec) -> Config {
    Config {
        name: spec.name.to_owned(),
        subjects: vec![spec.subjects.to_owned()],
        retention: match spec.retention {
            Retention::WorkQueue => RetentionPolicy::WorkQueue,
            Retention::Limits => RetentionPolicy::Limits,
        },
        discard: match spec.discard {
            Discard::New => DiscardPolicy::New,
            Discard::Old => DiscardPolicy::Old,
        },
        max_messages_per_subject: if spec.one_per_subject { 1 } else { -1 },
        discard_new_per_subject: spec.one_per_subject,
        max_age: spec.age_max.unwrap_or_default(),
        max_bytes: spec.bytes_max.0 as i64,
        max_message_size: spec.message_bytes_max.0 as i32,
        duplicate_window: spec.duplicate_window,
        storage: storage(spec.medium),
        num_replicas: 1,
        max_messages: -1,
        max_consumers: -1,
        deny_purge: spec.deny_purge,
        allow_direct: true,
        persist_mode: Some(PersistenceMode::Default),
        ..Config::default()
    }
}

fn board_config(spec: &BoardSpec) -> kv::Config {
    kv::Config {
        bucket: spec.name.to_owned(),
        history: i64::from(spec.history),
        max_age: spec.age_max.unwrap_or_default(),
        max_bytes: spec.bytes_max.0 as i64,
        storage: storage(spec.medium),
        num_replicas: 1,
        ..kv::Config::default()
    }
}

/// The first setting that matters and differs.
fn difference(expected: &Config, found: &Config) -> Option<(&'static str, String, String)> {
    let pairs = [
        ("subjects", format!("{:?}", expected.subjects), format!("{:?}", found.subjects)),
        ("retention", format!("{:?}", expected.retention), format!("{:?}", found.retention)),
        ("discard", format!("{:?}", expected.discard), format!("{:?}", found.discard)),
        ("storage", format!("{:?}", expected.storage), format!("{:?}", found.storage)),
        (
            "messages per subject",
            expected.max_messages_per_subject.to_string(),
            found.max_messages_per_subject.to_string(),
        ),
        (
            "discard new per subject",
            expected.discard_new_per_subject.to_string(),
            found.discard_new_per_subject.to_string(),
        ),
        ("maximum age", format!("{:?}", expected.max_age), format!("{:?}", found.max_age)),
    ];
    pairs.into_iter().find(|(_, expected, found)| expected != found)
}

impl Broker {
    /// Creates what is missing and verifies what is there.
    ///
    /// # Errors
    /// See [`DeclareError`].
    pub async fn ensure(&self) -> Result<(), DeclareError> {
        for spec in &STREAMS {
            self.ensure_stream(spec).await?;
        }
        for spec in &BOARDS {
            self.ensure_board(spec).await?;
        }
        Ok(())
    }

    async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), DeclareError> {
        let expected = stream_config(spec);
        // Creating what is there with the same settings is no error; only then the settings are compared.
        let create = tokio::time::timeout(ANSWER_MAX, self.jetstream.create_stream(expected.clone())).await;
        let failed = |error: &dyn std::fmt::Display| {
            DeclareError::Failed(self.unanswered(&format!("declare stream {}", spec.name), error))
        };
        let created = create.map_err(|elapsed| failed(&elapsed))?;
        let info = match (created, self.jetstream.get_stream(spec.name).await) {
            (_, Ok(stream)) => stream.cached_info().config.clone(),
            (Err(error), Err(_)) => return Err(failed(&error)),
            (Ok(stream), Err(_)) => stream.cached_info().config.clone(),
        };
        match difference(&expected, &info) {
            None => Ok(()),
            Some((field, expected, found)) => {
                Err(DeclareError::Differs { stream: spec.name.to_owned(), field, expected, found })
            }
        }
    }

    async fn ensure_board(&self, spec: &BoardSpec) -> Result<(), DeclareError> {
        if self.jetstream.get_key_value(spec.name).await.is_ok() {
            return Ok(());
        }
        let created = self.jetstream.create_key_value(board_config(spec)).await;
        created.map(drop).map_err(|error| {
            DeclareError::Failed(self.unanswered(&format!("declare board {}", spec.name), &error))
        })
    }

    /// Declares everything anew after a call has missed a stream: a JetStream that lost its store. Callers
    /// queue up, and those that come behind find it done.
    pub(crate) async fn declare_again(&self) {
        let Ok(_alone) = self.declaring.try_lock() else {
            let _done_by_another = self.declaring.lock().await;
            return;
        };
        self.consumers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        self.boards.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        match self.ensure().await {
            Ok(()) => tracing::warn!("JetStream had lost its streams; they are declared again"),
            Err(error) => tracing::debug!(%error, "declare the streams again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_with_other_settings_is_named_with_both_values() {
        let expected = stream_config(&domain::TASKS);
        assert_eq!(difference(&expected, &expected), None);
        let found = Config { discard_new_per_subject: false, ..expected.clone() };
        assert_eq!(difference(&expected, &found).map(|(field, ..)| field), Some("discard new per subject"));
    }
}
