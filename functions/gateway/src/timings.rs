//! Timings of late: followed from their log, kept within bounds, and analysed when somebody asks. Any number
//! of gateways follow the same log and say the same; one that restarts reads it again.

use crate::Gateway;
use crate::devices;
use crate::follow::HeardTo;
use crate::problem::Problem;
use domain::{TIMINGS, Timestamp, Timing};
use ports::Logged;
use profile::{Capacity, Declared, EtaModel, Report, Setup, Window};
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Timings that are kept, and read after a start: at 14 jobs per second those of an hour.
pub(crate) const TIMINGS_MAX: usize = 200_000;
/// What they were as text, all together; in memory they take about as much.
const BYTES_MAX: usize = 128 << 20;
/// The longest window; older timings go.
pub(crate) const WINDOW_MAX: Duration = Duration::from_secs(24 * 3600);
/// The window that is meant unless another one is asked for.
pub(crate) const WINDOW: Duration = Duration::from_secs(3600);
/// Analyses that are kept to be given again.
const ANALYSES_MAX: usize = 8;
/// Analysing takes no more than one part in so many of the time: an analysis is good for as much longer than
/// it took, whatever was heard since.
const ANALYSIS_SHARE: u32 = 20;
/// An analysis is good for so long when nothing was heard since: lanes come and go, and the window moves on.
const STILL_GOOD: Duration = Duration::from_secs(5);

/// A window, and what it says.
pub(crate) struct Analysis {
    pub(crate) window: Window,
    pub(crate) capacity: Capacity,
    pub(crate) report: Report,
}

impl Analysis {
    fn of(timings: &[Arc<Timing>], setup: Option<Setup>) -> Analysis {
        let mut window = Window::new();
        timings.iter().for_each(|timing| window.add(timing));
        let setup = setup.unwrap_or_else(|| Setup::seen(&window));
        let report = Report::of(&window, &setup, &Declared::default());
        Analysis { capacity: Capacity::new(&window, &setup), window, report }
    }
}

/// An analysis that was made, and when.
struct Made {
    span: Duration,
    heard_to: u64,
    at: Instant,
    took: Duration,
    analysis: Arc<Analysis>,
}

impl Made {
    fn is_good(&self, heard_to: u64, patience: Duration) -> bool {
        let age = self.at.elapsed();
        // Where nothing was measured yet, the first measurement is news.
        let patience = if self.analysis.report.limit.is_some() { patience } else { Duration::ZERO };
        age < patience.max(self.took * ANALYSIS_SHARE) || (heard_to == self.heard_to && age < STILL_GOOD)
    }
}

#[derive(Default)]
struct Kept {
    /// In the order of the log: when the broker took it in, its length as text, and itself.
    timings: VecDeque<(Timestamp, usize, Arc<Timing>)>,
    bytes: usize,
    model: EtaModel,
}

impl Kept {
    fn add(&mut self, at: Timestamp, bytes: usize, timing: Timing) {
        self.model.learn(&timing, &timing.kind);
        self.bytes += bytes;
        self.timings.push_back((at, bytes, Arc::new(timing)));
        while self.timings.front().is_some_and(|(oldest, ..)| {
            self.timings.len() > TIMINGS_MAX || self.bytes > BYTES_MAX || at.since(*oldest) > WINDOW_MAX
        }) {
            let gone = self.timings.pop_front();
            self.bytes -= gone.map_or(0, |(_, bytes, _)| bytes);
        }
    }

    fn since(&self, from: Timestamp) -> Vec<Arc<Timing>> {
        let late = self.timings.iter().rev().take_while(|(at, ..)| *at >= from);
        let mut late: Vec<_> = late.map(|(_, _, timing)| timing.clone()).collect();
        late.reverse();
        late
    }
}

/// Timings of late, and what was made of them.
#[derive(Default)]
pub(crate) struct Timings {
    kept: RwLock<Kept>,
    heard_to: HeardTo,
    /// Held while one is made, so that many who ask wait for one.
    made: Mutex<VecDeque<Made>>,
}

impl Timings {
    /// Takes one in.
    pub(crate) fn hear(&self, logged: &Logged) {
        if let Ok(timing) = serde_json::from_slice(&logged.payload) {
            let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
            kept.add(logged.at, logged.payload.len(), timing);
        }
        self.heard_to.set(logged.sequence);
    }

    fn read(&self) -> RwLockReadGuard<'_, Kept> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks what was learned of times.
    pub(crate) fn with_model<T>(&self, ask: impl FnOnce(&EtaModel) -> T) -> T {
        ask(&self.read().model)
    }
}

/// The timings of so long themselves, all that the log has by now included, in its order.
pub(crate) async fn raw(gateway: &Gateway, span: Duration) -> Result<Vec<Arc<Timing>>, Problem> {
    let last = gateway.ports.wire.range(&TIMINGS).await?.last;
    gateway.timings.heard_to.catch_up(last).await;
    Ok(gateway.timings.read().since(gateway.ports.clock.now() - span))
}

/// What the timings of so long say, all that the log has by now included.
pub(crate) async fn analysis(gateway: &Gateway, span: Duration) -> Result<Arc<Analysis>, Problem> {
    let last = gateway.ports.wire.range(&TIMINGS).await?.last;
    gateway.timings.heard_to.catch_up(last).await;
    made(gateway, span, Duration::ZERO).await
}

/// What the usual window says, as it was said at most so long ago.
pub(crate) async fn recent(gateway: &Gateway, patience: Duration) -> Result<Arc<Analysis>, Problem> {
    made(gateway, WINDOW, patience).await
}

async fn made(gateway: &Gateway, span: Duration, patience: Duration) -> Result<Arc<Analysis>, Problem> {
    let timings = &gateway.timings;
    let mut all = timings.made.lock().await;
    let heard_to = timings.heard_to.get();
    if let Some(made) = all.iter().find(|made| made.span == span && made.is_good(heard_to, patience)) {
        return Ok(made.analysis.clone());
    }
    let entries = devices::recent(gateway).await;
    // Nobody there to say how many lanes there are: as many as were busy.
    let setup = (!entries.is_empty()).then(|| Setup::from_devices(entries.iter()));
    let late = timings.read().since(gateway.ports.clock.now() - span);
    let at = Instant::now();
    let analysis = tokio::task::spawn_blocking(move || Analysis::of(&late, setup)).await;
    let analysis = Arc::new(analysis.map_err(|_| Problem::unavailable("this gateway is about to end"))?);
    all.retain(|made| made.span != span);
    if all.len() >= ANALYSES_MAX {
        all.pop_front();
    }
    all.push_back(Made { span, heard_to, at, took: at.elapsed(), analysis: analysis.clone() });
    Ok(analysis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::timing;

    #[test]
    fn the_oldest_go_by_number_by_size_and_by_age() {
        let mut kept = Kept::default();
        for n in 0..TIMINGS_MAX as u64 + 10 {
            kept.add(Timestamp(n), 1, timing(n));
        }
        assert_eq!((kept.timings.len(), kept.timings[0].0), (TIMINGS_MAX, Timestamp(10)));
        assert_eq!((kept.bytes, kept.since(Timestamp(200_000)).len()), (TIMINGS_MAX, 10));
        kept.add(Timestamp(300_000), BYTES_MAX - 5, timing(1));
        assert_eq!((kept.timings.len(), kept.bytes), (6, BYTES_MAX));
        kept.add(Timestamp(300_001) + WINDOW_MAX, 1, timing(2));
        assert_eq!((kept.timings.len(), kept.bytes), (1, 1));
        assert_eq!(kept.since(Timestamp(0))[0].job, timing(2).job);
    }
}
