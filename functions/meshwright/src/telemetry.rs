//! Where the spans of this process go: to a collector of OpenTelemetry if one is configured, nowhere
//! otherwise. Its variables are those of the standard.

use crate::config::Secret;
use crate::refusal::{Outcome, Refusal};
use otlp::{Collector, Exporter, Process, pairs};
use serde::Deserialize;
use std::time::Duration;

/// Longest wait for the last spans: shutdown must not depend on a collector.
const FINISH_MAX: Duration = Duration::from_secs(3);

/// The collector.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TelemetryConfig {
    /// Its address, as `http://host:4318`; it may hold a token.
    otlp: Option<Secret>,
    /// From the environment: the address for traces alone, headers, and what else to say of this process.
    #[serde(skip)]
    traces: Option<Secret>,
    #[serde(skip)]
    headers: Option<Secret>,
    #[serde(skip)]
    attributes: Option<String>,
    #[serde(skip)]
    is_disabled: bool,
}

impl TelemetryConfig {
    /// What the environment says: OpenTelemetry's own variables.
    pub(crate) fn apply_environment(&mut self, get: impl Fn(&str) -> Option<String>) {
        self.otlp = get("OTEL_EXPORTER_OTLP_ENDPOINT").map(Secret).or(self.otlp.take());
        self.traces = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(Secret);
        let headers = get("OTEL_EXPORTER_OTLP_TRACES_HEADERS").or_else(|| get("OTEL_EXPORTER_OTLP_HEADERS"));
        self.headers = headers.map(Secret);
        self.attributes = get("OTEL_RESOURCE_ATTRIBUTES");
        self.is_disabled = get("OTEL_SDK_DISABLED").is_some_and(|word| word.eq_ignore_ascii_case("true"))
            || get("OTEL_TRACES_EXPORTER").is_some_and(|word| word == "none");
    }

    /// What can be told before anything starts.
    pub(crate) fn checked(&self) -> Outcome<()> {
        self.collector().and(self.attributes()).map(drop)
    }

    fn collector(&self) -> Outcome<Option<Collector>> {
        let collector = match (&self.traces, &self.otlp) {
            _ if self.is_disabled => return Ok(None),
            (Some(url), _) => Collector::of_traces(&url.0),
            (None, Some(base)) => Collector::at(&base.0),
            (None, None) => return Ok(None),
        };
        let bad = |why| Refusal::Config(format!("telemetry.otlp (or OTEL_EXPORTER_OTLP_ENDPOINT): {why}"));
        let collector = collector.map_err(bad)?;
        let text = self.headers.as_ref().map(|headers| headers.0.as_str()).unwrap_or_default();
        let with = pairs(text).and_then(|headers| collector.with_headers(headers));
        let bad = |why| Refusal::Config(format!("OTEL_EXPORTER_OTLP_HEADERS: {why}"));
        with.map(Some).map_err(bad)
    }

    fn attributes(&self) -> Outcome<Vec<(String, String)>> {
        let bad = |why| Refusal::Config(format!("OTEL_RESOURCE_ATTRIBUTES: {why}"));
        pairs(self.attributes.as_deref().unwrap_or_default()).map_err(bad)
    }
}

/// The way of this process's spans.
pub(crate) struct Telemetry(Option<Exporter>);

impl Telemetry {
    /// Starts to export, if there is a collector. `name` tells this process from others.
    pub(crate) fn start(config: &TelemetryConfig, name: &str) -> Outcome<Telemetry> {
        let Some(collector) = config.collector()? else { return Ok(Telemetry(None)) };
        let process = Process {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: name.to_owned(),
            attributes: config.attributes()?,
        };
        let exporter = Exporter::start(collector, process).map_err(Refusal::Io)?;
        Ok(Telemetry(Some(exporter)))
    }

    /// Sends what is left, for a short while.
    pub(crate) async fn finish(self) {
        if let Some(exporter) = self.0 {
            exporter.finish(FINISH_MAX).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(file: &str, environment: &[(&str, &str)]) -> TelemetryConfig {
        let mut config: TelemetryConfig = toml::from_str(file).expect("a table");
        let get = |name: &str| environment.iter().find(|(of, _)| *of == name).map(|(_, v)| (*v).to_owned());
        config.apply_environment(get);
        config
    }

    #[test]
    fn spans_go_where_file_or_environment_say_and_nowhere_otherwise() {
        let check = |file: &str, environment: &[(&str, &str)], is_on: bool| {
            let found = config(file, environment).collector().expect("it can work");
            assert_eq!(found.is_some(), is_on, "{file} {environment:?}");
        };
        let (file, at) = ("otlp = 'http://h:4318'", "OTEL_EXPORTER_OTLP_ENDPOINT");
        check("", &[], false);
        check(file, &[], true);
        check("", &[(at, "http://h:4318")], true);
        check("", &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://h:4318/v1/traces")], true);
        check(file, &[("OTEL_SDK_DISABLED", "true")], false);
        check(file, &[("OTEL_TRACES_EXPORTER", "none")], false);
    }

    #[test]
    fn what_cannot_work_is_refused_and_no_secret_is_shown() {
        let check = |environment: &[(&str, &str)], part: &str| {
            let config = config("otlp = 'http://hunter2.example:4318'", environment);
            let said = config.checked().expect_err("it cannot work");
            assert!(said.to_string().contains(part) && said.exit_code() == 78, "{said}");
            assert!(!format!("{said} {config:?}").contains("hunter2"), "{said}");
        };
        check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "h:4318")], "http://127.0.0.1:4318");
        check(&[("OTEL_EXPORTER_OTLP_HEADERS", "hunter2")], "OTEL_EXPORTER_OTLP_HEADERS");
        check(&[("OTEL_RESOURCE_ATTRIBUTES", "nothing")], "name=value");
    }
}
