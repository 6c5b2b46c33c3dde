//! What is asked of the leader on behalf of a person: why a task waits, what devices can take.

use domain::{PlanQuestion, Timestamp};
use planning::{Advisors, Pictures, Planner};

/// The largest picture and the most steps that are asked for.
const SIZE_MAX: u32 = 1 << 16;

/// The answer to a question as JSON; none to one that cannot be read or makes no sense, which the asker has
/// seen to.
pub(crate) fn answer(
    core: &Planner,
    advisors: &mut Advisors,
    now: Timestamp,
    question: &[u8],
) -> Option<Vec<u8>> {
    let question = match serde_json::from_slice(question) {
        Ok(question) => question,
        Err(error) => {
            tracing::warn!(%error, "a question that cannot be read is ignored");
            return None;
        }
    };
    let answer = match question {
        PlanQuestion::Explain { task } => {
            let here = core.find(task.job).unwrap_or(*task);
            serde_json::to_vec(&core.explain(now, &here))
        }
        PlanQuestion::Devices { device, stage, after } => {
            serde_json::to_vec(&advisors.reports(core, (device.as_ref(), stage), after.as_deref()))
        }
        PlanQuestion::BatchSize { device, stage, image_size, inference_steps, queue_size } => {
            if image_size.max(inference_steps) > SIZE_MAX {
                return None;
            }
            let pictures = Pictures { image_size, inference_steps, queue_size };
            serde_json::to_vec(&advisors.batch_sizes(core, (device.as_ref(), stage), pictures))
        }
    };
    answer.ok()
}
