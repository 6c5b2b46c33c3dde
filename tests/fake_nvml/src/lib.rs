//! GPUs for machines without one: a C library with the NVML and CUDA driver functions that `gpu` calls,
//! driven by a script file. It proves the real adapters' logic, never a driver.
//!
//! The crate is two things from one source. As a `cdylib` it is the library (`nvml`, `cuda`), which looks
//! for `script.txt` beside itself and reads it anew on every call, so that a test changes the machine by
//! writing a file. As an `rlib` it is [`FakeDriver`]: a folder of its own with a copy of the library, so
//! that tests of one process do not disturb each other.
//!
//! `unsafe` stands here for one reason: functions with a C interface take pointers.

mod cuda;
mod events;
mod nvml;
mod place;
mod script;

use std::path::{Path, PathBuf};

/// A simulated driver: its library and its script, until it is dropped.
#[derive(Debug)]
pub struct FakeDriver {
    folder: tempfile::TempDir,
}

impl FakeDriver {
    /// A driver that plays this script. One line per thing, memory in MiB:
    ///
    /// ```text
    /// driver 570.86.15
    /// init 9
    /// gpu uuid=GPU-… name=NVIDIA_H100 total=81559 reserved=557 used=1000,2000,lost
    /// mig parent=GPU-… uuid=MIG-… name=NVIDIA_H100_MIG_1g.10gb total=9728 used=12
    /// process on=GPU-… pid=42 used=700
    /// gpu uuid=… name=… total=… used=… busy=93/41 throttle=power_cap,thermal events=xid,ecc
    /// gpu uuid=… name=… total=… used=… lies=81559/90000,0/0 alloc_max=100 sticky=700 pool=64
    /// event on=GPU-… xid=48
    /// event on=MIG-… type=ecc after=3
    /// ```
    ///
    /// `used` is what each reading finds, one after the other; the last one stays. In its place may stand
    /// `lost`, `reset`, `timeout` or `denied`. `init` is NVML's answer to its first call. A process whose
    /// use is `hidden` is listed without a number, as in a container without rights.
    ///
    /// `busy` is how much it computes and uses its memory, in percent; `throttle` what slows it down; neither
    /// is told if it is left out. `events` are the types of events that it has (none), and `event` lines come
    /// in their order, one that is added later later, and once the device was read `after` times. `lies` is
    /// the total and free that readings tell instead of the truth. CUDA allocates no more than `alloc_max` at
    /// once, and fails with `sticky` from the first call on that computes; `pool` is what its default pool
    /// keeps.
    ///
    /// # Panics
    /// The script cannot be read, or the library was not built beside this test.
    pub fn new(script: &str) -> FakeDriver {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["libnvidia-ml.so.1", "libcuda.so.1"] {
            std::fs::copy(built(), folder.path().join(name)).expect("a copy of the library");
        }
        let driver = FakeDriver { folder };
        driver.play(script);
        driver
    }

    /// From now on this script is played.
    ///
    /// # Panics
    /// The script cannot be read.
    pub fn play(&self, script: &str) {
        script::parse(script).expect("a script as documented");
        let new = self.folder.path().join("script.new");
        std::fs::write(&new, script).expect("a small file");
        std::fs::rename(new, self.folder.path().join(place::SCRIPT)).expect("a file in its own folder");
    }

    /// The folder of both libraries, as for `LD_LIBRARY_PATH`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The library to load as NVML.
    pub fn nvml(&self) -> PathBuf {
        self.folder.path().join("libnvidia-ml.so.1")
    }
}

/// Where cargo put the `cdylib`: beside the tests of every crate that depends on this one, since a
/// dependency's crate types are all built, into `deps`. A binary's own tests find it the same way.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let folders = test.ancestors().skip(1).take(2);
    let places = folders.flat_map(|folder| [folder.to_owned(), folder.join("deps")]);
    let found = places.map(|place| place.join("libfake_nvml.so")).find(|library| library.is_file());
    found.unwrap_or_else(|| panic!("libfake_nvml.so is not beside {}", test.display()))
}
