//! The repository's Rust files, and the parts of them that rules look at. Relies on the house's format, which
//! `cargo fmt --check` holds: items of one depth have one indentation.

use crate::root;
use std::path::Path;

/// Folders that are not ours to judge.
const SKIPPED: [&str; 4] = [".git", "target", "node_modules", "__pycache__"];

/// One Rust file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Path from the root.
    pub file: String,
    /// The crate's folder, as `shared/domain`.
    pub folder: String,
    /// What is in it.
    pub text: String,
}

impl Source {
    /// A file with its text.
    pub fn new(file: &str, text: &str) -> Source {
        let folder = file.splitn(3, '/').take(2).collect::<Vec<_>>().join("/");
        Source { file: file.to_owned(), folder, text: text.to_owned() }
    }

    /// The crate's name.
    pub fn crate_name(&self) -> &str {
        self.folder.rsplit('/').next().unwrap_or_default()
    }

    /// Its lines from 1, without comments at their ends and without comment lines.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line.split("//").next().unwrap_or(line)))
    }

    /// Lines of code from 1 that only run in tests: whole files below `tests/`, and test modules.
    pub fn test_code(&self) -> impl Iterator<Item = (usize, &str)> {
        let first = if self.is_test_file() {
            Some(1)
        } else {
            self.code().find(|(_, line)| line.trim() == "#[cfg(test)]").map(|(line, _)| line)
        };
        self.code().filter(move |(line, _)| first.is_some_and(|first| *line >= first))
    }

    /// Lines of code from 1 that run outside tests.
    pub fn live_code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.test_code().next().map_or(usize::MAX, |(line, _)| line);
        self.code().filter(move |(line, _)| *line < tests)
    }

    fn is_test_file(&self) -> bool {
        self.file.starts_with("tests/") || self.file.contains("/tests/")
    }

    /// Line, name and number of methods of each trait.
    pub fn traits(&self) -> Vec<(usize, String, usize)> {
        let mut found: Vec<(usize, String, usize)> = Vec::new();
        // Indentation of the trait that is open.
        let mut open: Option<usize> = None;
        for (at, line) in self.code() {
            let (indent, words) = (line.len() - line.trim_start().len(), line.trim_start());
            let item = words.strip_prefix("pub(crate) ").or(words.strip_prefix("pub ")).unwrap_or(words);
            if let Some(rest) = item.strip_prefix("unsafe ").unwrap_or(item).strip_prefix("trait ") {
                let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                found.push((at, name.to_owned(), 0));
                open = (!line.trim_end().ends_with('}')).then_some(indent);
            } else if let Some(depth) = open {
                let method = words.starts_with("fn ") || words.starts_with("async fn ");
                if indent == depth && words.starts_with('}') {
                    open = None;
                } else if method && indent == depth + 4 {
                    found.last_mut().expect("a trait is open").2 += 1;
                }
            }
        }
        found
    }
}

/// All Rust files below the root, in order.
///
/// # Panics
/// A file cannot be read.
pub fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root(), &root(), &mut found);
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !SKIPPED.contains(&name.as_str()) && !path.is_symlink() {
            walk(root, &path, found);
        } else if name.ends_with(".rs") && path.is_file() {
            let file = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
            found.push(Source::new(&file, &text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_of_each_trait_are_counted_and_free_functions_are_not() {
        let text = "
pub trait A: Send {
    /// fn not_me
    fn one(&self);
    async fn two(&self) {
        fn inner() {}
    }
}
fn free() {}
mod m {
    pub(crate) trait B {
        fn b();
    }
}
trait Empty {}
fn last() {}
";
        let found = Source::new("shared/x/src/lib.rs", text).traits();
        let expect = [(2, "A", 2), (11, "B", 1), (15, "Empty", 0)].map(|(l, n, c)| (l, n.to_owned(), c));
        assert_eq!(found, expect);
    }

    #[test]
    fn test_code_begins_at_the_test_module_or_is_the_whole_file() {
        let text = "fn live() {} // sleep\n#[cfg(test)]\nmod tests {}\n";
        let source = Source::new("shared/x/src/lib.rs", text);
        assert_eq!(source.test_code().map(|(line, _)| line).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(source.live_code().collect::<Vec<_>>(), [(1, "fn live() {} ")]);
        assert_eq!(Source::new("shared/x/tests/a.rs", text).test_code().count(), 3);
        assert_eq!(source.crate_name(), "x");
    }
}
