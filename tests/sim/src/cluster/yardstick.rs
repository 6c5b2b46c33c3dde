//! What could be reached at all, and what fixed caps reach: computed from the truth, without any code of the
//! planner.

use super::device::{LOAD_MS, STRANGERS_MAX};
use super::dice::Dice;
use super::truth::{Kind, MIX, NOISE, shape_of};
use domain::{Bytes, Stage};
use std::collections::{BTreeMap, VecDeque};

/// What a device runs: tasks of one kind.
type Running = (Kind, Vec<u64>);

/// The largest batch that anybody may cut.
const BATCH_MAX: u32 = 64;
/// Improvements of the prices of the bound. Any prices give an upper bound; better ones a tighter one.
const ROUNDS: usize = 20_000;

/// Items of a kind per second on a device that does nothing else, at the best size that fits its memory when
/// strangers hold as little as this share.
pub fn rate(kind: Kind, gib: u64, strangers: f64) -> f64 {
    let memory = Bytes::gib(gib).scale(1.0 - strangers);
    let fitting = (1..=BATCH_MAX).take_while(|items| kind.peak(*items) <= memory);
    fitting.map(|items| f64::from(items) * 1000.0 / kind.time_ms(items)).fold(0.0, f64::max)
}

/// Jobs per second that no scheduler can exceed in the long run.
///
/// The fluid linear program: device `d` spends the share `x(k, d)` of its time on kind `k`; maximise the jobs
/// per second such that of each kind as many items are computed as the mix asks for, and no device spends
/// more than all its time. By weak duality every price `y(k)` of an item gives an upper bound: what all
/// devices can earn in a second, each at what pays best, divided by what one job is worth. The prices are
/// improved step by step; how well that works changes how tight the bound is, not that it is one. Memory
/// counts in full, without margins, with nothing of it held by strangers.
pub fn upper_bound(devices: &[u64]) -> f64 {
    let kinds: Vec<Kind> = Kind::all().collect();
    let rates: Vec<Vec<f64>> =
        devices.iter().map(|gib| kinds.iter().map(|kind| rate(*kind, *gib, 0.0)).collect()).collect();
    let mut prices: Vec<f64> = (0..kinds.len())
        .map(|k| 1.0 / rates.iter().map(|of| of[k]).fold(f64::MIN_POSITIVE, f64::max))
        .collect();
    let (mut best, mut dice) = (bound(&kinds, &rates, &prices), Dice::new(1));
    for _ in 0..ROUNDS {
        let (k, factor) = (dice.below(kinds.len()), 1.0 + dice.between(-0.05, 0.05));
        prices[k] *= factor;
        let with = bound(&kinds, &rates, &prices);
        if with < best {
            best = with;
        } else {
            prices[k] /= factor;
        }
    }
    best
}

fn bound(kinds: &[Kind], rates: &[Vec<f64>], prices: &[f64]) -> f64 {
    let earns = |of: &Vec<f64>| of.iter().zip(prices).map(|(rate, price)| rate * price).fold(0.0, f64::max);
    let job: f64 = kinds.iter().zip(prices).map(|(kind, price)| MIX[kind.shape] * price).sum();
    rates.iter().map(earns).sum::<f64>() / job
}

/// The cap that an operator sets for a stage on a class of device: the largest batch of the largest shape
/// that runs there at all, with the noise, while strangers hold all they ever do. None where not even the
/// smallest shape fits.
fn cap(stage: Stage, gib: u64) -> Option<(u32, usize)> {
    let memory = Bytes::gib(gib).scale(1.0 - STRANGERS_MAX);
    let fits = |shape: usize, items: u32| Kind { stage, shape }.peak(items).scale(1.0 + NOISE) <= memory;
    let shape = (0..super::truth::SHAPES).rev().find(|shape| fits(*shape, 1))?;
    let items = (1..=BATCH_MAX).take_while(|items| fits(shape, *items)).last()?;
    Some((items, shape))
}

/// What an operator without a planner lets a free device do first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The latest stage that has something for it, whatever runner has to be started for that.
    LatestStage,
    /// The latest stage whose runner is loaded there and that has something; else the latest.
    LoadedFirst,
}

/// A device under a rule: when it is free, in milliseconds, what it finishes then, whose runners are loaded.
#[derive(Default)]
struct Station {
    free_at: f64,
    running: Option<Running>,
    warm: Vec<Stage>,
}

/// When each of so many jobs is done, in seconds, with fixed caps per (stage, class of device), all jobs
/// there at once: a free device takes, of the stage that the rule names, as many tasks of the kind that has
/// waited longest as its cap allows. Nothing ever runs out of memory; runners take as long to start, and a
/// device keeps as many loaded, as in the planner's world.
pub fn fixed_caps(devices: &[u64], jobs: u64, seed: u64, rule: Rule) -> Vec<f64> {
    let mut dice = Dice::new(seed);
    let mut queues: BTreeMap<Kind, VecDeque<u64>> = BTreeMap::new();
    let first = Stage::ALL[0];
    for job in 0..jobs {
        queues.entry(Kind { stage: first, shape: shape_of(job) }).or_default().push_back(job);
    }
    let mut stations: Vec<Station> = devices.iter().map(|_| Station::default()).collect();
    let (mut done, mut now) = (Vec::new(), 0.0f64);
    while done.len() < jobs as usize {
        for (station, gib) in stations.iter_mut().zip(devices) {
            if station.running.is_some() || station.free_at > now {
                continue;
            }
            if let Some((kind, batch)) = take(&mut queues, *gib, &station.warm, rule) {
                let ms = kind.time_ms(batch.len() as u32) * dice.between(1.0 - NOISE, 1.0 + NOISE);
                let load =
                    if super::device::load(&mut station.warm, kind.stage) { LOAD_MS as f64 } else { 0.0 };
                (station.free_at, station.running) = (now + ms + load, Some((kind, batch)));
            }
        }
        let running = stations.iter_mut().filter(|station| station.running.is_some());
        let Some(next) = running.min_by(|a, b| a.free_at.total_cmp(&b.free_at)) else { break };
        now = next.free_at;
        let (kind, batch) = next.running.take().expect("it runs");
        match Stage::ALL.iter().skip_while(|stage| **stage != kind.stage).nth(1) {
            Some(stage) => {
                queues.entry(Kind { stage: *stage, shape: kind.shape }).or_default().extend(batch);
            }
            None => done.extend(batch.iter().map(|_| now / 1000.0)),
        }
    }
    done
}

fn take(
    queues: &mut BTreeMap<Kind, VecDeque<u64>>,
    gib: u64,
    warm: &[Stage],
    rule: Rule,
) -> Option<(Kind, Vec<u64>)> {
    let mut stages: Vec<Stage> = Stage::ALL.into_iter().rev().collect();
    if rule == Rule::LoadedFirst {
        stages.sort_by_key(|stage| !warm.contains(stage));
    }
    for stage in stages {
        let Some((items, largest)) = cap(stage, gib) else { continue };
        // Of the shapes that run here the one that has waited longest: the lowest job.
        let here = (0..=largest).filter_map(|shape| {
            let kind = Kind { stage, shape };
            Some((*queues.get(&kind)?.front()?, kind))
        });
        if let Some((_, kind)) = here.min() {
            let queue = queues.get_mut(&kind)?;
            let count = queue.len().min(items as usize);
            return Some((kind, queue.drain(..count).collect()));
        }
    }
    None
}

/// Jobs per second between the tenth and the ninth tenth of them, in order of their ends.
pub fn steady_rate(done_s: &[f64]) -> f64 {
    let (from, to) = (done_s.len() / 10, done_s.len() * 9 / 10);
    match (done_s.get(from), done_s.get(to)) {
        (Some(first), Some(last)) if last > first => (to - from) as f64 / (last - first),
        _ => 0.0,
    }
}

/// Jobs per second of a whole run, from its first moment to its last job. What rules are compared by: one
/// that does stage after stage ends with many jobs at once, and its steady rate says nothing.
pub fn whole_rate(done_s: &[f64]) -> f64 {
    done_s.last().map_or(0.0, |last| done_s.len() as f64 / last.max(1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_device_is_bounded_by_the_time_that_one_job_takes_there() {
        let seconds: f64 = Kind::all().map(|kind| MIX[kind.shape] / rate(kind, 141, 0.0)).sum();
        let bound = upper_bound(&[141]);
        // Prices in proportion to times are the best ones here; rounds of chance come close from above.
        assert!(bound >= 1.0 / seconds - 1e-9 && bound <= 1.02 / seconds, "{bound} of {}", 1.0 / seconds);
        assert!((upper_bound(&[141, 141]) / bound - 2.0).abs() < 0.01);
    }

    #[test]
    fn fixed_caps_never_exceed_the_bound_and_finish_everything() {
        let devices = [16, 80, 141];
        let bound = upper_bound(&devices);
        for rule in [Rule::LatestStage, Rule::LoadedFirst] {
            let done = fixed_caps(&devices, 2_000, 3, rule);
            assert_eq!(done.len(), 2_000);
            let share = whole_rate(&done) / bound;
            assert!((0.1..=1.0).contains(&share), "{rule:?}: {share}");
        }
    }

    #[test]
    fn caps_grow_with_the_device_and_none_is_for_what_does_not_fit() {
        assert_eq!(cap(Stage::Shape, 2), None);
        let caps: Vec<u32> =
            [16, 24, 80, 141].map(|gib| cap(Stage::Shape, gib).expect("one fits").0).to_vec();
        assert!(caps.windows(2).all(|pair| pair[0] <= pair[1]) && caps[3] > 4, "{caps:?}");
    }
}
