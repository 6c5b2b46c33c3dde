//! What the planner holds: in which order it was drawn, and that it is neither held for ever nor overtaken.

use super::truth::{number, shape_of};
use super::world::World;
use domain::{AckToken, Batch, BatchTask, Consumer};
use planning::Whereabouts;
use std::collections::BTreeMap;
use std::time::Duration;

/// F in these worlds: `hold_max`, patience, two minutes until the lowest class has risen, and the batches
/// before it.
const HELD_MAX: Duration = Duration::from_secs(900);
impl World {
    /// F: nothing is held for ever.
    pub(crate) fn check_held(&mut self) {
        let Some((since, token)) = self.held_since.first() else { return };
        let held = self.now.since(*since);
        let seed = self.settings.seed;
        assert!(held <= HELD_MAX, "property F: seed {seed}: {token:?} is held for {held:?}");
    }

    pub(crate) fn hold(&mut self, given: BatchTask, drawn: u64) {
        self.held_since.insert((given.drawn_at, given.ack_token.clone()));
        if given.delivery == 1 {
            self.order.entry(line_of(&given)).or_default().insert(drawn);
        }
        self.held.insert(given.ack_token.clone(), (given, drawn));
    }

    /// The planner's hands let go of a task.
    pub(crate) fn release(&mut self, token: &AckToken) -> (BatchTask, u64) {
        let (given, drawn) = self.held.remove(token).expect("only what is held is decided on");
        self.held_since.remove(&(given.drawn_at, token.clone()));
        self.seen.held_longest = self.seen.held_longest.max(self.now.since(given.drawn_at));
        if let Some(line) = self.order.get_mut(&line_of(&given)) {
            line.remove(&drawn);
        }
        (given, drawn)
    }

    /// D: of one line and shape nobody is taken before one that was drawn earlier, as long as both are at
    /// their first delivery and the earlier one is not passed over for lack of memory. Then the batch's tasks
    /// are out of the line, until it is refused.
    pub(crate) fn check_order(&mut self, batch: &Batch) {
        let mut taken: BTreeMap<(Consumer, usize), u64> = BTreeMap::new();
        for given in batch.tasks.iter().filter(|given| given.delivery == 1) {
            let Some((_, drawn)) = self.held.get(&given.ack_token) else { continue };
            let line = line_of(given);
            self.order.entry(line.clone()).or_default().remove(drawn);
            let last = taken.entry(line).or_default();
            *last = (*last).max(*drawn);
        }
        for (line, last) in taken {
            let earlier = self.order.get(&line).into_iter().flat_map(|line| line.range(..last));
            for drawn in earlier {
                let Some((given, _)) = self.held.get(&AckToken(drawn.to_string())) else { continue };
                let why = self.planner.explain(self.now, &given.task);
                let passed = matches!(why.whereabouts, Whereabouts::Memory { .. });
                let seed = self.settings.seed;
                assert!(passed, "property D: seed {seed}: {line:?} was overtaken: {}", why.text);
            }
        }
    }

    /// A refused batch's tasks stand in line again.
    pub(crate) fn put_in_order(&mut self, batch: &Batch) {
        for given in batch.tasks.iter().filter(|given| given.delivery == 1) {
            if let Some((_, drawn)) = self.held.get(&given.ack_token) {
                self.order.entry(line_of(given)).or_default().insert(*drawn);
            }
        }
    }
}

fn line_of(given: &BatchTask) -> (Consumer, usize) {
    (Consumer::of_task(&given.task), shape_of(number(given.task.job)))
}
