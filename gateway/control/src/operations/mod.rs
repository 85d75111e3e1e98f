//! The operations of the control plane: `impl Control` blocks, one file per noun. What a user can
//! ask for, with its validation, belongs here.

pub(crate) mod acme;
pub(crate) mod alone;
pub(crate) mod associations;
pub(crate) mod authorities;
pub(crate) mod blocked_networks;
pub(crate) mod client_certificates;
pub(crate) mod denied;
pub(crate) mod dns_records;
pub(crate) mod dry_run;
pub(crate) mod forwarding;
pub(crate) mod host_certificates;
pub(crate) mod hosts;
pub(crate) mod lints;
pub(crate) mod lists;
pub(crate) mod loss;
pub(crate) mod mtls_rule;
pub(crate) mod ocsp;
pub(crate) mod origin_rules;
pub(crate) mod origins;
pub(crate) mod pkcs12;
pub(crate) mod revocation_lists;
pub(crate) mod ruleset_differences;
pub(crate) mod ruleset_versions;
pub(crate) mod rulesets;
pub(crate) mod security_header;
pub(crate) mod server_certificates;
pub(crate) mod tickets;
pub(crate) mod tokens;
pub(crate) mod zones;
