//! A profile as a flame graph: which functions compute, below those that they call. The lowest row is all of
//! it, a row's width its share. Pure: bytes in, text out.

use flate2::read::GzDecoder;
use pprof::protos::{Message, Profile, Sample};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Read;

/// Largest profile that is read, unpacked.
const BYTES_MAX: u64 = 256 << 20;
/// The picture, in pixels; a frame that is narrower than the least is left out, with all above it.
const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;
const HEAD: f64 = 40.0;
const LEAST: f64 = 0.4;
/// A letter, about.
const LETTER: f64 = 6.6;
/// Deeper stacks are cut off at the top.
const ROWS_MAX: usize = 160;
/// The kind of label under which a sample has its thread.
const THREAD: &str = "thread";

/// A function, and those that it called.
#[derive(Debug, Default)]
struct Frame {
    samples: i64,
    called: BTreeMap<String, Frame>,
}

impl Frame {
    fn rows(&self) -> usize {
        1 + self.called.values().map(Frame::rows).max().unwrap_or_default()
    }
}

/// All stacks of a profile, from the thread up.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    root: Frame,
    /// Samples in which a function itself computed, not one that it called.
    own: BTreeMap<String, i64>,
}

impl Stacks {
    /// Reads gzipped pprof.
    pub(crate) fn read(gzip: &[u8]) -> Result<Stacks, String> {
        let mut bytes = Vec::new();
        GzDecoder::new(gzip).take(BYTES_MAX).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        Ok(Stacks::of(&Profile::decode(bytes.as_slice()).map_err(|e| e.to_string())?))
    }

    /// Those of a profile; what refers to nothing is left out.
    pub(crate) fn of(profile: &Profile) -> Stacks {
        let text = |at: i64| usize::try_from(at).ok().and_then(|at| profile.string_table.get(at));
        let functions: BTreeMap<u64, &str> =
            profile.function.iter().filter_map(|of| Some((of.id, text(of.name)?.as_str()))).collect();
        let locations: BTreeMap<u64, Vec<&str>> = profile
            .location
            .iter()
            .map(|of| {
                (of.id, of.line.iter().filter_map(|of| functions.get(&of.function_id).copied()).collect())
            })
            .collect();
        let mut stacks = Stacks::default();
        for sample in &profile.sample {
            // Both lists go from whoever computes to whoever called.
            let names = sample.location_id.iter().filter_map(|id| locations.get(id)).flatten();
            let names: Vec<&str> = names.copied().collect();
            stacks.add(sample, thread(sample, &text), &names);
        }
        stacks
    }

    fn add(&mut self, sample: &Sample, thread: &str, names: &[&str]) {
        let count = sample.value.first().copied().unwrap_or_default().max(0);
        if let Some(own) = names.first() {
            *self.own.entry((*own).to_owned()).or_default() += count;
        }
        let mut frame = &mut self.root;
        frame.samples += count;
        for name in [thread].into_iter().chain(names.iter().rev().copied()).take(ROWS_MAX) {
            frame = frame.called.entry(name.to_owned()).or_default();
            frame.samples += count;
        }
    }

    /// How many samples there are.
    pub(crate) fn samples(&self) -> i64 {
        self.root.samples
    }

    /// Functions that computed most themselves, with their shares in percent.
    pub(crate) fn busiest(&self, count: usize) -> Vec<(&str, f64)> {
        let share = |samples: i64| 100.0 * samples as f64 / self.root.samples.max(1) as f64;
        let mut all: Vec<_> = self.own.iter().map(|(name, own)| (name.as_str(), share(*own))).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(count);
        all
    }

    /// The picture; what a frame is stands in its title, which browsers show under the pointer.
    pub(crate) fn svg(&self, title: &str) -> String {
        let height = HEAD + self.root.rows() as f64 * ROW + ROW;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"monospace\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" \
             fill=\"white\"/>\n<text x=\"12\" y=\"24\" font-size=\"15\">{}</text>\n",
            escaped(title)
        );
        self.draw(&mut svg, "all", &self.root, (0.0, height - 2.0 * ROW));
        svg + "</svg>\n"
    }

    fn draw(&self, svg: &mut String, name: &str, frame: &Frame, (x, y): (f64, f64)) {
        let share = frame.samples as f64 / self.root.samples.max(1) as f64;
        let width = share * WIDTH;
        if width < LEAST && frame.samples < self.root.samples {
            return;
        }
        let letters = (width / LETTER) as usize;
        let shown: String =
            if letters < 3 { String::new() } else { short(name).chars().take(letters).collect() };
        // Memory has no room for failure here.
        let _written = writeln!(
            svg,
            "<g><title>{}: {} samples, {:.1} %</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" \
             height=\"{:.1}\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            escaped(name),
            frame.samples,
            100.0 * share,
            width.max(LEAST),
            ROW - 1.0,
            colour(name),
            x + 2.0,
            y + ROW - 5.0,
            escaped(&shown)
        );
        let mut from = x;
        for (name, called) in &frame.called {
            self.draw(svg, name, called, (from, y - ROW));
            from += called.samples as f64 / self.root.samples.max(1) as f64 * WIDTH;
        }
    }
}

fn thread<'a>(sample: &Sample, text: &impl Fn(i64) -> Option<&'a String>) -> &'a str {
    let label = sample.label.iter().find(|label| text(label.key).is_some_and(|key| key == THREAD));
    label.and_then(|label| text(label.str)).map_or(THREAD, String::as_str)
}

/// The last two parts of a path: what fits into a frame.
fn short(name: &str) -> &str {
    let plain = name.split('<').next().unwrap_or(name);
    let Some((before, _)) = plain.rsplit_once("::") else { return name };
    before.rsplit_once("::").map_or(name, |(rest, _)| &name[rest.len() + 2..])
}

/// Warm, and the same for the same name.
fn colour(name: &str) -> String {
    let mixed = name.bytes().fold(17u32, |mixed, byte| mixed.wrapping_mul(31).wrapping_add(u32::from(byte)));
    format!("rgb({},{},{})", 205 + mixed % 50, 90 + mixed / 50 % 130, 40 + mixed / 6500 % 50)
}

/// A text between tags or in an attribute.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use pprof::protos::{Function, Label, Line, Location};

    /// Stacks from the caller to the called, with their counts, on one thread.
    fn profile(stacks: &[(&[&str], i64)]) -> Profile {
        let mut profile = Profile {
            string_table: vec![String::new(), THREAD.to_owned(), "main".to_owned()],
            ..Profile::default()
        };
        let location = |profile: &mut Profile, name: &str| {
            profile.string_table.push(name.to_owned());
            let (id, name) = (profile.string_table.len() as u64, profile.string_table.len() as i64 - 1);
            profile.function.push(Function { id, name, ..Function::default() });
            let line = vec![Line { function_id: id, line: 1 }];
            profile.location.push(Location { id, line, ..Location::default() });
            id
        };
        for (names, count) in stacks {
            let location_id = names.iter().rev().map(|name| location(&mut profile, name)).collect();
            let label = vec![Label { key: 1, str: 2, ..Label::default() }];
            profile.sample.push(Sample { location_id, value: vec![*count, *count * 10], label });
        }
        profile
    }

    #[test]
    fn what_a_function_called_lies_above_it_and_is_as_wide_as_its_share() {
        let stacks =
            Stacks::of(&profile(&[(&["run", "bake<T>"], 3), (&["run", "decimate"], 1), (&["run"], 4)]));
        assert_eq!((stacks.samples(), stacks.root.rows()), (8, 4));
        assert_eq!(stacks.busiest(2), [("run", 50.0), ("bake<T>", 37.5)]);
        let svg = stacks.svg("shape & texture");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("shape &amp; texture"));
        for part in ["main: 8 samples, 100.0 %", "run: 8 samples", "bake&lt;T&gt;: 3 samples, 37.5 %"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        let bake = svg.lines().find(|line| line.contains("bake&lt;T&gt;: ")).expect("a frame");
        assert!(bake.contains("x=\"0.0\"") && bake.contains("width=\"450.0\""), "{bake}");
    }

    #[test]
    fn what_refers_to_nothing_and_what_is_no_profile_panics_nobody() {
        let mut broken = profile(&[(&["a"], 1)]);
        broken.function[0].name = 99;
        broken.sample[0].location_id.push(77);
        broken.sample[0].label[0].str = -1;
        assert_eq!(Stacks::of(&broken).samples(), 1);
        assert!(Stacks::of(&Profile::default()).svg("").ends_with("</svg>\n"));
        for bytes in [&b""[..], b"no gzip at all", &[0x1f, 0x8b, 8, 0]] {
            assert!(Stacks::read(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_path_is_shown_by_its_last_parts() {
        assert_eq!(short("texture::bake::dilate"), "bake::dilate");
        assert_eq!(short("main"), "main");
        assert_eq!(short("a::b"), "a::b");
        assert_eq!(short("core::iter::map<alloc::vec::Vec<u8>>"), "iter::map<alloc::vec::Vec<u8>>");
        assert_eq!(short("<a::B as c::D>::run"), "<a::B as c::D>::run");
    }
}
