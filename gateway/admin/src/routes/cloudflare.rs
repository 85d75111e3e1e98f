//! Routes under `/client/v4`: Cloudflare's resources in Cloudflare's shapes, and the document that
//! describes all routes.

use super::Answer::{All, Cursor, Nothing, One, Page};
use super::Body::{Json, MaybeJson};
use super::Kind::{AtLeast, OneOf, Text, Uuid};
use super::Need::{Certificates, Rules};
use super::{Answer, Group, Parameter, Route, route};
use crate::api::{
    associations, audit, authorities, client_certificates, description, dns_records, forwarding,
    lists, rulesets, server_certificates, tokens, zone_settings, zones,
};
use crate::limits::{
    ADMIN_BODY_BYTES_MAX, ADMIN_CERTIFICATES_BODY_BYTES_MAX, ADMIN_ITEMS_BODY_BYTES_MAX,
    ADMIN_NAMES_BODY_BYTES_MAX,
};

pub(super) const GROUPS: &[Group] = &[
    Group {
        name: "API",
        about: "This document.",
        routes: &[
            route!(GET "/client/v4/openapi.json", description::serve, "describe_api",
            "Describe the API as an OpenAPI 3.1 document")
            .gives(Answer::Media("application/json")),
        ],
    },
    Group {
        name: "Zones",
        about: "A zone is a domain with its hosts, rules, managed CAs and client certificates. \
                There is one account.",
        routes: ZONES,
    },
    Group {
        name: "Zone settings",
        about: "Settings of Cloudflare's, as far as they mean something here. What cannot be set \
                is refused with what to use instead.",
        routes: SETTINGS,
    },
    Group {
        name: "DNS records",
        about: "A proxied A, AAAA or CNAME record is a host, and its content the host's origin. \
                The gateway is no name server.",
        routes: DNS_RECORDS,
    },
    Group {
        name: "Client certificates",
        about: "Certificates that a zone's managed CA has issued to clients.",
        routes: CLIENT_CERTIFICATES,
    },
    Group {
        name: "Host name associations",
        about: "Which host names accept the certificates of which CA.",
        routes: ASSOCIATIONS,
    },
    Group {
        name: "Uploaded CAs",
        about: "CAs that are run elsewhere and issue client certificates.",
        routes: UPLOADED,
    },
    Group {
        name: "Server certificates",
        about: "Certificates that hosts present to clients, with their private keys, which no \
                answer shows.",
        routes: SERVER_CERTIFICATES,
    },
    Group {
        name: "Rulesets",
        about: "A zone's rules, one ruleset a phase. Every change makes a version.",
        routes: RULESETS,
    },
    Group {
        name: "Lists",
        about: "Lists that rules refer to as `$name`. A change of items is in effect when it is \
                answered.",
        routes: LISTS,
    },
];

const ZONES: &[Route] = &[
    route!(GET "/client/v4/zones", zones::list, "list_zones", "List zones by name")
        .query(&[
            Parameter::new(
                "name",
                Text,
                "Only zones of this name. An operator may stand before it: `equal:`, \
                 `not_equal:`, `starts_with:`, `ends_with:`, `contains:`",
            ),
            Parameter::new("account.id", Text, "Only zones of this account"),
            Parameter::new(
                "status",
                Text,
                "Only zones of this status; all are `active`",
            ),
            Parameter::new(
                "direction",
                OneOf(&["asc", "desc"]),
                "The order of the names",
            ),
        ])
        .gives(Page("Zone")),
    route!(POST "/client/v4/zones", zones::create, "create_zone",
        "Create a zone with a managed CA")
    .takes(Json("ZoneCreate"))
    .gives(One("Zone"))
    .tried(),
    route!(GET "/client/v4/zones/{zone_id}", zones::show, "get_zone", "Show a zone")
        .gives(One("Zone")),
    route!(DELETE "/client/v4/zones/{zone_id}", zones::delete, "delete_zone",
        "Delete a zone with everything in it")
    .gives(One("Deleted"))
    .tried_for_losses(),
    route!(PATCH "/client/v4/zones/{zone_id}", zones::edit, "edit_zone",
        "Check what Cloudflare lets one change of a zone; nothing else can be set")
    .takes(Json("ZoneEdit"))
    .gives(One("Zone")),
    route!(GET "/client/v4/accounts", zones::accounts, "list_accounts", "List the one account")
        .gives(Page("Account")),
    route!(GET "/client/v4/accounts/{account_id}", zones::account_of, "get_account",
        "Show the one account")
    .gives(One("Account")),
    route!(GET "/client/v4/accounts/{account_id}/audit_logs", audit::logs, "list_audit_logs",
        "List who changed what, the newest first")
    .query(&[
        Parameter::new("since", Text, "Not before this time, or day in UTC"),
        Parameter::new("before", Text, "Not after this time, or day in UTC"),
        Parameter::new("actor.email", Text, "Part of who did it"),
        Parameter::new("page", AtLeast(1), "Which part"),
        Parameter::new("per_page", AtLeast(1), "How many at most"),
    ])
    .gives(All("AuditLog")),
    route!(GET "/client/v4/user/tokens/verify", tokens::verify, "verify_token",
        "Say whether the token that is shown is good")
    .gives(One("TokenVerified")),
];

const SETTINGS: &[Route] = &[
    route!(GET "/client/v4/zones/{zone_id}/settings", zone_settings::list, "list_zone_settings",
        "List the settings that mean something here")
    .gives(All("ZoneSetting")),
    route!(GET "/client/v4/zones/{zone_id}/settings/{setting}", zone_settings::show,
        "get_zone_setting", "Show a setting")
    .gives(One("ZoneSetting")),
    route!(PATCH "/client/v4/zones/{zone_id}/settings/{setting}", zone_settings::edit,
        "edit_zone_setting", "Change a setting, or learn what to use instead")
    .takes(Json("ZoneSettingEdit"))
    .gives(One("ZoneSetting"))
    .tried(),
    route!(GET "/client/v4/zones/{zone_id}/managed_headers", forwarding::managed_headers,
        "list_managed_headers", "Show whether origins are told of clients' certificates")
    .gives(One("ManagedHeaders")),
    route!(PATCH "/client/v4/zones/{zone_id}/managed_headers", forwarding::set_managed_headers,
        "edit_managed_headers", "Have the zone's hosts tell origins of clients' certificates")
    .takes(Json("ManagedHeadersEdit"))
    .gives(One("ManagedHeaders"))
    .tried(),
    route!(GET "/client/v4/zones/{zone_id}/access/certificates/settings",
        forwarding::certificate_settings, "get_certificate_settings",
        "Show which hosts forward clients' certificates")
    .gives(All("CertificateSetting")),
    route!(PUT "/client/v4/zones/{zone_id}/access/certificates/settings",
        forwarding::set_certificate_settings, "set_certificate_settings",
        "Set which hosts forward clients' certificates")
    .takes(Json("CertificateSettings"))
    .up_to(ADMIN_NAMES_BODY_BYTES_MAX)
    .gives(All("CertificateSetting"))
    .tried(),
];

const DNS_RECORDS: &[Route] = &[
    route!(GET "/client/v4/zones/{zone_id}/dns_records", dns_records::list, "list_dns_records",
        "List a zone's hosts as records")
    .query(&[
        Parameter::new(
            "name",
            Text,
            "Only the one of this name; also `name.exact`, `.contains`, `.startswith`, \
                 `.endswith`",
        ),
        Parameter::new(
            "content",
            Text,
            "Only those of this origin, in the same ways",
        ),
        Parameter::new("type", Text, "Only those of this type"),
        Parameter::new(
            "search",
            Text,
            "Only those with this text in name or content",
        ),
    ])
    .gives(Page("DnsRecord")),
    route!(POST "/client/v4/zones/{zone_id}/dns_records", dns_records::create,
        "create_dns_record", "Create the host of a proxied record")
    .takes(Json("DnsRecordWrite"))
    .gives(One("DnsRecord"))
    .tried(),
    route!(GET "/client/v4/zones/{zone_id}/dns_records/{record_id}", dns_records::show,
        "get_dns_record", "Show a host as a record")
    .gives(One("DnsRecord")),
    route!(PUT "/client/v4/zones/{zone_id}/dns_records/{record_id}", dns_records::replace,
        "replace_dns_record", "Move a host's origin, by a whole record")
    .takes(Json("DnsRecordWrite"))
    .gives(One("DnsRecord"))
    .tried(),
    route!(PATCH "/client/v4/zones/{zone_id}/dns_records/{record_id}", dns_records::edit,
        "edit_dns_record", "Move a host's origin")
    .takes(Json("DnsRecordEdit"))
    .gives(One("DnsRecord"))
    .tried(),
    route!(DELETE "/client/v4/zones/{zone_id}/dns_records/{record_id}", dns_records::delete,
        "delete_dns_record", "Delete the host of a record")
    .gives(One("Deleted"))
    .tried(),
];

const CLIENT_CERTIFICATES: &[Route] = &[
    route!(GET "/client/v4/zones/{zone_id}/client_certificates", client_certificates::list,
        "list_client_certificates", "List client certificates, the newest first")
    .query(&[
        Parameter::new(
            "status",
            OneOf(&[
                "all",
                "active",
                "pending_reactivation",
                "pending_revocation",
                "revoked",
            ]),
            "Only certificates of this status",
        ),
        Parameter::new(
            "serial_number",
            Text,
            "Only the one of this serial number in hex",
        ),
        Parameter::new(
            "fingerprint_sha256",
            Text,
            "Only the one of this fingerprint in hex",
        ),
        Parameter::new(
            "ski",
            Text,
            "Only those of this subject key identifier in hex",
        ),
        Parameter::new("common_name", Text, "Only those of this common name"),
        Parameter::new(
            "expires_within_days",
            AtLeast(0),
            "Only those that expire within so many days from now",
        ),
    ])
    .gives(Page("ClientCertificate")),
    route!(POST "/client/v4/zones/{zone_id}/client_certificates", client_certificates::issue,
        "issue_client_certificate", "Issue a certificate for a signing request (CSR)")
    .needs(Certificates)
    .takes(Json("ClientCertificateIssue"))
    .gives(One("ClientCertificate"))
    .tried(),
    route!(GET "/client/v4/zones/{zone_id}/client_certificates/{certificate_id}",
        client_certificates::show, "get_client_certificate", "Show a client certificate")
    .gives(One("ClientCertificate")),
    route!(DELETE "/client/v4/zones/{zone_id}/client_certificates/{certificate_id}",
        client_certificates::revoke, "revoke_client_certificate", "Revoke a client certificate")
    .needs(Certificates)
    .query(&[Parameter::new(
        "reason",
        OneOf(&[
            "unspecified",
            "keyCompromise",
            "cACompromise",
            "affiliationChanged",
            "superseded",
            "cessationOfOperation",
            "certificateHold",
            "privilegeWithdrawn",
            "aACompromise",
        ]),
        "Why, as the CA's revocation list says it (RFC 5280)",
    )])
    .gives(One("ClientCertificate"))
    .tried(),
    route!(PATCH "/client/v4/zones/{zone_id}/client_certificates/{certificate_id}",
        client_certificates::reactivate, "reactivate_client_certificate",
        "Take the revocation of a client certificate back")
    .needs(Certificates)
    .takes(MaybeJson("ClientCertificateReactivate"))
    .gives(One("ClientCertificate"))
    .tried(),
];

const ASSOCIATIONS: &[Route] = &[
    route!(GET "/client/v4/zones/{zone_id}/certificate_authorities/hostname_associations",
        associations::show, "get_hostname_associations",
        "Show which host names accept a CA's clients")
    .query(&[Parameter::new(
        "mtls_certificate_id",
        Uuid,
        "The uploaded CA; without it, the zone's managed CAs are meant",
    )])
    .gives(One("HostnameAssociations")),
    route!(PUT "/client/v4/zones/{zone_id}/certificate_authorities/hostname_associations",
        associations::replace, "replace_hostname_associations",
        "Set which host names accept a CA's clients")
    .takes(Json("HostnameAssociationsReplace"))
    .up_to(ADMIN_NAMES_BODY_BYTES_MAX)
    .gives(One("HostnameAssociations"))
    .tried(),
];

const UPLOADED: &[Route] = &[
    route!(GET "/client/v4/accounts/{account_id}/mtls_certificates", authorities::list,
        "list_uploaded_cas", "List uploaded CAs, the newest first")
    .gives(Page("UploadedCa")),
    route!(POST "/client/v4/accounts/{account_id}/mtls_certificates", authorities::upload,
        "upload_ca", "Upload a CA")
    .takes(Json("UploadedCaCreate"))
    .up_to(ADMIN_CERTIFICATES_BODY_BYTES_MAX)
    .gives(One("UploadedCa"))
    .tried(),
    route!(GET "/client/v4/accounts/{account_id}/mtls_certificates/{ca_id}", authorities::show,
        "get_uploaded_ca", "Show an uploaded CA")
    .gives(One("UploadedCa")),
    route!(DELETE "/client/v4/accounts/{account_id}/mtls_certificates/{ca_id}",
        authorities::delete, "delete_uploaded_ca",
        "Delete an uploaded CA that no host name is associated with")
    .gives(One("UploadedCa"))
    .tried_for_losses(),
    route!(GET "/client/v4/accounts/{account_id}/mtls_certificates/{ca_id}/associations",
        authorities::associations, "list_associations_of_ca",
        "List the host names that accept an uploaded CA's clients")
    .gives(All("CaAssociation")),
];

const SERVER_CERTIFICATES: &[Route] = &[
    route!(GET "/client/v4/zones/{zone_id}/custom_certificates", server_certificates::list,
        "list_server_certificates", "List server certificates, the last changed first")
    .query(&[Parameter::new(
        "status",
        OneOf(&["active", "expired"]),
        "Only certificates of this status",
    )])
    .gives(Page("ServerCertificate")),
    route!(POST "/client/v4/zones/{zone_id}/custom_certificates", server_certificates::upload,
        "upload_server_certificate", "Upload a server certificate with its key")
    .takes(Json("ServerCertificateUpload"))
    .up_to(ADMIN_CERTIFICATES_BODY_BYTES_MAX)
    .gives(One("ServerCertificate"))
    .tried(),
    route!(GET "/client/v4/zones/{zone_id}/custom_certificates/{certificate_id}",
        server_certificates::show, "get_server_certificate", "Show a server certificate")
    .gives(One("ServerCertificate")),
    route!(PATCH "/client/v4/zones/{zone_id}/custom_certificates/{certificate_id}",
        server_certificates::replace, "replace_server_certificate",
        "Replace a server certificate and its key, as on renewal")
    .takes(Json("ServerCertificateReplace"))
    .up_to(ADMIN_CERTIFICATES_BODY_BYTES_MAX)
    .gives(One("ServerCertificate"))
    .tried(),
    route!(DELETE "/client/v4/zones/{zone_id}/custom_certificates/{certificate_id}",
        server_certificates::delete, "delete_server_certificate", "Delete a server certificate")
    .gives(One("DeletedByUuid"))
    .tried_for_losses(),
];

const RULESETS: &[Route] = &[
    route!(GET "/client/v4/zones/{zone_id}/rulesets", rulesets::list, "list_rulesets",
        "List a zone's rulesets without their rules")
    .gives(All("RulesetHead")),
    route!(POST "/client/v4/zones/{zone_id}/rulesets", rulesets::create, "create_ruleset",
        "Create the ruleset of a phase that has none")
    .needs(Rules)
    .takes(Json("RulesetCreate"))
    .up_to(ADMIN_BODY_BYTES_MAX)
    .gives(One("Ruleset"))
    .tried(),
    route!(GET "/client/v4/zones/{zone_id}/rulesets/phases/{phase}/entrypoint",
        rulesets::entrypoint, "get_entrypoint", "Show the ruleset of a phase")
    .gives(One("Ruleset")),
    route!(PUT "/client/v4/zones/{zone_id}/rulesets/phases/{phase}/entrypoint",
        rulesets::set_entrypoint, "replace_entrypoint",
        "Replace the ruleset of a phase, or create it")
    .needs(Rules)
    .takes(Json("RulesetReplace"))
    .up_to(ADMIN_BODY_BYTES_MAX)
    .gives(One("Ruleset"))
    .tried(),
    route!(GET "/client/v4/zones/{zone_id}/rulesets/phases/{phase}/entrypoint/versions",
        rulesets::entrypoint_versions, "list_entrypoint_versions",
        "List the versions of the ruleset of a phase")
    .gives(All("RulesetHead")),
    route!(GET "/client/v4/zones/{zone_id}/rulesets/phases/{phase}/entrypoint/versions/{version}",
        rulesets::entrypoint_version, "get_entrypoint_version",
        "Show a version of the ruleset of a phase")
    .gives(One("Ruleset")),
    route!(GET "/client/v4/zones/{zone_id}/rulesets/{ruleset_id}", rulesets::show, "get_ruleset",
        "Show a ruleset")
    .gives(One("Ruleset")),
    route!(PUT "/client/v4/zones/{zone_id}/rulesets/{ruleset_id}", rulesets::replace,
        "replace_ruleset", "Replace a ruleset")
    .needs(Rules)
    .takes(Json("RulesetReplace"))
    .up_to(ADMIN_BODY_BYTES_MAX)
    .gives(One("Ruleset"))
    .tried(),
    route!(DELETE "/client/v4/zones/{zone_id}/rulesets/{ruleset_id}", rulesets::delete,
        "delete_ruleset", "Delete a ruleset with its rules")
    .needs(Rules)
    .gives(Nothing)
    .tried(),
    route!(POST "/client/v4/zones/{zone_id}/rulesets/{ruleset_id}/rules", rulesets::create_rule,
        "create_rule", "Add a rule to a ruleset, at its end or where `position` says")
    .needs(Rules)
    .takes(Json("RuleCreate"))
    .gives(One("RulesetChanged"))
    .tried(),
    route!(PATCH "/client/v4/zones/{zone_id}/rulesets/{ruleset_id}/rules/{rule_id}",
        rulesets::update_rule, "update_rule", "Change a rule, or move it")
    .needs(Rules)
    .takes(Json("RuleUpdate"))
    .gives(One("RulesetChanged"))
    .tried(),
    route!(DELETE "/client/v4/zones/{zone_id}/rulesets/{ruleset_id}/rules/{rule_id}",
        rulesets::delete_rule, "delete_rule", "Delete a rule")
    .needs(Rules)
    .gives(One("RulesetChanged"))
    .tried(),
    route!(GET "/client/v4/zones/{zone_id}/rulesets/{ruleset_id}/versions", rulesets::versions,
        "list_ruleset_versions", "List a ruleset's versions without their rules")
    .gives(All("RulesetHead")),
    route!(GET "/client/v4/zones/{zone_id}/rulesets/{ruleset_id}/versions/{version}",
        rulesets::version, "get_ruleset_version", "Show a version of a ruleset")
    .gives(One("Ruleset")),
];

const LISTS: &[Route] = &[
    route!(GET "/client/v4/accounts/{account_id}/rules/lists", lists::list, "list_lists",
        "List the lists by name, without their items")
    .gives(All("List")),
    route!(POST "/client/v4/accounts/{account_id}/rules/lists", lists::create, "create_list",
        "Create an empty list")
    .needs(Rules)
    .takes(Json("ListCreate"))
    .gives(One("List"))
    .tried(),
    route!(GET "/client/v4/accounts/{account_id}/rules/lists/{list_id}", lists::show, "get_list",
        "Show a list without its items")
    .gives(One("List")),
    route!(PUT "/client/v4/accounts/{account_id}/rules/lists/{list_id}", lists::describe,
        "describe_list", "Change a list's description")
    .needs(Rules)
    .takes(Json("ListDescribe"))
    .gives(One("List"))
    .tried(),
    route!(DELETE "/client/v4/accounts/{account_id}/rules/lists/{list_id}", lists::delete,
        "delete_list", "Delete a list that no rule refers to")
    .needs(Rules)
    .gives(One("Deleted"))
    .tried(),
    route!(GET "/client/v4/accounts/{account_id}/rules/lists/{list_id}/items", lists::items,
        "list_items", "List a list's items")
    .query(&[Parameter::new(
        "search",
        Text,
        "Only items with this text in their value or comment",
    )])
    .gives(Cursor("ListItem")),
    route!(POST "/client/v4/accounts/{account_id}/rules/lists/{list_id}/items", lists::append,
        "append_items", "Add items to a list")
    .needs(Rules)
    .takes(Json("ListItems"))
    .up_to(ADMIN_ITEMS_BODY_BYTES_MAX)
    .gives(One("ListOperation"))
    .tried(),
    route!(PUT "/client/v4/accounts/{account_id}/rules/lists/{list_id}/items", lists::replace,
        "replace_items", "Replace all items of a list")
    .needs(Rules)
    .takes(Json("ListItems"))
    .up_to(ADMIN_ITEMS_BODY_BYTES_MAX)
    .gives(One("ListOperation"))
    .tried(),
    route!(DELETE "/client/v4/accounts/{account_id}/rules/lists/{list_id}/items", lists::remove,
        "remove_items", "Remove items from a list")
    .needs(Rules)
    .takes(Json("ListItemsRemove"))
    .up_to(ADMIN_ITEMS_BODY_BYTES_MAX)
    .gives(One("ListOperation"))
    .tried(),
    route!(GET "/client/v4/accounts/{account_id}/rules/lists/{list_id}/items/{item_id}",
        lists::item, "get_item", "Show an item of a list")
    .gives(One("ListItem")),
    route!(GET "/client/v4/accounts/{account_id}/rules/lists/bulk_operations/{operation_id}",
        lists::operation, "get_list_operation",
        "Show a change of items, which is always completed")
    .gives(One("ListOperationStatus")),
];
