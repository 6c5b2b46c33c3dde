//! Where the collector is, and what it must be told to let us in. Checked before anything starts.

use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;

/// Below the address of a collector that takes all signals.
const TRACES: &str = "v1/traces";

/// A collector's address, with headers that it wants.
#[derive(Clone)]
pub struct Collector {
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
}

impl fmt::Debug for Collector {
    /// Neither a path nor a header: both may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collector({})", self.place())
    }
}

impl Collector {
    /// The collector at this address, as `http://host:4318`.
    ///
    /// # Errors
    /// A sentence for a person.
    pub fn at(base: &str) -> Result<Collector, String> {
        let mut collector = Collector::of_traces(base)?;
        let path = format!("{}/{TRACES}", collector.url.path().trim_end_matches('/'));
        collector.url.set_path(&path);
        Ok(collector)
    }

    /// A collector that takes traces at exactly this address.
    ///
    /// # Errors
    /// A sentence for a person.
    pub fn of_traces(url: &str) -> Result<Collector, String> {
        let bad = |why: &str| format!("the collector's address {why}; use one like http://127.0.0.1:4318");
        let url = Url::parse(url).map_err(|error| bad(&format!("is none: {error}")))?;
        if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
            return Err(bad("must begin with http:// or https://"));
        }
        Ok(Collector { url, headers: HeaderMap::new() })
    }

    /// With these headers in every call.
    ///
    /// # Errors
    /// A sentence for a person; no value is repeated in it.
    pub fn with_headers(mut self, headers: Vec<(String, String)>) -> Result<Collector, String> {
        for (name, value) in headers {
            let bad = || format!("a header for the collector, {name:?}, is none");
            let key = HeaderName::try_from(&name).map_err(|_| bad())?;
            let mut value = HeaderValue::try_from(value).map_err(|_| bad())?;
            value.set_sensitive(true);
            self.headers.insert(key, value);
        }
        Ok(self)
    }

    /// Where it is, without what may be a secret.
    pub(crate) fn place(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

/// Reads `name=value,name=value`, percent-encoded: the form of OpenTelemetry's variables.
///
/// # Errors
/// A part has no name. Nothing of the text is repeated: it may hold a secret.
pub fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let decode = |part: &str| {
        let decoded = percent_decode_str(part.trim()).decode_utf8();
        decoded.map(String::from).map_err(|_| "something is not UTF-8".to_owned())
    };
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pair = |part: &str| match part.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((decode(name)?, decode(value)?)),
        _ => Err("use name=value,name=value".to_owned()),
    };
    parts.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_called_where_the_standard_says() {
        let check = |base: &str, expect: &str| {
            assert_eq!(Collector::at(base).expect("an address").url.as_str(), expect);
        };
        check("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces");
        check("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces");
        check("https://otlp.example.org/tenant/", "https://otlp.example.org/tenant/v1/traces");
        let exactly = Collector::of_traces("http://h:4318/t").expect("an address");
        assert_eq!(exactly.url.as_str(), "http://h:4318/t");
        for bad in ["", "127.0.0.1:4318", "grpc://h:4317", "http://"] {
            let said = Collector::at(bad).expect_err(bad);
            assert!(said.contains("http://127.0.0.1:4318"), "{said}");
        }
    }

    #[test]
    fn pairs_are_read_and_secrets_are_not_repeated() {
        let read = pairs("api-key=a%20b, x = y,,z=a=b").expect("pairs");
        let expect = [("api-key", "a b"), ("x", "y"), ("z", "a=b")];
        assert_eq!(read, expect.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for bad in ["hunter2", "=hunter2"] {
            assert!(!pairs(bad).expect_err("no pair").contains("hunter2"));
        }
        let at = || Collector::at("http://h:4318/hunter2").expect("an address");
        let header = |value: &str| vec![("api-key".to_owned(), value.to_owned())];
        let with = at().with_headers(header("hunter2")).expect("a header");
        assert!(!format!("{with:?} {:?}", with.headers).contains("hunter2"));
        let refused = at().with_headers(header("hunter2\n")).expect_err("no header");
        assert!(refused.contains("api-key") && !refused.contains("hunter2"), "{refused}");
    }
}
