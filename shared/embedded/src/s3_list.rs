//! What a LIST answers: pure, over sorted keys.

use crate::s3_disk::Description;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListQuery {
    pub(crate) prefix: String,
    pub(crate) delimiter: Option<String>,
    /// Everything up to this, itself included, was told before; a common prefix as well.
    pub(crate) after: Option<String>,
    pub(crate) max: usize,
}

/// A line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Object(Arc<Description>),
    Prefix(String),
}

/// The lines, and after which name to go on if there are more.
pub(crate) fn list(
    objects: &BTreeMap<String, Arc<Description>>,
    query: &ListQuery,
) -> (Vec<Line>, Option<String>) {
    let after = query.after.as_deref().filter(|after| *after >= query.prefix.as_str());
    let mut from = match after {
        // A common prefix was told: all keys below it were told with it.
        Some(after)
            if query.delimiter.as_ref().is_some_and(|delimiter| after.ends_with(delimiter.as_str())) =>
        {
            past_prefix(after)
        }
        Some(after) => Bound::Excluded(after.to_owned()),
        None => Bound::Included(query.prefix.clone()),
    };
    let (mut lines, mut last) = (Vec::new(), None);
    loop {
        let next = objects.range((from.clone(), Bound::Unbounded)).next();
        let Some((key, object)) = next.filter(|(key, _)| key.starts_with(&query.prefix)) else {
            return (lines, None);
        };
        if lines.len() >= query.max {
            return (lines, last);
        }
        let rest = &key[query.prefix.len()..];
        let cut = query.delimiter.as_ref().and_then(|d| rest.find(d.as_str()).map(|at| at + d.len()));
        match cut {
            Some(cut) => {
                let prefix = key[..query.prefix.len() + cut].to_owned();
                from = past_prefix(&prefix);
                last = Some(prefix.clone());
                lines.push(Line::Prefix(prefix));
            }
            None => {
                from = Bound::Excluded(key.clone());
                last = Some(key.clone());
                lines.push(Line::Object(object.clone()));
            }
        }
    }
}

/// The first key that cannot begin with `prefix`: the prefix and the largest character behind it.
fn past_prefix(prefix: &str) -> Bound<String> {
    Bound::Excluded(format!("{prefix}{}", char::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn check(query: &ListQuery, expect: &[&str]) {
        let keys = ["a.png", "b/1.png", "b/2.png", "b/c/3.png", "b.png", "d/4.png", "ü.png"];
        let object = |key: &str| {
            Arc::new(Description {
                key: key.to_owned(),
                etag: String::new(),
                size: 0,
                modified_ms: 0,
                content_type: None,
                metadata: HashMap::new(),
            })
        };
        let objects = keys.iter().map(|key| ((*key).to_owned(), object(key))).collect();
        let (mut found, mut query) = (Vec::new(), query.clone());
        loop {
            let (lines, next) = list(&objects, &query);
            assert!(lines.len() <= query.max);
            found.extend(lines.into_iter().map(|line| match line {
                Line::Object(object) => object.key.clone(),
                Line::Prefix(prefix) => prefix,
            }));
            let Some(next) = next else { break };
            query.after = Some(next);
        }
        assert_eq!(found, expect, "{query:?}");
    }

    #[test]
    fn pages_of_any_size_tell_everything_once_and_in_order() {
        for max in [1, 2, 3, 1000] {
            let query = |prefix: &str, delimiter: Option<&str>| ListQuery {
                prefix: prefix.to_owned(),
                delimiter: delimiter.map(str::to_owned),
                after: None,
                max,
            };
            let all = ["a.png", "b.png", "b/1.png", "b/2.png", "b/c/3.png", "d/4.png", "ü.png"];
            check(&query("", None), &all);
            check(&query("", Some("/")), &["a.png", "b.png", "b/", "d/", "ü.png"]);
            check(&query("b/", Some("/")), &["b/1.png", "b/2.png", "b/c/"]);
            check(&query("b", None), &["b.png", "b/1.png", "b/2.png", "b/c/3.png"]);
            check(&query("x", None), &[]);
        }
    }
}
