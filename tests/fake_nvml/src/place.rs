//! Where this library lies and what its script says at this moment; how often each device was read.

use crate::script::{self, Script};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The script's name, beside the library.
pub(crate) const SCRIPT: &str = "script.txt";

static READINGS: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

/// As `dladdr` fills it, see dladdr(3).
#[repr(C)]
struct DlInfo {
    file: *const c_char,
    base: *mut c_void,
    symbol: *const c_char,
    address: *mut c_void,
}

unsafe extern "C" {
    fn dladdr(address: *const c_void, info: *mut DlInfo) -> c_int;
}

/// The folder that this copy of the library was loaded from.
fn folder() -> Option<PathBuf> {
    let mut info = DlInfo {
        file: std::ptr::null(),
        base: std::ptr::null_mut(),
        symbol: std::ptr::null(),
        address: std::ptr::null_mut(),
    };
    let known = (&raw const READINGS).cast::<c_void>();
    // SAFETY: `info` outlives the call, and `file` is a string that lives as long as the library.
    let file = unsafe {
        if dladdr(known, &raw mut info) == 0 || info.file.is_null() {
            return None;
        }
        CStr::from_ptr(info.file)
    };
    let file = Path::new(std::ffi::OsStr::from_bytes(file.to_bytes()));
    file.parent().map(Path::to_owned)
}

/// What the script says now; nothing, with a line to stderr, if it cannot be read.
pub(crate) fn script() -> Option<Script> {
    let path = folder()?.join(SCRIPT);
    let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
    match text.and_then(|text| script::parse(&text)) {
        Ok(script) => Some(script),
        Err(error) => {
            eprintln!("fake driver: {}: {error}", path.display());
            None
        }
    }
}

/// How often a device was read.
pub(crate) fn readings_of(uuid: &str) -> usize {
    let readings = READINGS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    readings.get(uuid).copied().unwrap_or_default()
}

/// Counts a reading of a device, and says how many there were before it.
pub(crate) fn readings_before(uuid: &str) -> usize {
    let mut readings = READINGS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let count = readings.entry(uuid.to_owned()).or_default();
    *count += 1;
    *count - 1
}
