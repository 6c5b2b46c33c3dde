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

/// What CUDA does where it is to allocate or to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cuda {
    /// Largest allocation that succeeds; as much as is free if none.
    pub(crate) alloc_max: Option<u64>,
    /// The `CUresult` of whatever computes, from the first such call on; 0 is success.
    pub(crate) sticky: u32,
    /// What the default pool keeps.
    pub(crate) pool: u64,
}

/// What the driver tells by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// An Xid.
    Xid(u64),
    /// An event of this type, without a number.
    Type(u64),
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The GPU or slice that it is of.
    pub(crate) on: String,
    pub(crate) told: Told,
    /// It comes once the device was read so often.
    pub(crate) after: usize,
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
    /// Total and free that readings tell, whatever is true; the last one stays.
    pub(crate) lies: Vec<(u64, u64)>,
    /// Percent of the time that it computes, and that its memory is in use; none: not told.
    pub(crate) busy: Option<(u32, u32)>,
    /// `nvmlClocksThrottleReasons…`, as a mask; none: not told.
    pub(crate) throttle: Option<u64>,
    /// Types of events that it has.
    pub(crate) events: u64,
    pub(crate) cuda: Cuda,
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
    pub(crate) events: Vec<Event>,
}

impl Gpu {
    /// What the reading finds after so many others.
    pub(crate) fn used_at(&self, reading: usize) -> Used {
        self.used[reading.min(self.used.len() - 1)]
    }

    /// The total and free that it tells instead of true ones.
    pub(crate) fn lie_at(&self, reading: usize) -> Option<(u64, u64)> {
        self.lies.get(reading.min(self.lies.len().saturating_sub(1))).copied()
    }
}

/// Types of events (`nvmlEventType…`) by their names in a script.
const EVENTS: &[(&str, u64)] =
    &[("xid", 8), ("ecc", 2), ("retirement", 2048), ("poison", 8192), ("gone", 16384)];

/// Throttle reasons (`nvmlClocksThrottleReason…`) by their names in a script.
const THROTTLES: &[(&str, u64)] = &[
    ("idle", 1),
    ("clocks", 2),
    ("power_cap", 4),
    ("hw_slowdown", 8),
    ("sync_boost", 16),
    ("thermal", 32),
    ("hw_thermal", 64),
    ("power_brake", 128),
    ("display", 256),
    ("none", 0),
];

/// The names of a list as a mask.
fn mask(text: &str, names: &[(&str, u64)]) -> Result<u64, String> {
    let bit = |word: &str| names.iter().find(|(name, _)| *name == word).map(|(_, bit)| *bit);
    let mut bits =
        text.split(',').map(|word| bit(word).ok_or_else(|| format!("{word:?} is none of {names:?}")));
    bits.try_fold(0, |mask, bit| Ok(mask | bit?))
}

/// `A/B` as numbers.
fn pair(text: &str) -> Result<(u64, u64), String> {
    let bad = || format!("{text:?} is no pair of numbers");
    let (first, second) = text.split_once('/').ok_or_else(bad)?;
    Ok((first.parse().map_err(|_| bad())?, second.parse().map_err(|_| bad())?))
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

type Fields<'a> = BTreeMap<&'a str, &'a str>;

fn needed<'a>(fields: &Fields<'a>, name: &str, line: &str) -> Result<&'a str, String> {
    fields.get(name).copied().ok_or_else(|| format!("no {name}= in {line:?}"))
}

fn gpu(fields: &Fields<'_>, line: &str) -> Result<Gpu, String> {
    let field = |name: &str| needed(fields, name, line);
    let number = |name: &str| fields.get(name).map_or(Ok(0), |text| mib(text));
    let lie = |text: &str| pair(text).map(|(total, free)| (total * MIB, free * MIB));
    let busy = fields.get("busy").map(|text| pair(text)).transpose()?;
    let sticky = fields.get("sticky").map_or(Ok(0), |text| text.parse());
    Ok(Gpu {
        uuid: field("uuid")?.to_owned(),
        name: field("name")?.replace('_', " "),
        parent: None,
        total: number("total")?,
        reserved: number("reserved")?,
        used: field("used")?.split(',').map(used).collect::<Result<_, _>>()?,
        lies: fields.get("lies").map_or(Ok(Vec::new()), |text| text.split(',').map(lie).collect())?,
        busy: busy.map(|(compute, memory)| (compute as u32, memory as u32)),
        throttle: fields.get("throttle").map(|text| mask(text, THROTTLES)).transpose()?,
        events: fields.get("events").map_or(Ok(0), |text| mask(text, EVENTS))?,
        cuda: Cuda {
            alloc_max: fields.get("alloc_max").map(|text| mib(text)).transpose()?,
            sticky: sticky.map_err(|_| format!("no code in {line:?}"))?,
            pool: number("pool")?,
        },
    })
}

fn event(fields: &Fields<'_>, line: &str) -> Result<Event, String> {
    let parse = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number in {line:?}"));
    let told = match fields.get("xid") {
        Some(number) => Told::Xid(parse(number)?),
        None => Told::Type(mask(needed(fields, "type", line)?, EVENTS)?),
    };
    let after = fields.get("after").map_or(Ok(0), |text| parse(text))? as usize;
    Ok(Event { on: needed(fields, "on", line)?.to_owned(), told, after })
}

/// Reads a script.
pub(crate) fn parse(text: &str) -> Result<Script, String> {
    let mut script = Script { driver: "570.86.15".to_owned(), ..Script::default() };
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let kind = words.next().unwrap_or_default();
        let words: Vec<&str> = words.collect();
        let fields: Fields<'_> = words.iter().filter_map(|word| word.split_once('=')).collect();
        let field = |name: &str| needed(&fields, name, line);
        match (kind, words.as_slice()) {
            ("driver", [version]) => script.driver = (*version).to_owned(),
            ("init", [code]) => script.init = code.parse().map_err(|_| format!("no code in {line:?}"))?,
            ("gpu" | "mig", _) => script.gpus.push(Gpu {
                parent: if kind == "mig" { Some(field("parent")?.to_owned()) } else { None },
                ..gpu(&fields, line)?
            }),
            ("event", _) => script.events.push(event(&fields, line)?),
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
        assert_eq!((gpu.lie_at(3), gpu.busy, gpu.throttle, gpu.events), (None, None, None, 0));
        assert!(parse("gpu uuid=A").unwrap_err().contains("name="));
        let odd =
            "uuid=A name=B total=10 used=1 lies=10/20,0/0 busy=93/41 throttle=thermal,idle events=xid,ecc";
        let script = parse(&format!("gpu {odd}\nevent on=A xid=79 after=2\nevent on=A type=ecc")).unwrap();
        let gpu = &script.gpus[0];
        assert_eq!((gpu.lie_at(0), gpu.lie_at(9)), (Some((10 * MIB, 20 * MIB)), Some((0, 0))));
        assert_eq!((gpu.busy, gpu.throttle, gpu.events), (Some((93, 41)), Some(33), 10));
        assert_eq!((script.events[0].told, script.events[0].after), (Told::Xid(79), 2));
        assert_eq!(script.events[1].told, Told::Type(2));
        assert!(parse("event on=A").unwrap_err().contains("type="));
        assert!(parse("gnu uuid=A").unwrap_err().contains("no such line"));
    }
}
