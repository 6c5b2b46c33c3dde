//! How bad it is that one stage takes a large share of the time: the thresholds of the first profiler, kept.
//! Used for one pipeline, for a profiler and for a window of jobs. A share says where the time went, not what
//! bounds the throughput: that is `capacity`.

use crate::sketch::percent;
use schemars::JsonSchema;
use serde::Serialize;

/// Share of a pipeline's time, in percent, from which on a stage is a bottleneck unless said otherwise.
pub const THRESHOLD_PERCENT: f64 = 20.0;
const HIGH_PERCENT: f64 = 30.0;
const CRITICAL_PERCENT: f64 = 40.0;

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Up to 30 %.
    Medium,
    /// 30 % to 40 %.
    High,
    /// Over 40 %.
    Critical,
}

impl Severity {
    /// Of a share in percent.
    pub fn of(share_percent: f64) -> Severity {
        match share_percent {
            share if share > CRITICAL_PERCENT => Severity::Critical,
            share if share >= HIGH_PERCENT => Severity::High,
            _ => Severity::Medium,
        }
    }

    /// As in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}

/// A stage that takes a large share of the time.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Bottleneck {
    /// The stage's name.
    pub stage: String,
    /// Its share of the whole, in percent.
    pub share_percent: f64,
    /// How bad.
    pub severity: Severity,
    /// Its time, in milliseconds.
    pub wall_ms: f64,
    /// The share with its numbers and where most of it went.
    pub evidence: String,
}

/// Time of one stage, with the parts that it is made of, in microseconds.
pub(crate) struct Spent<'a> {
    pub(crate) stage: &'a str,
    pub(crate) us: u64,
    pub(crate) parts: Vec<(&'a str, u64)>,
}

/// Stages with at least `threshold_percent` of `whole_us`, the largest first.
pub(crate) fn bottlenecks(whole_us: u64, spent: &[Spent<'_>], threshold_percent: f64) -> Vec<Bottleneck> {
    let judge = |of: &Spent<'_>| {
        let share_percent = percent(of.us, whole_us);
        let (wall_ms, whole_ms) = (of.us as f64 / 1e3, whole_us as f64 / 1e3);
        let mut evidence =
            format!("{} took {wall_ms:.1} of {whole_ms:.1} ms ({share_percent:.1} %)", of.stage);
        if let Some((name, us)) = of.parts.iter().max_by_key(|(_, us)| *us).filter(|(_, us)| *us > 0) {
            let share = percent(*us, of.us);
            evidence += &format!(", most of it in {name} ({:.1} ms, {share:.0} %)", *us as f64 / 1e3);
        }
        let severity = Severity::of(share_percent);
        Bottleneck { stage: of.stage.to_owned(), share_percent, severity, wall_ms, evidence }
    };
    let mut found: Vec<Bottleneck> = spent.iter().filter(|of| of.us > 0).map(judge).collect();
    found.retain(|of| of.share_percent >= threshold_percent);
    found.sort_by(|a, b| b.share_percent.total_cmp(&a.share_percent).then_with(|| a.stage.cmp(&b.stage)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_change_at_thirty_and_above_forty_percent() {
        let check = |share: f64, expect: Severity| assert_eq!(Severity::of(share), expect, "{share}");
        check(20.0, Severity::Medium);
        check(29.9, Severity::Medium);
        check(30.0, Severity::High);
        check(40.0, Severity::High);
        check(40.1, Severity::Critical);
    }

    #[test]
    fn stages_at_the_threshold_are_named_with_their_numbers_the_largest_first() {
        let spent = |stage, us| Spent { stage, us, parts: vec![("compute", us / 2), ("store", us / 4)] };
        let list = [spent("a", 200), spent("b", 500), spent("c", 199), spent("d", 0)];
        let found = bottlenecks(1_000, &list, THRESHOLD_PERCENT);
        let brief: Vec<_> = found.iter().map(|of| (of.stage.as_str(), of.severity)).collect();
        assert_eq!(brief, [("b", Severity::Critical), ("a", Severity::Medium)]);
        assert_eq!(found[0].evidence, "b took 0.5 of 1.0 ms (50.0 %), most of it in compute (0.2 ms, 50 %)");
        assert!(bottlenecks(0, &[], THRESHOLD_PERCENT).is_empty());
    }
}
