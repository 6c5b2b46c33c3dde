//! The script: which devices there are and what each reading finds. Its form is told at
//! [`crate::FakeDriver::new`].

use std::collections::BTreeMap;

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// What a reading finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Used {
    Bytes(u64),
    /// An `nvmlReturn_t`.
    Fault(u32),
}

/// A GPU, or a slice of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gpu {
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) parent: Option<String>,
    pub(crate) total: u64,
    pub(crate) reserved: u64,
    pub(crate) used: Vec<Used>,
}

/// A process on a device; None: its memory is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) on: String,
    pub(crate) pid: u32,
    pub(crate) used: Option<u64>,
}

/// The whole machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) driver: String,
    pub(crate) init: u32,
    pub(crate) gpus: Vec<Gpu>,
    pub(crate) processes: Vec<Process>,
}

impl Gpu {
    /// What the reading finds after so many others.
    pub(crate) fn used_at(&self, reading: usize) -> Used {
        self.used[reading.min(self.used.len() - 1)]
    }
}

fn used(text: &str) -> Result<Used, String> {
    let fault = match text {
        "lost" => 15,
        "reset" => 16,
        "timeout" => 10,
        "denied" => 4,
        number => return mib(number).map(Used::Bytes),
    };
    Ok(Used::Fault(fault))
}

fn mib(text: &str) -> Result<u64, String> {
    text.parse::<u64>().map(|mib| mib * MIB).map_err(|_| format!("{text:?} is no number of MiB"))
}

/// Reads a script.
pub(crate) fn parse(text: &str) -> Result<Script, String> {
    let mut script = Script { driver: "570.86.15".to_owned(), ..Script::default() };
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let kind = words.next().unwrap_or_default();
        let words: Vec<&str> = words.collect();
        let fields: BTreeMap<&str, &str> = words.iter().filter_map(|word| word.split_once('=')).collect();
        let field = |name: &str| fields.get(name).copied().ok_or_else(|| format!("no {name}= in {line:?}"));
        let number = |name: &str| fields.get(name).map_or(Ok(0), |text| mib(text));
        match (kind, words.as_slice()) {
            ("driver", [version]) => script.driver = (*version).to_owned(),
            ("init", [code]) => script.init = code.parse().map_err(|_| format!("no code in {line:?}"))?,
            ("gpu" | "mig", _) => script.gpus.push(Gpu {
                uuid: field("uuid")?.to_owned(),
                name: field("name")?.replace('_', " "),
                parent: if kind == "mig" { Some(field("parent")?.to_owned()) } else { None },
                total: number("total")?,
                reserved: number("reserved")?,
                used: field("used")?.split(',').map(used).collect::<Result<_, _>>()?,
            }),
            ("process", _) => script.processes.push(Process {
                on: field("on")?.to_owned(),
                pid: field("pid")?.parse().map_err(|_| format!("no pid in {line:?}"))?,
                used: Some(field("used")?).filter(|used| *used != "hidden").map(mib).transpose()?,
            }),
            _ => return Err(format!("no such line: {line:?}")),
        }
    }
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reading_stays_and_nonsense_is_named() {
        let script = parse("gpu uuid=A name=B_C total=10 used=1,lost").unwrap();
        let gpu = &script.gpus[0];
        assert_eq!((gpu.name.as_str(), gpu.total), ("B C", 10 * MIB));
        assert_eq!([0, 1, 7].map(|at| gpu.used_at(at)), [Used::Bytes(MIB), Used::Fault(15), Used::Fault(15)]);
        assert!(parse("gpu uuid=A").unwrap_err().contains("name="));
        assert!(parse("gnu uuid=A").unwrap_err().contains("no such line"));
    }
}
