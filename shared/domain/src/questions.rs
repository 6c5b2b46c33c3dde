//! What is asked of a planner or a worker on behalf of a person.

use crate::{Bytes, DeviceId, Stage, Task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A question to the leading planner, a request on subject `plan`. What it answers are types of `planning`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum PlanQuestion {
    /// Why this task waits or runs as it does; or another one of its job, if that is the one that is there.
    Explain {
        /// The task.
        task: Box<Task>,
    },
    /// All that is known of devices.
    Devices {
        /// Of this one only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<DeviceId>,
        /// At this stage only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stage: Option<Stage>,
        /// What the answer before said to go on with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// The batch that would be cut now, on each device that runs the stage.
    BatchSize {
        /// On this one only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<DeviceId>,
        /// The stage.
        stage: Stage,
        /// Side of the pictures in pixels.
        image_size: u32,
        /// Steps of inference.
        inference_steps: u32,
        /// How many wait; those that do unless it is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue_size: Option<u32>,
    },
}

/// What a worker gave back: its answer to an empty request on subject `release.<worker>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Released {
    /// Idle runners that were ended.
    pub runners: u32,
    /// Free bytes of the device before.
    pub free_before_bytes: Bytes,
    /// And afterwards.
    pub free_after_bytes: Bytes,
}
