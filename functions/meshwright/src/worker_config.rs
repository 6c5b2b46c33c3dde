//! The part of the configuration that is a worker's: its device, its runners, and what it does about faults.

use crate::refusal::{Outcome, Refusal};
use crate::service::data_folder;
use domain::Bytes;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use worker::{XidAction, XidTable};

/// How a worker uses its device.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WorkerConfig {
    /// A part of its name; the host's name when not given.
    pub(crate) name: Option<String>,
    /// Places where a batch runs at a time; as many as cores when not given.
    pub(crate) lanes: Option<usize>,
    /// Whether the next batch's inputs are fetched while one runs.
    pub(crate) fetch_ahead: bool,
    /// Use no more of the device's memory than this.
    pub(crate) memory_max: Option<String>,
    /// The network that cuts out before any background; `u2netp.onnx` in the user's model folder when not
    /// given.
    pub(crate) matting_model: Option<PathBuf>,
    /// NVIDIA's management library; the system's `libnvidia-ml.so.1` when not given.
    pub(crate) nvml_library: Option<PathBuf>,
    /// An idle runner ends after this long.
    pub(crate) runner_idle_s: u64,
    /// Longest wait for running batches at shutdown.
    pub(crate) drain_s: u64,
    /// What is done about an Xid (`note`, `restart`, `drain`, `dead`), by its number; `unknown` stands for
    /// all numbers that nobody has decided on.
    pub(crate) xid: BTreeMap<String, XidAction>,
}

impl Default for WorkerConfig {
    fn default() -> WorkerConfig {
        WorkerConfig {
            name: None,
            lanes: None,
            fetch_ahead: true,
            memory_max: None,
            matting_model: None,
            nvml_library: None,
            runner_idle_s: 60,
            drain_s: 60,
            xid: BTreeMap::new(),
        }
    }
}

impl WorkerConfig {
    /// What the environment says of workers.
    pub(crate) fn apply_environment(&mut self, get: impl Fn(&str) -> Option<String>) {
        if let Some(model) = get("MESHWRIGHT_MATTING_MODEL") {
            self.matting_model = Some(model.into());
        }
    }

    /// What can be told before anything starts.
    pub(crate) fn checked(&self) -> Outcome<()> {
        self.memory_max()?;
        self.xids()?;
        if self.lanes == Some(0) {
            let text = "worker.lanes is 0, on which nothing ever runs; use 1 or more";
            return Err(Refusal::Config(text.to_owned()));
        }
        if self.runner_idle_s == 0 {
            let text =
                "worker.runner_idle_s is 0, which ends each runner before its next batch; use 1 or more";
            return Err(Refusal::Config(text.to_owned()));
        }
        match self.matting_model.as_ref().filter(|model| !model.is_file()) {
            None => Ok(()),
            Some(model) => Err(Refusal::Config(format!(
                "worker.matting_model is {}, and there is no such file",
                model.display()
            ))),
        }
    }

    /// The cap on the device's memory.
    pub(crate) fn memory_max(&self) -> Outcome<Option<Bytes>> {
        let Some(text) = &self.memory_max else { return Ok(None) };
        let bytes = Bytes::parse(text).filter(|bytes| *bytes >= Bytes::mib(512));
        let bad = || Refusal::Config(format!("worker.memory_max is {text:?}; use at least 512MiB, as 4GiB"));
        bytes.map(Some).ok_or_else(bad)
    }

    /// What is done about each Xid: the table, with what is configured over it.
    pub(crate) fn xids(&self) -> Outcome<XidTable> {
        self.xid.iter().try_fold(XidTable::default(), |table, (name, action)| {
            let number = match name.as_str() {
                "unknown" => None,
                number => Some(number.parse::<u32>().map_err(|_| {
                    let text = format!("worker.xid has {name:?}; use an Xid's number, or \"unknown\"");
                    Refusal::Config(text)
                })?),
            };
            Ok(table.with(number, *action))
        })
    }

    /// Where the matting network's file should be.
    pub(crate) fn matting_place(&self) -> PathBuf {
        self.matting_model.clone().unwrap_or_else(|| data_folder("models").join("u2netp.onnx"))
    }

    /// The matting network's file. One that is named must be there when a runner starts; one that is not
    /// named is used if it is installed.
    pub(crate) fn matting_model(&self) -> Option<PathBuf> {
        Some(self.matting_place()).filter(|place| self.matting_model.is_some() || place.is_file())
    }

    /// How many lanes; `device` is what the device does best with, as many as cores when it does not care.
    pub(crate) fn lanes(&self, device: Option<usize>) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.lanes.or(device).unwrap_or_else(cores).max(1)
    }

    /// See the fields.
    pub(crate) fn spans(&self) -> (Duration, Duration) {
        (Duration::from_secs(self.runner_idle_s), Duration::from_secs(self.drain_s))
    }
}
