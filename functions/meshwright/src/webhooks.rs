//! Webhooks, as they are configured: addresses that are told how jobs end. No other address is ever called.

use crate::config::Secret;
use crate::refusal::{Outcome, Refusal};
use domain::TenantId;
use gateway::{Ended, Listener};
use serde::Deserialize;
use std::collections::BTreeSet;

/// An address that is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookConfig {
    /// It may hold a token.
    pub(crate) url: Secret,
    /// What its messages are signed with: `whsec_` and 24 to 64 bytes in base64.
    pub(crate) secret: Secret,
    /// Which endings it wants to hear of; all when not given.
    #[serde(default)]
    pub(crate) events: BTreeSet<Ended>,
    /// Whose jobs; everybody's when not given.
    #[serde(default)]
    pub(crate) tenants: BTreeSet<TenantId>,
}

/// All of them, checked.
pub(crate) fn listeners(webhooks: &[WebhookConfig]) -> Outcome<Vec<Listener>> {
    let mut seen = BTreeSet::new();
    let one = |(n, webhook): (usize, &WebhookConfig)| {
        let WebhookConfig { url, secret, events, tenants } = webhook.clone();
        let listener = Listener::new(&url.0, &secret.0, events, tenants);
        let listener = listener.and_then(|listener| match seen.insert(listener.id()) {
            true => Ok(listener),
            false => Err("a webhook's address is there twice".to_owned()),
        });
        listener.map_err(|why| Refusal::Config(format!("webhook {}: {why}", n + 1)))
    };
    webhooks.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_that_cannot_work_is_refused_by_its_number() {
        let parse = |text: &str| toml::from_str::<WebhookConfig>(text).expect("a webhook");
        let secret = "secret = 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD'";
        let good = parse(&format!(
            "url = 'https://a.example/'\n{secret}\nevents = ['job.dead']\ntenants = ['shop']"
        ));
        assert_eq!(listeners(std::slice::from_ref(&good)).map(|all| all.len()).ok(), Some(1));
        let check = |second: WebhookConfig, part: &str| {
            let said = listeners(&[good.clone(), second]).expect_err("it cannot work").to_string();
            assert!(said.contains("webhook 2: ") && said.contains(part), "{said}");
        };
        check(good.clone(), "twice");
        check(parse(&format!("url = 'https://A.example'\n{secret}")), "twice");
        check(parse(&format!("url = 'a.example'\n{secret}")), "address is none");
        check(parse("url = 'https://b.example/'\nsecret = 'short'"), "openssl rand -base64 32");
        assert!(!format!("{good:?}").contains("a.example"), "its address may hold a token");
    }
}
