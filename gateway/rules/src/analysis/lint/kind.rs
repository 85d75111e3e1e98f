//! The kinds of lints, and their stable names.

use std::sync::Arc;

vocabulary::words! {
    /// Which trap.
    #[derive(PartialOrd, Ord)]
    pub enum LintKind("a lint", without serde) {
        /// A rule tests `cert_verified` and not `cert_revoked`: a revoked certificate passes.
        RevokedPasses = "revoked_passes",
        /// A rule lets a certificate pass for what is written in it and does not ask whether it
        /// verifies: a self-made one passes.
        UnverifiedPasses = "unverified_passes",
        /// Several CAs are believed and no rule says which one.
        NoIssuerPin = "no_issuer_pin",
        /// `not cert_verified and … ne …` blocks only clients that are not verified.
        AndInsteadOfOr = "and_instead_of_or",
        /// A path is compared exactly; an origin may see `/ADMIN` or `/admin/` as the same.
        ExactPath = "exact_path",
        /// The path as it was sent is compared; what is forwarded is another one.
        RawPath = "raw_path",
        /// A path is compared together with the query: any query avoids it.
        PathWithQuery = "path_with_query",
        /// A rule on certificates for a host that never asks for one.
        HostWithoutMtls = "host_without_mtls",
        /// A host that asks for certificates and no rule that blocks clients without a good one.
        HostWithoutRule = "host_without_rule",
        /// `ne` of a value that may be missing is false when it is missing.
        NotEqualOfMissing = "not_equal_of_missing",
        /// A header's name with capitals is never found.
        CapitalHeader = "capital_header",
        /// A host's name with capitals is never met.
        CapitalHost = "capital_host",
        /// A host's name with a dot at its end is never met.
        FinalDotHost = "final_dot_host",
        /// A host's name that no host of the zone answers for.
        UnknownHost = "unknown_host",
        /// A function that Cloudflare keeps for rewriting, in a filter.
        RewriteOnlyFunction = "rewrite_only_function",
        /// Country, AS number and the like have no value without a GeoIP database.
        NoGeoDatabase = "no_geo_database",
    }
}

/// One suspicion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lint {
    /// Which trap.
    pub kind: LintKind,
    /// The rule; `None` when it is about a host.
    pub rule_id: Option<Arc<str>>,
    /// What happens and why it may not be what is meant.
    pub message: String,
    /// The corrected expression.
    pub suggestion: Option<String>,
}
