//! The items of a batch on its lane: which are open, which are with the runner, what is said of each, and
//! how its time was spent.

use crate::lane::{ItemEnd, ItemSay, Spent};
use domain::{Phase, PhaseTimes};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// All items of one batch.
pub(crate) struct Items<'a> {
    /// Not ended yet.
    open: BTreeSet<usize>,
    /// With the runner, in its order; the runner names them by their place here.
    group: Vec<usize>,
    /// The one that is being computed.
    current: Option<usize>,
    /// Something of the group was begun.
    any_started: bool,
    scopes: Scopes,
    heard: &'a mpsc::Sender<(usize, ItemSay)>,
}

impl<'a> Items<'a> {
    pub(crate) fn new(count: usize, heard: &'a mpsc::Sender<(usize, ItemSay)>) -> Items<'a> {
        let (open, group, scopes) = ((0..count).collect(), Vec::new(), Scopes::default());
        Items { open, group, current: None, any_started: false, scopes, heard }
    }

    /// The first open items go to the runner, at most `max`; the others wait.
    pub(crate) fn begin_group(&mut self, max: usize) {
        self.group = self.open.iter().copied().take(max).collect();
        (self.current, self.any_started) = (None, false);
        for (place, item) in self.open.iter().enumerate() {
            self.scopes.enter(*item, if place < max { Phase::Load } else { Phase::Wait });
        }
    }

    /// The runner has the group no longer. What follows until the next one begins belongs to no phase.
    pub(crate) fn leave_group(&mut self) {
        for item in &self.group {
            self.scopes.close(*item);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn group(&self) -> &[usize] {
        &self.group
    }

    fn open_in_group(&self) -> impl Iterator<Item = usize> {
        self.group.iter().copied().filter(|item| self.open.contains(item))
    }

    /// Open items of the group.
    pub(crate) fn left(&self) -> usize {
        self.open_in_group().count()
    }

    /// The first open item of the group.
    pub(crate) fn first(&self) -> Option<usize> {
        self.open_in_group().next()
    }

    /// The item that is being computed.
    pub(crate) fn current(&self) -> Option<usize> {
        self.current.filter(|item| self.open.contains(item))
    }

    /// The group has one item only: whatever its runner did, it did for that.
    pub(crate) fn is_alone(&self) -> bool {
        self.group.len() == 1
    }

    pub(crate) fn any_started(&self) -> bool {
        self.any_started
    }

    /// Whether an open item of the group is among these.
    pub(crate) fn has_any_of(&self, cancelled: &BTreeSet<usize>) -> bool {
        self.open_in_group().any(|item| cancelled.contains(&item))
    }

    /// The runner begins with the item at this place of the group. A place that it does not have is ignored.
    pub(crate) async fn started(&mut self, place: usize) {
        let Some(item) = self.group.get(place).copied().filter(|item| self.open.contains(item)) else {
            return;
        };
        if !self.any_started {
            // The runner is loaded: from now on the others wait for their turn.
            let waiting: Vec<usize> = self.open_in_group().collect();
            waiting.into_iter().for_each(|item| self.scopes.enter(item, Phase::Wait));
        }
        self.scopes.enter(item, Phase::Compute);
        (self.current, self.any_started) = (Some(item), true);
        self.say(item, ItemSay::Started).await;
    }

    pub(crate) async fn goes_on(&self, place: usize, fraction: f32, phase: String) {
        if let Some(item) = self.group.get(place).filter(|item| self.open.contains(item)) {
            self.say(*item, ItemSay::Progress { fraction, phase }).await;
        }
    }

    /// The runner has finished the item at this place of the group.
    pub(crate) async fn finished(&mut self, place: usize, spent: Spent, how: ItemEnd) {
        self.current = None;
        if let Some(item) = self.group.get(place).copied() {
            self.end_with(item, spent, how).await;
        }
    }

    /// Ends an item that is still open.
    pub(crate) async fn end(&mut self, item: Option<usize>, how: ItemEnd) {
        if let Some(item) = item {
            self.end_with(item, Spent::default(), how).await;
        }
    }

    /// Ends all open items of the group.
    pub(crate) async fn end_group(&mut self, how: &ItemEnd) {
        let group: BTreeSet<usize> = self.open_in_group().collect();
        self.end_all(|item| group.contains(&item), how).await;
    }

    /// Ends all open items of which `which` is true.
    pub(crate) async fn end_all(&mut self, which: impl Fn(usize) -> bool, how: &ItemEnd) {
        let items: Vec<usize> = self.open.iter().copied().filter(|item| which(*item)).collect();
        for item in items {
            self.end(Some(item), how.clone()).await;
        }
    }

    async fn end_with(&mut self, item: usize, spent: Spent, how: ItemEnd) {
        if self.open.remove(&item) {
            let phases = self.scopes.take(item);
            self.say(item, ItemSay::Spent(Spent { phases, ended: Some(Instant::now()), ..spent })).await;
            self.say(item, ItemSay::Ended(how)).await;
        }
    }

    async fn say(&self, item: usize, say: ItemSay) {
        // The listener outlives the lane; if it is gone nobody waits for the item.
        let _nobody_listens = self.heard.send((item, say)).await;
    }
}

/// The open scope of each item, and what its closed ones add up to.
#[derive(Default)]
struct Scopes {
    open: BTreeMap<usize, (Phase, Instant)>,
    spent: BTreeMap<usize, PhaseTimes>,
}

impl Scopes {
    /// Closes the item's scope, if one is open, and opens another.
    fn enter(&mut self, item: usize, phase: Phase) {
        self.close(item);
        self.open.insert(item, (phase, Instant::now()));
    }

    fn close(&mut self, item: usize) {
        if let Some((phase, since)) = self.open.remove(&item) {
            self.spent.entry(item).or_default().add(phase, since.elapsed());
        }
    }

    fn take(&mut self, item: usize) -> PhaseTimes {
        self.close(item);
        self.spent.remove(&item).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn pass(ms: u64) {
        tokio::time::advance(Duration::from_millis(ms)).await;
    }

    fn spent(hear: &mut mpsc::Receiver<(usize, ItemSay)>) -> BTreeMap<usize, [u64; 3]> {
        let mut all = BTreeMap::new();
        while let Ok((item, say)) = hear.try_recv() {
            if let ItemSay::Spent(Spent { phases, .. }) = say {
                let ms = [phases.load_us, phases.wait_us, phases.compute_us].map(|us| us / 1000);
                all.insert(item, ms);
            }
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn load_wait_and_compute_of_each_item_are_measured_apart_and_gaps_belong_to_none() {
        let (heard, mut hear) = mpsc::channel(64);
        let mut items = Items::new(3, &heard);
        items.begin_group(2);
        pass(5).await;
        items.started(0).await;
        pass(10).await;
        items.finished(0, Spent::default(), ItemEnd::NotRun).await;
        pass(1).await;
        items.started(1).await;
        pass(20).await;
        // Its runner dies, and is gone after 100 ms.
        items.leave_group();
        pass(100).await;
        items.begin_group(2);
        pass(5).await;
        items.started(0).await;
        pass(30).await;
        items.finished(0, Spent::default(), ItemEnd::NotRun).await;
        items.started(1).await;
        items.finished(1, Spent::default(), ItemEnd::NotRun).await;
        let expect = [(0, [5, 0, 10]), (1, [10, 11, 50]), (2, [5, 166, 0])];
        assert_eq!(spent(&mut hear), BTreeMap::from(expect));
        assert!(items.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn words_of_items_that_the_group_does_not_have_are_ignored() {
        let (heard, mut hear) = mpsc::channel(64);
        let mut items = Items::new(1, &heard);
        items.begin_group(1);
        items.started(7).await;
        items.finished(7, Spent::default(), ItemEnd::NotRun).await;
        items.finished(0, Spent::default(), ItemEnd::NotRun).await;
        items.started(0).await;
        items.finished(0, Spent::default(), ItemEnd::NotRun).await;
        assert_eq!(spent(&mut hear).len(), 1);
        assert_eq!((items.left(), items.current(), items.any_started()), (0, None, false));
    }
}
