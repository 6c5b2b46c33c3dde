//! Everything that a window says, as one JSON document: what `/api/performance/...` and `meshwright profile`
//! show. It adds nothing of its own.

use crate::advice::{Measured, Recommendation, recommend};
use crate::breakdown::{Breakdown, Grouping};
use crate::capacity::{Capacity, Limit};
use crate::predict::Declared;
use crate::severity::{Bottleneck, THRESHOLD_PERCENT};
use crate::trend::Trend;
use crate::{Setup, Window};
use domain::{Stage, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

/// What a window says.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// When its first task was accepted; none of nothing.
    pub from: Option<Timestamp>,
    /// When its last task was acknowledged.
    pub to: Option<Timestamp>,
    /// Per stage.
    pub stages: Breakdown,
    /// Per stage, kind of device and batch size.
    pub breakdown: Breakdown,
    /// Stages with 20 % of the time or more.
    pub bottlenecks: Vec<Bottleneck>,
    /// What bounds the throughput; none when nothing was measured.
    pub limit: Option<Limit>,
    /// Whether stages become slower.
    pub trends: Vec<Trend>,
    /// What to try.
    pub recommendations: Vec<Recommendation>,
}

impl Report {
    /// Of these timings on these lanes.
    pub fn of(window: &Window, setup: &Setup, declared: &Declared) -> Report {
        let (from, to) = window.during().unzip();
        Report {
            from,
            to,
            stages: window.breakdown(Grouping::default()),
            breakdown: window.breakdown(Grouping { device_class: true, batch_items: true }),
            bottlenecks: window.identify_bottlenecks(THRESHOLD_PERCENT),
            limit: Capacity::new(window, setup).limit(declared),
            trends: window.trends(),
            recommendations: recommend(&Measured::of_window(window)),
        }
    }

    /// The same, of one stage alone; shares and the limit itself stay those of all stages.
    pub fn at(mut self, stage: Stage) -> Report {
        self.stages.retain(stage);
        self.breakdown.retain(stage);
        self.bottlenecks.retain(|of| of.stage == stage.as_str());
        self.trends.retain(|of| of.stage == stage);
        self.recommendations.retain(|of| of.stage == stage.as_str());
        if let Some(limit) = &mut self.limit {
            limit.stages.retain(|of| of.stage == stage);
            limit.unknown.retain(|of| *of == stage);
            limit.predictions.retain(|of| of.change.stage() == stage);
        }
        self
    }

    /// As text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data with text keys is JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{timing, window};
    use domain::Phase;

    #[test]
    fn a_report_is_json_of_all_parts() {
        let timings = [timing(0, Stage::Shape, 900), timing(1, Stage::Texture, 100)];
        let window = window(&timings);
        let report = Report::of(&window, &Setup::seen(&window), &Declared::default());
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
        assert_eq!(json["bottlenecks"][0]["severity"], "critical");
        assert_eq!(json["limit"]["stage"], "shape");
        assert_eq!(json["limit"]["predictions"][0]["change"], "add_lane");
        let phases = json["stages"]["rows"][0]["phases"].as_array().expect("phases");
        let told: Vec<_> = phases.iter().filter_map(|row| row["phase"].as_str()).collect();
        assert_eq!(told, Phase::ALL.map(Phase::as_str));
        assert_eq!(json["breakdown"]["rows"][0]["batch_items"], 1);
    }

    #[test]
    fn of_one_stage_only_what_it_did_is_left_and_the_limit_stays_that_of_all() {
        let timings = [timing(0, Stage::Shape, 900), timing(1, Stage::Texture, 300)];
        let window = window(&timings);
        let all = Report::of(&window, &Setup::seen(&window), &Declared::default());
        let texture = all.clone().at(Stage::Texture);
        assert_eq!(
            (texture.stages.tasks, texture.stages.wall_us, texture.stages.rows.len()),
            (1, 300_000, 1)
        );
        assert_eq!(texture.bottlenecks, all.bottlenecks[1..]);
        let (limit, of_all) = (texture.limit.expect("a limit"), all.limit.expect("a limit"));
        assert_eq!((limit.stage, limit.jobs_per_hour), (Stage::Shape, of_all.jobs_per_hour));
        assert_eq!((limit.stages.len(), of_all.stages.len()), (1, 2));
        assert!(limit.predictions.iter().all(|of| of.change.stage() == Stage::Texture));
    }

    #[test]
    fn nothing_measured_is_a_report_too() {
        let report = Report::of(&Window::new(), &Setup::default(), &Declared::default());
        assert_eq!((report.limit, report.stages.tasks, report.from), (None, 0, None));
    }
}
