//! The resources of the API, one file each: the JSON of requests and answers, and one call of
//! [`control`] per route.

pub(crate) mod associations;
pub(crate) mod audit;
pub(crate) mod authorities;
pub(crate) mod client_certificates;
pub(crate) mod counters;
pub(crate) mod dashboard;
pub(crate) mod denied;
pub(crate) mod description;
pub(crate) mod dns_records;
pub(crate) mod doctor;
pub(crate) mod documents;
pub(crate) mod events;
pub(crate) mod expressions;
pub(crate) mod fleet;
pub(crate) mod forwarding;
pub(crate) mod health;
pub(crate) mod hosts;
pub(crate) mod latency;
pub(crate) mod lists;
pub(crate) mod mtls_rules;
pub(crate) mod origins;
pub(crate) mod revocation;
pub(crate) mod rule_body;
pub(crate) mod rule_list;
pub(crate) mod ruleset_views;
pub(crate) mod rulesets;
pub(crate) mod server_certificates;
pub(crate) mod status;
pub(crate) mod steering;
pub(crate) mod sysctl;
pub(crate) mod tokens;
pub(crate) mod upgrade;
pub(crate) mod zone_settings;
pub(crate) mod zones;
