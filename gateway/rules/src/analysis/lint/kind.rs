//! The kinds of lints, and their stable names.

use std::sync::Arc;

/// Which trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LintKind {
    /// A rule tests `cert_verified` and not `cert_revoked`: a revoked certificate passes.
    RevokedPasses,
    /// A rule lets a certificate pass for what is written in it and does not ask whether it
    /// verifies: a self-made one passes.
    UnverifiedPasses,
    /// Several CAs are believed and no rule says which one.
    NoIssuerPin,
    /// `not cert_verified and … ne …` blocks only clients that are not verified.
    AndInsteadOfOr,
    /// A path is compared exactly; an origin may see `/ADMIN` or `/admin/` as the same.
    ExactPath,
    /// The path as it was sent is compared; what is forwarded is another one.
    RawPath,
    /// A path is compared together with the query: any query avoids it.
    PathWithQuery,
    /// A rule on certificates for a host that never asks for one.
    HostWithoutMtls,
    /// A host that asks for certificates and no rule that blocks clients without a good one.
    HostWithoutRule,
    /// `ne` of a value that may be missing is false when it is missing.
    NotEqualOfMissing,
    /// A header's name with capitals is never found.
    CapitalHeader,
    /// A host's name with capitals is never met.
    CapitalHost,
    /// A host's name with a dot at its end is never met.
    FinalDotHost,
    /// A function that Cloudflare keeps for rewriting, in a filter.
    RewriteOnlyFunction,
    /// Country, AS number and the like have no value without a GeoIP database.
    NoGeoDatabase,
}

impl LintKind {
    /// Its stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RevokedPasses => "revoked_passes",
            Self::UnverifiedPasses => "unverified_passes",
            Self::NoIssuerPin => "no_issuer_pin",
            Self::AndInsteadOfOr => "and_instead_of_or",
            Self::ExactPath => "exact_path",
            Self::RawPath => "raw_path",
            Self::PathWithQuery => "path_with_query",
            Self::HostWithoutMtls => "host_without_mtls",
            Self::HostWithoutRule => "host_without_rule",
            Self::NotEqualOfMissing => "not_equal_of_missing",
            Self::CapitalHeader => "capital_header",
            Self::CapitalHost => "capital_host",
            Self::FinalDotHost => "final_dot_host",
            Self::RewriteOnlyFunction => "rewrite_only_function",
            Self::NoGeoDatabase => "no_geo_database",
        }
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
