//! Streams and boards, created or verified from the one table of `domain`: never blindly updated.

use crate::Broker;
use crate::connect::ANSWER_MAX;
use crate::errors::STREAM_NOT_FOUND;
use async_nats::jetstream::context::GetStreamErrorKind;
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
fn stream_config(spec: &StreamSpec, replicas: usize) -> Config {
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
        num_replicas: replicas,
        max_messages: -1,
        max_consumers: -1,
        deny_purge: spec.deny_purge,
        allow_direct: true,
        persist_mode: Some(PersistenceMode::Default),
        ..Config::default()
    }
}

fn board_config(spec: &BoardSpec, replicas: usize) -> kv::Config {
    kv::Config {
        bucket: spec.name.to_owned(),
        history: i64::from(spec.history),
        max_age: spec.age_max.unwrap_or_default(),
        max_bytes: spec.bytes_max.0 as i64,
        storage: storage(spec.medium),
        num_replicas: replicas,
        ..kv::Config::default()
    }
}

/// The settings of the stream behind a board, as far as the table has them.
fn board_stream_config(spec: &BoardSpec, replicas: usize, found: &Config) -> Config {
    Config {
        max_messages_per_subject: i64::from(spec.history),
        max_age: spec.age_max.unwrap_or_default(),
        max_bytes: spec.bytes_max.0 as i64,
        storage: storage(spec.medium),
        num_replicas: replicas,
        ..found.clone()
    }
}

/// A setting: its name, what it must be, what it is.
type Difference = (&'static str, String, String);

/// The first declared setting that differs.
fn difference(expected: &Config, found: &Config) -> Option<Difference> {
    fn pair<T: std::fmt::Debug>(name: &'static str, expected: &T, found: &T) -> Difference {
        (name, format!("{expected:?}"), format!("{found:?}"))
    }
    let pairs = [
        pair("subjects", &expected.subjects, &found.subjects),
        pair("retention", &expected.retention, &found.retention),
        pair("discard", &expected.discard, &found.discard),
        pair("storage", &expected.storage, &found.storage),
        pair("replicas", &expected.num_replicas, &found.num_replicas),
        pair("messages per subject", &expected.max_messages_per_subject, &found.max_messages_per_subject),
        pair("discard new per subject", &expected.discard_new_per_subject, &found.discard_new_per_subject),
        pair("maximum age", &expected.max_age, &found.max_age),
        pair("maximum bytes", &expected.max_bytes, &found.max_bytes),
        pair("maximum message size", &expected.max_message_size, &found.max_message_size),
        pair("maximum messages", &expected.max_messages, &found.max_messages),
        pair("duplicate window", &expected.duplicate_window, &found.duplicate_window),
        pair("purge denied", &expected.deny_purge, &found.deny_purge),
    ];
    pairs.into_iter().find(|(_, expected, found)| expected != found)
}

fn verified(name: &str, expected: &Config, found: &Config) -> Result<(), DeclareError> {
    match difference(expected, found) {
        None => Ok(()),
        Some((field, expected, found)) => {
            Err(DeclareError::Differs { stream: name.to_owned(), field, expected, found })
        }
    }
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

    /// Verifies what is there, and makes nothing. The streams and boards that are missing.
    ///
    /// # Errors
    /// See [`DeclareError`].
    pub async fn missing(&self) -> Result<Vec<&'static str>, DeclareError> {
        let mut missing = Vec::new();
        for spec in &STREAMS {
            match self.settings_of(spec.name).await? {
                Some(found) => verified(spec.name, &stream_config(spec, self.replicas), &found)?,
                None => missing.push(spec.name),
            }
        }
        for spec in &BOARDS {
            // The server's name for the stream behind a key-value bucket.
            let name = format!("KV_{}", spec.name);
            match self.settings_of(&name).await? {
                Some(found) => verified(&name, &board_stream_config(spec, self.replicas, &found), &found)?,
                None => missing.push(spec.name),
            }
        }
        Ok(missing)
    }

    async fn ensure_stream(&self, spec: &StreamSpec) -> Result<(), DeclareError> {
        let expected = stream_config(spec, self.replicas);
        // Looked at first: most users may not create what an operator has created for them.
        let info = match self.settings_of(spec.name).await? {
            Some(found) => found,
            None => {
                let failed = |error: &dyn std::fmt::Display| {
                    let what = format!("declare stream {}", spec.name);
                    DeclareError::Failed(self.unanswered(&what, spec.name, error))
                };
                let create = self.jetstream.create_stream(expected.clone());
                match tokio::time::timeout(ANSWER_MAX, create).await.map_err(|elapsed| failed(&elapsed))? {
                    Ok(stream) => stream.cached_info().config.clone(),
                    // Somebody else was quicker, perhaps with other settings.
                    Err(error) => self.settings_of(spec.name).await?.ok_or_else(|| failed(&error))?,
                }
            }
        };
        verified(spec.name, &expected, &info)
    }

    /// The settings of a stream; none where there is no such stream.
    async fn settings_of(&self, stream: &str) -> Result<Option<Config>, DeclareError> {
        let failed = |error: &dyn std::fmt::Display| {
            DeclareError::Failed(self.unanswered(&format!("look at stream {stream}"), stream, error))
        };
        match tokio::time::timeout(ANSWER_MAX, self.jetstream.get_stream(stream)).await {
            Ok(Ok(found)) => Ok(Some(found.cached_info().config.clone())),
            Ok(Err(error)) => match error.kind() {
                GetStreamErrorKind::JetStream(inner) if inner.error_code().0 == STREAM_NOT_FOUND => Ok(None),
                _ => Err(failed(&error)),
            },
            Err(elapsed) => Err(failed(&elapsed)),
        }
    }

    async fn ensure_board(&self, spec: &BoardSpec) -> Result<(), DeclareError> {
        let store = match self.jetstream.get_key_value(spec.name).await {
            Ok(store) => store,
            Err(_) => {
                let created = self.jetstream.create_key_value(board_config(spec, self.replicas)).await;
                created.map_err(|error| {
                    let what = format!("declare board {}", spec.name);
                    DeclareError::Failed(self.unanswered(&what, spec.name, &error))
                })?
            }
        };
        let found = &store.stream.cached_info().config;
        verified(&found.name, &board_stream_config(spec, self.replicas, found), found)
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
    fn a_stream_with_any_other_setting_is_named_with_both_values() {
        let expected = stream_config(&domain::TASKS, 1);
        let check = |found: Config, field: &str| match verified("TASKS", &expected, &found) {
            Err(DeclareError::Differs { field: found, .. }) => assert_eq!(found, field),
            other => panic!("{field}: {other:?}"),
        };
        assert_eq!(verified("TASKS", &expected, &expected), Ok(()));
        let same = || expected.clone();
        check(Config { discard_new_per_subject: false, ..same() }, "discard new per subject");
        check(Config { max_bytes: 1 << 20, ..same() }, "maximum bytes");
        check(Config { max_message_size: -1, ..same() }, "maximum message size");
        check(Config { duplicate_window: std::time::Duration::from_secs(1), ..same() }, "duplicate window");
        check(Config { deny_purge: false, ..same() }, "purge denied");
        check(stream_config(&domain::TASKS, 3), "replicas");
    }
}
