//! How many files this process may open: a gateway serves thousands of clients, and the usual soft limit is
//! 1,024.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, which is what the system grants. Nothing here uses `select`, for
/// whose sake the soft one is low.
pub(crate) fn allow_all() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "raise the limit of open files from {:?}", limit.current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_the_system_grants_may_be_opened() {
        let limit = getrlimit(Resource::Nofile);
        let fewer = limit.maximum.map_or(1_024, |most| most / 2);
        setrlimit(Resource::Nofile, Rlimit { current: Some(fewer), ..limit }).expect("fewer");
        allow_all();
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
    }
}
