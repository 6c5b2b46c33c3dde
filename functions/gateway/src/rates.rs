//! How many jobs each tenant may make over HTTP. Uploads that come through the bucket are not counted: there
//! the planner shares what there is.

use domain::TenantId;
use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;
use std::time::Duration;

/// Each tenant's rate: as many at once as in a minute.
pub(crate) struct Rates {
    of_tenants: Option<RateLimiter<TenantId, HashMapStateStore<TenantId>, DefaultClock>>,
    clock: DefaultClock,
}

impl Rates {
    /// So many jobs a minute; no limit without.
    pub(crate) fn new(jobs_per_minute: Option<NonZeroU32>) -> Rates {
        let clock = DefaultClock::default();
        let limiter = |quota| RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
        let of_tenants = jobs_per_minute.map(|jobs| limiter(Quota::per_minute(jobs)));
        Rates { of_tenants, clock }
    }

    /// Counts a job, or says how long to wait.
    pub(crate) fn take(&self, tenant: &TenantId) -> Result<(), Duration> {
        let Some(of_tenants) = &self.of_tenants else { return Ok(()) };
        of_tenants.check_key(tenant).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_has_a_rate_of_its_own() {
        let rates = Rates::new(NonZeroU32::new(2));
        let tenant = |name: &str| name.parse::<TenantId>().expect("a name");
        assert_eq!((rates.take(&tenant("a")), rates.take(&tenant("a"))), (Ok(()), Ok(())));
        let wait = rates.take(&tenant("a")).expect_err("two a minute");
        assert!(wait <= Duration::from_secs(30), "{wait:?}");
        assert_eq!(rates.take(&tenant("b")), Ok(()));
        let free = Rates::new(None);
        assert!((0..1000).all(|_| free.take(&tenant("a")).is_ok()));
    }
}
