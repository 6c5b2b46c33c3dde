//! Everything that a window says, as one JSON document: what `/api/performance/...` and `meshwright profile`
//! show. It adds nothing of its own.

use crate::advice::{Measured, Recommendation, recommend};
use crate::breakdown::{Breakdown, Grouping};
use crate::capacity::{Capacity, Limit};
use crate::predict::Declared;
use crate::severity::{Bottleneck, THRESHOLD_PERCENT};
use crate::trend::Trend;
use crate::{Setup, Window};
use domain::Timestamp;
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

    /// As text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data with text keys is JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{timing, window};
    use domain::{Phase, Stage};

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
    fn nothing_measured_is_a_report_too() {
        let report = Report::of(&Window::new(), &Setup::default(), &Declared::default());
        assert_eq!((report.limit, report.stages.tasks, report.from), (None, 0, None));
    }
}
