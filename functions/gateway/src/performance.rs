//! Where the time goes, what bounds the throughput, what to try: `profile`'s words about timings of late, and
//! about one job.

use crate::Gateway;
use crate::jobs::{Looked, job_id};
use crate::problem::Problem;
use crate::timings::{WINDOW, WINDOW_MAX, analysis};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use domain::{Stage, Timestamp};
use ports::PortError;
use profile::{Bottleneck, Limit, PipelineProfile, Recommendation, Report, THRESHOLD_PERCENT};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What a caller asks for.
#[derive(Debug, PartialEq)]
struct Asked {
    span: Duration,
    stage: Option<Stage>,
    threshold_percent: f64,
}

type Words = Query<BTreeMap<String, String>>;

impl Asked {
    fn parse(words: &BTreeMap<String, String>, has_threshold: bool) -> Result<Asked, Problem> {
        let mut asked = Asked { span: WINDOW, stage: None, threshold_percent: THRESHOLD_PERCENT };
        for (name, value) in words {
            match name.as_str() {
                "window_s" => {
                    let seconds = value.parse().ok().filter(|s| (1..=WINDOW_MAX.as_secs()).contains(s));
                    let most = WINDOW_MAX.as_secs();
                    let wrong = || Problem::bad_query(format!("window_s is a whole number from 1 to {most}"));
                    asked.span = Duration::from_secs(seconds.ok_or_else(wrong)?);
                }
                "stage" => {
                    let stage = Stage::ALL.into_iter().find(|stage| stage.as_str() == value);
                    let all = Stage::ALL.map(Stage::as_str).join(", ");
                    asked.stage = Some(stage.ok_or_else(|| Problem::bad_query(format!("stages: {all}")))?);
                }
                "threshold_percent" if has_threshold => {
                    let percent = value.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
                    let wrong = || Problem::bad_query("threshold_percent is a number from 0 to 100");
                    asked.threshold_percent = percent.ok_or_else(wrong)?;
                }
                _ => return Err(Problem::bad_query(format!("there is no option {name:?} here"))),
            }
        }
        Ok(asked)
    }

    fn narrow(&self, report: Report) -> Report {
        match self.stage {
            Some(stage) => report.at(stage),
            None => report,
        }
    }
}

/// Stages that take much of the time, and the one that bounds the throughput.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Bottlenecks {
    /// When the first task of the window was accepted; none of nothing.
    from: Option<Timestamp>,
    /// When its last one was acknowledged.
    to: Option<Timestamp>,
    threshold_percent: f64,
    /// Stages with at least that share of the time, the largest first.
    bottlenecks: Vec<Bottleneck>,
    /// What bounds the throughput, with what would change it; none when nothing was measured.
    limit: Option<Limit>,
}

/// What to try.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Recommendations {
    /// When the first task of the window was accepted; none of nothing.
    from: Option<Timestamp>,
    /// When its last one was acknowledged.
    to: Option<Timestamp>,
    /// The largest possible saving first.
    recommendations: Vec<Recommendation>,
}

/// `GET /api/performance/summary`
pub(crate) async fn summary(
    State(gateway): State<Arc<Gateway>>,
    Query(words): Words,
) -> Result<Json<Report>, Problem> {
    let asked = Asked::parse(&words, false)?;
    let analysis = analysis(&gateway, asked.span).await?;
    Ok(Json(asked.narrow(analysis.report.clone())))
}

/// `GET /api/performance/bottlenecks`
pub(crate) async fn bottlenecks(
    State(gateway): State<Arc<Gateway>>,
    Query(words): Words,
) -> Result<Json<Bottlenecks>, Problem> {
    let asked = Asked::parse(&words, true)?;
    let analysis = analysis(&gateway, asked.span).await?;
    let threshold_percent = asked.threshold_percent;
    let bottlenecks = analysis.window.identify_bottlenecks(threshold_percent);
    let report = asked.narrow(Report { bottlenecks, ..analysis.report.clone() });
    let Report { from, to, bottlenecks, limit, .. } = report;
    Ok(Json(Bottlenecks { from, to, threshold_percent, bottlenecks, limit }))
}

/// `GET /api/performance/recommendations`
pub(crate) async fn recommendations(
    State(gateway): State<Arc<Gateway>>,
    Query(words): Words,
) -> Result<Json<Recommendations>, Problem> {
    let asked = Asked::parse(&words, false)?;
    let analysis = analysis(&gateway, asked.span).await?;
    let Report { from, to, recommendations, .. } = asked.narrow(analysis.report.clone());
    Ok(Json(Recommendations { from, to, recommendations }))
}

/// `GET /api/performance/timings`: a line of JSON for each task, to be kept for a replay.
pub(crate) async fn timings(
    State(gateway): State<Arc<Gateway>>,
    Query(words): Words,
) -> Result<Response, Problem> {
    let asked = Asked::parse(&words, false)?;
    let all = crate::timings::raw(&gateway, asked.span).await?;
    let all = all.into_iter().filter(move |timing| asked.stage.is_none_or(|stage| stage == timing.stage));
    let lines = all.map(|timing| {
        let mut line = serde_json::to_vec(&*timing)?;
        line.push(b'\n');
        Ok::<_, serde_json::Error>(line)
    });
    let body = Body::from_stream(futures::stream::iter(lines));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// `GET /api/jobs/{id}/profile`: from its record, manifests and outcome alone.
pub(crate) async fn of_job(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
) -> Result<Json<PipelineProfile>, Problem> {
    let looked = Looked::at(&gateway, job_id(&id)?).await?;
    let profile = profile::rebuild(&looked.record, &looked.manifests, looked.outcome.as_ref());
    Ok(Json(profile.map_err(|mismatch| PortError::Invalid(mismatch.to_string()))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &[(&str, &str)]) -> Result<Asked, Problem> {
        let words = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Asked::parse(&words.collect(), true)
    }

    #[test]
    fn what_is_asked_has_defaults_and_bounds() {
        let usual = Asked { span: Duration::from_secs(3600), stage: None, threshold_percent: 20.0 };
        assert_eq!(parse(&[]).ok(), Some(usual));
        let all = [("window_s", "60"), ("stage", "shape"), ("threshold_percent", "35.5")];
        let narrow =
            Asked { span: Duration::from_secs(60), stage: Some(Stage::Shape), threshold_percent: 35.5 };
        assert_eq!(parse(&all).ok(), Some(narrow));
        let wrong = [("window_s", ["0", "86401", "-1", "1.5", "hour", ""])];
        for (name, value) in wrong.iter().flat_map(|(name, all)| all.map(|value| (*name, value))) {
            assert!(parse(&[(name, value)]).is_err(), "{name}={value}");
        }
        for value in ["-1", "101", "NaN", "inf", "many"] {
            assert!(parse(&[("threshold_percent", value)]).is_err(), "{value}");
        }
        assert!(parse(&[("stage", "paint")]).is_err() && parse(&[("colour", "red")]).is_err());
        let threshold = BTreeMap::from([("threshold_percent".to_owned(), "20".to_owned())]);
        assert!(Asked::parse(&threshold, false).is_err());
    }
}
