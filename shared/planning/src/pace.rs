//! How fast tasks come.

use domain::Timestamp;

/// What came this long ago counts about a third.
const FADES_S: f64 = 10.0;

/// Arrivals per second, the latest most.
#[derive(Default)]
pub(crate) struct Pace {
    rate: f64,
    last: Timestamp,
}

impl Pace {
    /// A task came.
    pub(crate) fn see(&mut self, now: Timestamp) {
        self.rate = self.per_second(now) + 1.0 / FADES_S;
        self.last = self.last.max(now);
    }

    pub(crate) fn per_second(&self, now: Timestamp) -> f64 {
        self.rate * (-now.since(self.last).as_secs_f64() / FADES_S).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_learned_and_forgotten() {
        let mut pace = Pace::default();
        for n in 0..400u64 {
            pace.see(Timestamp(1_000 + n * 250));
        }
        let now = Timestamp(101_000);
        assert!((3.5..4.5).contains(&pace.per_second(now)), "{}", pace.per_second(now));
        assert!(pace.per_second(Timestamp(201_000)) < 0.01);
    }
}
