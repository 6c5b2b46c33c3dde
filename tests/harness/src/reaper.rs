//! Ends the children of a test process that could not do it itself: it was killed, it aborted, or they hang
//! in a static.
//!
//! One shell per test process reads process groups from a pipe. When the test process ends, however it ends,
//! the pipe closes, and the shell kills the groups that are still on its list.

use rustix::process::Pid;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Mutex;

const SCRIPT: &str = r#"
groups=" "
while read -r what group; do
    case $what in
        add) groups="$groups$group " ;;
        drop) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
"#;

static PIPE: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// Puts a process group on the list.
pub(crate) fn watch(group: Pid) {
    tell("add", group);
}

/// Takes a process group that has ended off the list, so that a later owner of its number is safe.
pub(crate) fn forget(group: Pid) {
    tell("drop", group);
}

fn tell(what: &str, group: Pid) {
    let mut pipe = PIPE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if pipe.is_none() {
        // A group of its own: an interrupt from the keyboard must not end it before its work is done.
        *pipe = Command::new("/bin/sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .ok()
            .and_then(|mut shell| shell.stdin.take());
    }
    if let Some(pipe) = pipe.as_mut() {
        // Without its shell a test run still works; it only cleans up less after a crash.
        let _ = writeln!(pipe, "{what} {}", group.as_raw_nonzero());
    }
}
