//! Routes under `/postern/v1` about what is configured: what Cloudflare has no resource for.

use super::Answer::{All, Media, One, Page, PageOrCursor};
use super::Body::{Crl, Json, MaybeJson};
use super::Kind::{AtLeast, Flag, Text, Time};
use super::Need::{Certificates, Nothing, Read, Rules, Socket};
use super::{Group, Parameter, Route, route};
use crate::api::{
    associations, audit, authorities, client_certificates, dashboard, denied, documents,
    expressions, hosts, mtls_rules, origins, revocation, rule_list, rulesets, server_certificates,
    tokens,
};
use crate::dry_run;
use crate::limits::{
    ADMIN_BODY_BYTES_MAX, ADMIN_CERTIFICATES_BODY_BYTES_MAX, ADMIN_CRL_BODY_BYTES_MAX,
    ADMIN_DRY_RUN_BODY_BYTES_MAX, ADMIN_NAMES_BODY_BYTES_MAX,
};

pub(super) const GROUPS: &[Group] = &[
    Group {
        name: "Hosts",
        about: "A host is one name that the gateway serves, exact or a wildcard, with its origin \
                and what it asks of clients.",
        routes: HOSTS,
    },
    Group {
        name: "Origins",
        about: "An origin of a zone has one address or several, which hosts and origin rules share \
                by its name. A host may have an origin of its own instead.",
        routes: ORIGINS,
    },
    Group {
        name: "Managed CAs",
        about: "CAs whose keys the gateway has: those that issue a zone's client certificates, \
                and one that issues server certificates for development.",
        routes: MANAGED,
    },
    Group {
        name: "Revocation",
        about: "Revocation lists (CRLs) and responders (OCSP) of uploaded CAs.",
        routes: REVOCATION,
    },
    Group {
        name: "mTLS rules",
        about: "Custom rules that ask for a client certificate, as hosts and paths instead of an \
                expression. With `dry_run=true` the answer shows the rule that would be made.",
        routes: MTLS_RULES,
    },
    Group {
        name: "Help with rules",
        about: "Trying, checking and comparing rules.",
        routes: HELP,
    },
    Group {
        name: "Tokens",
        about: "Tokens for this API.",
        routes: TOKENS,
    },
    Group {
        name: "Dashboard",
        about: "The dashboard's page, and who is signed in at it. Only its own page can use a \
                session: scripts use a token.",
        routes: DASHBOARD,
    },
    Group {
        name: "Configuration as a document",
        about: "Everything that is configured in one document, the audit log of its changes, and \
                backups, which hold the state as well.",
        routes: DOCUMENTS,
    },
];

const HOSTS: &[Route] = &[
    route!(GET "/postern/v1/hosts", hosts::list, "list_hosts", "List all hosts by name")
        .gives(Page("Host")),
    route!(GET "/postern/v1/zones/{zone_id}/hosts", hosts::list_of, "list_hosts_of_zone",
        "List a zone's hosts by name")
    .gives(Page("Host")),
    route!(POST "/postern/v1/zones/{zone_id}/hosts", hosts::create, "create_host",
        "Create a host")
    .takes(Json("HostCreate"))
    .up_to(ADMIN_CERTIFICATES_BODY_BYTES_MAX)
    .gives(One("Host"))
    .tried(),
    route!(GET "/postern/v1/hosts/{host}", hosts::show, "get_host", "Show a host")
        .gives(One("Host")),
    route!(PATCH "/postern/v1/hosts/{host}", hosts::update, "update_host", "Change a host")
        .takes(Json("HostUpdate"))
        .up_to(ADMIN_CERTIFICATES_BODY_BYTES_MAX)
        .gives(One("Host"))
        .tried(),
    route!(DELETE "/postern/v1/hosts/{host}", hosts::delete, "delete_host", "Delete a host")
        .gives(One("DeletedHost"))
        .tried(),
    route!(POST "/postern/v1/hosts/{host}/acme_order", hosts::order, "order_certificate",
        "Order a host's certificate from the ACME server now")
    .gives(One("Host")),
    route!(GET "/postern/v1/hosts/{host}/enforcement", hosts::enforcement, "get_enforcement",
        "Show what keeps clients without a certificate from a host")
    .gives(One("Enforcement")),
    route!(POST "/postern/v1/zones/{zone_id}/server_certificates/development",
        server_certificates::develop, "create_development_certificate",
        "Make a server certificate for development, signed by the development CA")
    .takes(Json("DevelopmentCertificateCreate"))
    .gives(One("ServerCertificate"))
    .tried(),
];

const ORIGINS: &[Route] = &[
    route!(GET "/postern/v1/origins", origins::states, "list_origin_states",
        "Show how the addresses of all origins are")
    .gives(Page("OriginState")),
    route!(GET "/postern/v1/zones/{zone_id}/origins", origins::list, "list_origins",
        "List a zone's origins by name")
    .gives(Page("ZoneOrigin")),
    route!(POST "/postern/v1/zones/{zone_id}/origins", origins::create, "create_origin",
        "Create an origin")
    .takes(Json("ZoneOriginCreate"))
    .up_to(ADMIN_CERTIFICATES_BODY_BYTES_MAX)
    .gives(One("ZoneOrigin"))
    .tried(),
    route!(GET "/postern/v1/zones/{zone_id}/origins/{origin}", origins::show, "get_origin",
        "Show an origin and how its addresses are")
    .gives(One("ZoneOrigin")),
    route!(PATCH "/postern/v1/zones/{zone_id}/origins/{origin}", origins::update, "update_origin",
        "Change an origin, for all hosts and rules that name it")
    .takes(Json("ZoneOriginUpdate"))
    .up_to(ADMIN_CERTIFICATES_BODY_BYTES_MAX)
    .gives(One("ZoneOrigin"))
    .tried(),
    route!(DELETE "/postern/v1/zones/{zone_id}/origins/{origin}", origins::delete, "delete_origin",
        "Delete an origin that nothing names")
    .gives(One("DeletedOrigin"))
    .tried(),
];

const MANAGED: &[Route] = &[
    route!(GET "/postern/v1/zones/{zone_id}/authorities", authorities::managed,
        "list_managed_cas", "List a zone's managed CAs, the one that issues first")
    .gives(All("ManagedCa")),
    route!(POST "/postern/v1/zones/{zone_id}/authorities", authorities::roll, "roll_managed_ca",
        "Make a new managed CA that issues from now on; the older ones are still accepted")
    .takes(MaybeJson("ManagedCaRoll"))
    .gives(One("ManagedCa"))
    .tried(),
    route!(DELETE "/postern/v1/zones/{zone_id}/authorities/{ca_id}", authorities::retire,
        "retire_managed_ca", "Retire a managed CA: its clients are refused from now on")
    .gives(One("DeletedByUuid"))
    .tried(),
    route!(GET "/postern/v1/zones/{zone_id}/authorities/{ca_id}/crl",
        authorities::revocation_list, "get_managed_crl",
        "Download the signed revocation list of a managed CA, in DER")
    .gives(Media("application/pkix-crl")),
    route!(POST "/postern/v1/zones/{zone_id}/client_certificates", client_certificates::create,
        "create_client_certificate",
        "Make a key and a client certificate; the key is in the answer and nowhere else")
    .needs(Certificates)
    .takes(Json("ClientCertificateCreate"))
    .gives(One("ClientCertificateWithKey"))
    .tried(),
    route!(POST "/postern/v1/zones/{zone_id}/client_certificates/revocations",
        client_certificates::revoke_many, "revoke_client_certificates",
        "Revoke many client certificates of a zone in one change, all or none")
    .needs(Certificates)
    .takes(Json("ClientCertificatesRevoke"))
    .up_to(ADMIN_CERTIFICATES_BODY_BYTES_MAX)
    .gives(One("ClientCertificatesRevoked"))
    .tried(),
    route!(POST "/postern/v1/client_certificates/revocations",
        client_certificates::revoke_anywhere, "revoke_client_certificates_of_zones",
        "Revoke many client certificates of several zones in one change, all or none")
    .takes(Json("ClientCertificatesOfZonesRevoke"))
    .up_to(ADMIN_NAMES_BODY_BYTES_MAX)
    .gives(One("ClientCertificatesRevoked"))
    .tried(),
    route!(PATCH "/postern/v1/zones/{zone_id}/hostname_associations", associations::change,
        "change_hostname_associations",
        "Add host names to those that accept a CA's clients, and take others away")
    .takes(Json("HostnameAssociationsChange"))
    .up_to(ADMIN_NAMES_BODY_BYTES_MAX)
    .gives(One("HostnameAssociationsChanged"))
    .tried(),
    route!(GET "/postern/v1/development_authority", server_certificates::development,
        "get_development_ca", "Show the development CA, when there is one")
    .gives(One("DevelopmentCa")),
    route!(POST "/postern/v1/development_authority", server_certificates::make_development,
        "create_development_ca", "Make the development CA, when there is none, and show it")
    .gives(One("DevelopmentCa"))
    .tried(),
];

const REVOCATION: &[Route] = &[
    route!(GET "/postern/v1/certificate_authorities/{ca_id}/crls", revocation::show_lists, "get_crls",
        "Show an uploaded CA's revocation lists and where they come from")
    .gives(One("Crls")),
    route!(PUT "/postern/v1/certificate_authorities/{ca_id}/crls", revocation::put_lists, "upload_crl",
        "Upload revocation lists; each takes the place of the older one of its kind")
    .query(&[Parameter::new(
        "force",
        Flag,
        "Take lists that have expired or are older than those in their places",
    )])
    .takes(Crl("CrlUpload"))
    .up_to(ADMIN_CRL_BODY_BYTES_MAX)
    .gives(One("CrlsPut"))
    .tried(),
    route!(PATCH "/postern/v1/certificate_authorities/{ca_id}/crls", revocation::set_lists, "update_crls",
        "Change where an uploaded CA's lists come from, and what is done without one")
    .takes(Json("CrlsUpdate"))
    .gives(One("Crls"))
    .tried(),
    route!(DELETE "/postern/v1/certificate_authorities/{ca_id}/crls", revocation::remove_lists,
        "delete_crls", "Delete an uploaded CA's revocation lists")
    .gives(One("Crls"))
    .tried(),
    route!(POST "/postern/v1/certificate_authorities/{ca_id}/crls/fetch", revocation::fetch_lists,
        "fetch_crls", "Fetch an uploaded CA's revocation lists now, and wait for them")
    .gives(One("Crls")),
    route!(GET "/postern/v1/certificate_authorities/{ca_id}/denied", denied::list,
        "list_denied_certificates", "List the certificates of an uploaded CA that are denied")
    .gives(Page("DeniedCertificate")),
    route!(POST "/postern/v1/certificate_authorities/{ca_id}/denied", denied::add,
        "deny_certificate", "Deny a certificate of an uploaded CA, as if it were revoked")
    .takes(Json("DeniedCertificateCreate"))
    .up_to(ADMIN_CERTIFICATES_BODY_BYTES_MAX)
    .gives(All("DeniedCertificate"))
    .tried(),
    route!(DELETE "/postern/v1/certificate_authorities/{ca_id}/denied/{denied_id}", denied::remove,
        "allow_certificate", "Believe a denied certificate of an uploaded CA again")
    .gives(One("DeniedCertificate"))
    .tried(),
    route!(GET "/postern/v1/certificate_authorities/{ca_id}/ocsp", revocation::show_responder, "get_ocsp",
        "Show which responder is asked about an uploaded CA's clients")
    .gives(One("Ocsp")),
    route!(PATCH "/postern/v1/certificate_authorities/{ca_id}/ocsp", revocation::set_responder, "update_ocsp",
        "Change which responder is asked about an uploaded CA's clients")
    .takes(Json("OcspUpdate"))
    .gives(One("Ocsp"))
    .tried(),
];

const MTLS_RULES: &[Route] = &[
    route!(GET "/postern/v1/zones/{zone_id}/mtls_rules", mtls_rules::list, "list_mtls_rules",
        "List a zone's mTLS rules in their order")
    .gives(Page("MtlsRule")),
    route!(POST "/postern/v1/zones/{zone_id}/mtls_rules", mtls_rules::create,
        "create_mtls_rule", "Create an mTLS rule")
    .needs(Rules)
    .takes(Json("MtlsRuleWrite"))
    .gives(One("MtlsRuleWritten"))
    .tried(),
    route!(GET "/postern/v1/zones/{zone_id}/mtls_rules/{rule_id}", mtls_rules::show,
        "get_mtls_rule", "Show an mTLS rule")
    .gives(One("MtlsRule")),
    route!(PATCH "/postern/v1/zones/{zone_id}/mtls_rules/{rule_id}", mtls_rules::update,
        "update_mtls_rule", "Change an mTLS rule, or move it")
    .needs(Rules)
    .takes(Json("MtlsRuleWrite"))
    .gives(One("MtlsRuleWritten"))
    .tried(),
    route!(DELETE "/postern/v1/zones/{zone_id}/mtls_rules/{rule_id}", mtls_rules::delete,
        "delete_mtls_rule", "Delete an mTLS rule")
    .needs(Rules)
    .gives(One("Deleted"))
    .tried(),
];

const HELP: &[Route] = &[
    route!(POST "/postern/v1/zones/{zone_id}/rule_tests", dry_run::run, "test_rules",
        "Try a zone's rules, with a draft or without, on written or recorded requests")
    .needs(Read)
    .takes(Json("RuleTest"))
    .up_to(ADMIN_DRY_RUN_BODY_BYTES_MAX)
    .gives(One("RuleTestResult")),
    route!(POST "/postern/v1/expressions/preview", expressions::preview, "preview_expression",
        "Check an expression, or make one of a form")
    .needs(Read)
    .takes(Json("ExpressionPreview"))
    .gives(One("ExpressionPreviewed")),
    route!(GET "/postern/v1/expressions/vocabulary", expressions::vocabulary,
        "list_expression_vocabulary", "List the fields and functions of the rules language")
    .gives(One("ExpressionVocabulary")),
    route!(GET "/postern/v1/zones/{zone_id}/lints", expressions::lints, "list_lints",
        "List what is suspicious about a zone's rules and hosts")
    .query(&[Parameter::new(
        "rules",
        Text,
        "Only about these rules, by ids with commas between them, and about hosts",
    )])
    .gives(All("Lint")),
    route!(GET "/postern/v1/zones/{zone_id}/rules", rule_list::list, "list_rules",
        "List rules of a phase in their order, page by page")
    .query(&[
        Parameter::new(
            "phase",
            Text,
            "The phase; http_request_firewall_custom by default",
        ),
        Parameter::new(
            "search",
            Text,
            "Only rules with this text in their description or expression",
        ),
    ])
    .gives(Page("ListedRule")),
    route!(GET "/postern/v1/zones/{zone_id}/rules/{rule_id}", rule_list::show, "get_rule",
        "Show a rule of any phase, with its place")
    .gives(One("ListedRule")),
    route!(GET "/postern/v1/zones/{zone_id}/rulesets/{ruleset_id}/differences",
        rulesets::differences, "compare_ruleset_versions", "Compare two versions of a ruleset")
    .query(&[
        Parameter::new(
            "from",
            AtLeast(0),
            "The version before; by default the one before `to`",
        ),
        Parameter::new("to", AtLeast(0), "The version after; by default the newest"),
    ])
    .gives(One("RulesetDifferences")),
    route!(POST "/postern/v1/zones/{zone_id}/rulesets/{ruleset_id}/versions/{version}/restore",
        rulesets::restore, "restore_ruleset_version",
        "Make a new version of a ruleset with the rules of an older one")
    .needs(Rules)
    .gives(One("Ruleset"))
    .tried(),
];

const TOKENS: &[Route] = &[
    route!(GET "/postern/v1/tokens", tokens::list, "list_tokens",
        "List tokens without their secrets, the oldest first")
    .gives(Page("Token")),
    route!(POST "/postern/v1/tokens", tokens::create, "create_token",
        "Create a token; its secret is in the answer and nowhere else")
    .takes(Json("TokenCreate"))
    .gives(One("TokenWithSecret"))
    .tried(),
    route!(DELETE "/postern/v1/tokens/{token_id}", tokens::delete, "delete_token",
        "Delete a token: it is refused from now on")
    .gives(One("Deleted"))
    .tried(),
];

const DASHBOARD: &[Route] = &[
    route!(GET "/", dashboard::page, "get_dashboard", "Show the dashboard")
        .needs(Nothing)
        .gives(Media("text/html; charset=utf-8")),
    route!(GET "/dashboard/{file}", dashboard::file, "get_dashboard_file",
        "A script or style sheet of the dashboard; names have a digest of the content in them")
    .needs(Nothing)
    .gives(Media("application/octet-stream")),
    route!(POST "/postern/v1/dashboard/links", dashboard::create_link, "create_dashboard_link",
        "Make a link that signs in at the dashboard once, for a minute, with the asker's rights")
    .needs(Read)
    .gives(One("DashboardLink")),
    route!(POST "/postern/v1/dashboard/session", dashboard::sign_in, "begin_dashboard_session",
        "Sign in with a token or a link's code; the answer sets a cookie")
    .needs(Nothing)
    .takes(Json("DashboardSignIn"))
    .gives(One("DashboardSessionBegun")),
    route!(GET "/postern/v1/dashboard/session", dashboard::show_session,
        "get_dashboard_session", "Show who is signed in")
    .gives(One("DashboardSession")),
    route!(DELETE "/postern/v1/dashboard/session", dashboard::sign_out,
        "end_dashboard_session", "Sign out")
    .needs(Read)
    .gives(One("DashboardSessionsEnded")),
    route!(DELETE "/postern/v1/dashboard/sessions", dashboard::end_sessions,
        "end_dashboard_sessions", "End all sessions, and the links that would begin others")
    .gives(One("DashboardSessionsEnded")),
];

const DOCUMENTS: &[Route] = &[
    route!(GET "/postern/v1/export", documents::export, "export_configuration",
        "Export the configuration without private keys")
    .gives(One("Document")),
    route!(POST "/postern/v1/export/private_keys", documents::export_private_keys,
        "export_configuration_with_keys",
        "Export the configuration with private keys, those of certificates for origins among them")
    .gives(One("Document")),
    route!(POST "/postern/v1/apply", documents::apply, "apply_configuration",
        "Make the configuration what a document says, in one change")
    .query(&[
        Parameter::new(
            "prune",
            Flag,
            "Remove what a section of the document does not name, zones excepted; by default it is \
             kept",
        ),
        Parameter::new(
            "prune_zones",
            Flag,
            "Remove zones that the document does not name, with their CA keys and all certificates",
        ),
        Parameter::new(
            "revision",
            AtLeast(0),
            "Refuse when the configuration is at another revision than this",
        ),
    ])
    .takes(Json("Document"))
    .up_to(ADMIN_BODY_BYTES_MAX)
    .gives(One("Applied"))
    .tried(),
    route!(GET "/postern/v1/audit", audit::list, "list_audit_log",
        "List changes with who made them, the newest first")
    .query(&[
        Parameter::new(
            "actor",
            Text,
            "Only changes by an actor with this text in its name",
        ),
        Parameter::new("noun", Text, "Only changes of things of this kind"),
        Parameter::new(
            "key",
            Text,
            "Only changes of things with this text in their name",
        ),
        Parameter::new("since", Time, "Only changes that are not older"),
        Parameter::new("until", Time, "Only changes that are not newer"),
    ])
    .gives(PageOrCursor("AuditEntry")),
    route!(GET "/postern/v1/backup", documents::download_backup, "download_backup",
        "A copy of the store as it is at one moment, verified")
    .needs(Socket)
    .gives(Media("application/octet-stream")),
    route!(POST "/postern/v1/backup", documents::backup, "make_backup",
        "Write a copy of the store to a new file on the gateway's machine")
    .needs(Socket)
    .takes(Json("BackupCreate"))
    .gives(One("Backup")),
];
