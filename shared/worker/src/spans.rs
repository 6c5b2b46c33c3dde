//! The spans of the item that is computed, while its stage function opens and closes them. One that was seen
//! before costs two looks at the clock and a walk over its siblings; paths become text when the item ends.

use domain::SpanTime;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Most different spans per item.
const SPANS_MAX: usize = 256;
/// Around the outermost spans; no span itself.
const ROOT: usize = 0;

/// A name below a path of names.
struct Node {
    name: &'static str,
    parent: usize,
    /// Its children are a list: this one, and what follows it there.
    child: Option<usize>,
    sibling: Option<usize>,
    /// None before it closed once.
    time: Option<Duration>,
}

impl Node {
    const fn new(name: &'static str, parent: usize) -> Node {
        Node { name, parent, child: None, sibling: None, time: None }
    }
}

/// The spans of one item.
pub(crate) struct Spans {
    /// Parents before their children.
    nodes: Vec<Node>,
    /// From the outermost to the innermost; those above the limit have no node.
    open: Vec<(Option<usize>, Instant)>,
}

impl Default for Spans {
    fn default() -> Spans {
        Spans { nodes: vec![Node::new("", ROOT)], open: Vec::new() }
    }
}

impl Spans {
    /// Opens a span below the innermost that is open.
    pub(crate) fn enter(&mut self, name: &'static str) {
        let within = self.open.last().map_or(Some(ROOT), |(node, _)| *node);
        let node = within.and_then(|within| self.below(within, name));
        self.open.push((node, Instant::now()));
    }

    /// Closes the innermost.
    pub(crate) fn exit(&mut self) {
        let Some((node, since)) = self.open.pop() else { return };
        if let Some(node) = node {
            *self.nodes[node].time.get_or_insert_default() += since.elapsed();
        }
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.nodes.truncate(1);
        self.nodes[ROOT].child = None;
        self.open.clear();
    }

    /// How long each path was open, by path; what is still open is not among them. Then all are forgotten.
    pub(crate) fn take(&mut self) -> Vec<SpanTime> {
        let mut paths: Vec<String> = vec![String::new()];
        let mut times: BTreeMap<String, Duration> = BTreeMap::new();
        for node in &self.nodes[ROOT + 1..] {
            let path = match node.parent {
                ROOT => node.name.to_owned(),
                parent => format!("{}/{}", paths[parent], node.name),
            };
            if let Some(time) = node.time {
                *times.entry(path.clone()).or_default() += time;
            }
            paths.push(path);
        }
        self.clear();
        times.into_iter().map(|(name, time)| SpanTime { name, us: time.as_micros() as u64 }).collect()
    }

    fn below(&mut self, parent: usize, name: &'static str) -> Option<usize> {
        let mut next = self.nodes[parent].child;
        while let Some(at) = next {
            if self.nodes[at].name == name {
                return Some(at);
            }
            next = self.nodes[at].sibling;
        }
        let at = self.nodes.len();
        if at > SPANS_MAX {
            return None;
        }
        let sibling = self.nodes[parent].child.replace(at);
        self.nodes.push(Node { sibling, ..Node::new(name, parent) });
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens each name, closes at each `/`; the paths that are told.
    fn check(spans: &mut Spans, steps: &[&'static str], expect: &[&str]) {
        for step in steps {
            if *step == "/" { spans.exit() } else { spans.enter(step) }
        }
        let told = spans.take();
        assert_eq!(told.iter().map(|of| of.name.as_str()).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn spans_are_told_by_path_and_only_once_closed() {
        let mut spans = Spans::default();
        let twice = ["net", "layer", "/", "layer", "/", "/", "encode", "/", "net", "layer", "/", "/"];
        check(&mut spans, &twice, &["encode", "net", "net/layer"]);
        check(&mut spans, &["net", "layer", "/"], &["net/layer"]);
        check(&mut spans, &["/", "a/b", "/", "a", "b", "/", "/"], &["a", "a/b"]);
        check(&mut spans, &[], &[]);
    }

    #[test]
    fn above_the_limit_spans_are_not_told_and_those_known_before_still_are() {
        let mut spans = Spans::default();
        for n in 0..2 * SPANS_MAX {
            let name: &'static str = Box::leak(format!("{n}").into_boxed_str());
            for name in ["first", name, "below"] {
                spans.enter(name);
            }
            (0..3).for_each(|_| spans.exit());
        }
        let told = spans.take();
        assert_eq!(told.len(), SPANS_MAX);
        assert!(told.iter().any(|of| of.name == "first") && told.iter().any(|of| of.name == "first/9/below"));
    }
}
