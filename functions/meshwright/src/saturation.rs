//! Where a rising load becomes too much: latencies in order, the load in slices of time, and the rate behind
//! which what is done no longer follows what is asked for. Pure.

use serde_json::{Value, json};
use std::time::Duration;

/// Slices of a load, and jobs that each should have on average.
const SLICES: std::ops::RangeInclusive<usize> = 4..=20;
const JOBS_PER_SLICE: usize = 5;
/// Saturated is what stays below so much of the highest rate that was asked for.
const BELOW: f64 = 0.9;
/// And a limit must explain what was done so much better than none.
const BETTER: f64 = 0.5;

/// When a job was intended to begin, and when it ended, if it did.
pub(crate) type Life = (Duration, Option<Duration>);

/// The value at this share of a sorted list, by nearest rank.
fn at_share(sorted: &[Duration], share: f64) -> Option<Duration> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// How latencies lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) count: usize,
    pub(crate) p50: Duration,
    pub(crate) p90: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

impl Spread {
    /// None of none.
    pub(crate) fn of(mut all: Vec<Duration>) -> Option<Spread> {
        all.sort_unstable();
        let at = |share| at_share(&all, share);
        Some(Spread { count: all.len(), p50: at(0.5)?, p90: at(0.9)?, p99: at(0.99)?, max: *all.last()? })
    }

    pub(crate) fn json(&self) -> Value {
        let ms = |span: Duration| span.as_secs_f64() * 1e3;
        json!({"count": self.count, "p50_ms": ms(self.p50), "p90_ms": ms(self.p90), "p99_ms": ms(self.p99),
               "max_ms": ms(self.max)})
    }
}

/// A part of the time in which jobs began.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slice {
    pub(crate) from_s: f64,
    pub(crate) until_s: f64,
    /// Jobs per second that were intended to begin in it.
    pub(crate) offered_per_s: f64,
    /// Jobs per second that ended in it.
    pub(crate) done_per_s: f64,
    /// Latencies of those that were intended to begin in it and have ended.
    pub(crate) latency: Option<Spread>,
}

impl Slice {
    pub(crate) fn json(&self) -> Value {
        json!({"from_s": self.from_s, "until_s": self.until_s, "offered_per_s": self.offered_per_s,
               "done_per_s": self.done_per_s, "latency": self.latency.map(|latency| latency.json())})
    }
}

/// Borders of equal slices.
fn borders(lives: &[Life], until: Duration) -> Vec<(f64, f64)> {
    let count = (lives.len() / JOBS_PER_SLICE).clamp(*SLICES.start(), *SLICES.end());
    let each = until.as_secs_f64() / count as f64;
    (0..count).map(|n| (n as f64 * each, (n + 1) as f64 * each)).collect()
}

fn per_second(moments: impl Iterator<Item = Duration>, (from, until): (f64, f64)) -> f64 {
    let within = moments.filter(|at| (from..until).contains(&at.as_secs_f64())).count();
    if until > from { within as f64 / (until - from) } else { 0.0 }
}

fn spread_of(lives: &[Life], (from, until): (f64, f64)) -> Option<Spread> {
    let begun = lives.iter().filter(|(begin, _)| (from..until).contains(&begin.as_secs_f64()));
    Spread::of(begun.filter_map(|(begin, end)| Some(end.as_ref()?.saturating_sub(*begin))).collect())
}

/// The load in slices, up to the last beginning.
pub(crate) fn slices(lives: &[Life], until: Duration) -> Vec<Slice> {
    let slice = |of: (f64, f64)| Slice {
        from_s: of.0,
        until_s: of.1,
        offered_per_s: per_second(lives.iter().map(|life| life.0), of),
        done_per_s: per_second(lives.iter().filter_map(|life| life.1), of),
        latency: spread_of(lives, of),
    };
    borders(lives, until).into_iter().map(slice).collect()
}

/// Jobs per second that are done however many more are asked for; none while what is done follows, or there
/// is too little to tell. Jobs began until `until` and were watched until `watched`.
pub(crate) fn saturation(lives: &[Life], until: Duration, watched: Duration) -> Option<f64> {
    if lives.len() < JOBS_PER_SLICE * SLICES.start() {
        return None;
    }
    let borders = borders(lives, until);
    // What a job takes while nothing waits: so much later is done what was asked for.
    let calm = borders.iter().filter_map(|of| spread_of(lives, *of)).map(|of| of.p50).min();
    let lag = calm.unwrap_or_default().as_secs_f64();
    let seen = borders.into_iter().filter(|(_, until)| until + lag <= watched.as_secs_f64());
    let points = seen.map(|(from, until)| {
        let offered = per_second(lives.iter().map(|life| life.0), (from, until));
        (offered, per_second(lives.iter().filter_map(|life| life.1), (from + lag, until + lag)))
    });
    knee(&points.collect::<Vec<_>>())
}

/// The limit `c` for which `min(offered, c)` lies nearest to what was done.
fn knee(points: &[(f64, f64)]) -> Option<f64> {
    let error = |limit: f64| points.iter().map(|(x, y)| (y - x.min(limit)).powi(2)).sum::<f64>();
    let most = points.iter().map(|(x, _)| *x).fold(0.0, f64::max);
    let mut rising = points.to_vec();
    rising.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Of two points at least: one may be an accident.
    let limits = (2..=rising.len()).map(|n| {
        let above = &rising[rising.len() - n..];
        above.iter().map(|(_, y)| *y).sum::<f64>() / n as f64
    });
    let best = limits.min_by(|a, b| error(*a).total_cmp(&error(*b)))?;
    let is_limit = best < BELOW * most && error(best) < BETTER * error(f64::INFINITY);
    is_limit.then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrivals::Arrivals;

    /// A server that begins so many jobs per second at most, each for half a second.
    fn served(ramp: &str, jobs: u64, per_second: f64) -> (Vec<Life>, Duration) {
        let arrivals = Arrivals::of_jobs(ramp.parse().expect("a ramp"), jobs);
        let (mut free_at, mut lives) = (Duration::ZERO, Vec::new());
        for begin in (0..).map_while(|n| arrivals.at(n)) {
            let begun = begin.max(free_at);
            free_at = begun + Duration::from_secs_f64(1.0 / per_second);
            lives.push((begin, Some(begun + Duration::from_millis(500))));
        }
        (lives, arrivals.span())
    }

    #[test]
    fn a_ramp_finds_what_the_server_can_do_and_none_where_it_can_do_all() {
        let check = |ramp: &str, jobs: u64, per_second: f64, expect: Option<f64>| {
            let (lives, until) = served(ramp, jobs, per_second);
            let found = saturation(&lives, until, Duration::from_secs(10_000));
            let near = match (found, expect) {
                (Some(found), Some(expect)) => (found / expect - 1.0).abs() < 0.1,
                (found, expect) => found == expect,
            };
            assert!(near, "{ramp}, {jobs} jobs at {per_second}/s: {found:?}, not {expect:?}");
        };
        check("1..20", 630, 8.0, Some(8.0));
        check("1..20", 630, 15.0, Some(15.0));
        check("0..4", 120, 1.0, Some(1.0));
        check("1..20", 630, 100.0, None);
        check("1..20", 10, 1.0, None);
    }

    #[test]
    fn what_was_not_watched_says_nothing() {
        let (lives, until) = served("1..20", 630, 8.0);
        let early = Duration::from_secs(15);
        let seen: Vec<Life> =
            lives.iter().map(|(begin, end)| (*begin, end.filter(|end| *end <= early))).collect();
        assert_eq!(saturation(&seen, until, early), None, "8 per second were not asked for yet");
    }

    #[test]
    fn slices_tell_what_was_asked_for_what_was_done_and_how_long_it_took() {
        let at = Duration::from_secs;
        let lives: Vec<Life> = (0..20).map(|n| (at(n), (n < 15).then_some(at(n + 5)))).collect();
        let slices = slices(&lives, at(20));
        let told: Vec<_> = slices.iter().map(|of| (of.from_s, of.offered_per_s, of.done_per_s)).collect();
        assert_eq!(told, [(0.0, 1.0, 0.0), (5.0, 1.0, 1.0), (10.0, 1.0, 1.0), (15.0, 1.0, 1.0)]);
        assert_eq!(slices[0].latency.map(|of| (of.count, of.p50)), Some((5, at(5))));
        assert_eq!(slices[3].latency, None);
    }

    #[test]
    fn shares_of_latencies_are_by_nearest_rank() {
        let all = (1..=200).rev().map(Duration::from_millis).collect();
        let spread = Spread::of(all).expect("some");
        let ms = Duration::from_millis;
        assert_eq!((spread.p50, spread.p90, spread.p99, spread.max), (ms(100), ms(180), ms(198), ms(200)));
        let one = Spread::of(vec![ms(7)]).expect("one");
        assert_eq!((one.count, one.p50, one.p99), (1, ms(7), ms(7)));
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
