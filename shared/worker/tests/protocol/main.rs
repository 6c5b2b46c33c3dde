//! The worker's side of the protocol, on the twins and a loopback store, with real runners: this binary,
//! started again with the argument `runner`. The test is the planner.

mod ahead;
mod counting;
mod device_faults;
mod faults;
mod life;
mod scripted;
mod taken_back;
mod timings;
mod world;

use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

/// A test on a runtime of its own.
pub fn trial<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.map_err(|error| Failed::from(error.to_string()))?.block_on(test());
        Ok(())
    })
}

/// Tests by their names.
#[macro_export]
macro_rules! trials {
    ($($test:ident),* $(,)?) => { vec![$($crate::trial(stringify!($test), $test)),*] };
}

/// What a self-test finds broken: what the file of the second argument says, if there is one.
fn probe() -> Result<(), String> {
    let said = std::env::args().nth(2).and_then(|file| std::fs::read_to_string(file).ok());
    said.map_or(Ok(()), Err)
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("runner") {
        let served = worker::runner::serve_with_probe(|stage| Box::new(scripted::Scripted(stage)), probe);
        return if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let groups = [
        life::tests(),
        counting::tests(),
        device_faults::tests(),
        taken_back::tests(),
        ahead::tests(),
        timings::tests(),
    ];
    libtest_mimic::run(&Arguments::from_args(), groups.into_iter().flatten().collect()).exit_code()
}
