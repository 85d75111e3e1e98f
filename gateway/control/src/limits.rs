//! Bounds of this crate: value, unit, reason, and what happens at the limit.
//!
//! Owns the numbers and the relations between them, which the compiler checks. Does not enforce
//! anything: the code that owns a queue, a loop or a buffer does.

use std::time::Duration;

use vocabulary::limits::{GIB, MIB};
/// Client certificates that one change revokes, some 50 µs each while other changes wait. More are
/// revoked by several changes.
pub const REVOKED_AT_ONCE_MAX: usize = 10_000;
/// Certificates of one uploaded CA that are denied by hand, some 250 bytes each in the CA's record.
/// Beyond it the next is refused: a CA with more is to publish a list.
pub const DENIED_OF_CA_MAX: usize = 1_000;
/// Certificates that are not believed on one edge alone, some 300 bytes each in memory and in one record:
/// what an incident while the fleet cannot be asked may need. Beyond it the next is refused.
pub const ALONE_MAX: usize = 10_000;
/// How often a change of a fleet is tried before who asks is told that others were always first. With
/// three edges that change all the time one in three tries is the first.
pub const FLEET_TRIES: usize = 64;
/// Changes whose entries of the audit log go with a whole state: the last ones, some 500 bytes each. Edges that
/// were there have more of it; an edge that joins begins with these.
pub const STATE_AUDIT_REVISIONS: u64 = 10_000;
/// Bytes of a part of a whole state, before it is sealed: below what one value of etcd takes.
pub const STATE_PART_BYTES: usize = 192 << 10;
/// Lists of one CA: complete ones and deltas, by issuer and scope.
pub const CRLS_OF_CA_MAX: usize = 64;
/// Certificates of issuing CAs that may come along with the lists of one file: each that is new costs
/// a signature check or two.
pub const CRL_ISSUERS_MAX: usize = 20;
/// Bytes of a revocation list in a file or a request: a million entries with long serials. A
/// larger one is refused unread.
pub const CRL_FILE_BYTES_MAX: u64 = 64 * MIB;
/// Bytes of the file of the key that seals private keys: it has some 70; a larger one is none.
pub const KEY_FILE_BYTES_MAX: u64 = 4096;
/// Bytes of the CAs that the system believes: some 150 CAs have 250 KiB.
pub const SYSTEM_BUNDLE_BYTES_MAX: u64 = 16 * MIB;
/// For one look at a watched file, reading it included: 64 MiB at 8 MB/s. One that takes longer
/// raises an alarm, and is waited for without holding up others.
pub const FILE_DEADLINE: Duration = Duration::from_secs(8);
/// For which all watched files together are waited for at a look, so that a change is most often
/// seen at the look after it; later answers are taken at the next one.
pub const FILE_LOOK_WAIT: Duration = Duration::from_millis(50);
/// After which a watched file that was refused, or could not be read, is read again although it has
/// not changed: a clock, a permission or a full disk may have been set right meanwhile.
pub const CRL_FILE_AGAIN: Duration = Duration::from_secs(60);
/// Bytes of the path of a watched file (PATH_MAX).
pub const CRL_FILE_PATH_BYTES_MAX: usize = 4096;
/// How long before its next update a list is warned of: a working publisher renews earlier.
pub const CRL_ALARM: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of a URL where a CA publishes.
pub const SOURCE_URL_BYTES_MAX: usize = 2048;
/// URLs that the lists of one CA are fetched from: as many as it may have lists.
pub const CRL_URLS_MAX: usize = 64;
/// How often a list is asked for when its CA's settings do not say: asking for an unchanged one is
/// cheap, and a revocation should not wait for the week that lists are often good for.
pub const CRL_FETCH_EVERY: Duration = Duration::from_secs(3600);
/// Longest that may be asked for, in seconds: a week.
pub const CRL_FETCH_EVERY_MAX_SEC: u32 = 7 * 86_400;
/// Bytes of the store's page cache. Lists read a page of certificates at a time; more than this
/// would only help scans that do not happen.
pub const STORE_CACHE_BYTES: usize = 16 << 20;
/// Bytes of a store that are read at once when it is only looked at.
pub const PICTURE_PART_BYTES: usize = 1 << 20;
/// Bytes of the password of a PKCS#12 file, least and most: below the least it is guessed offline.
pub const PKCS12_PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=256;
/// Rounds of PBKDF2 for each of a PKCS#12 file's keys; ten times OpenSSL's default and still
/// milliseconds, because a thief of the file can try passwords unseen.
pub const PKCS12_ROUNDS: u32 = 20_000;
/// Days that a CA made here is valid: longer than two generations of the longest leaves.
pub const AUTHORITY_DAYS: u32 = 20 * 365;
/// Days that a development server certificate is valid: what browsers accept at most.
pub const DEVELOPMENT_CERTIFICATE_DAYS: u32 = 397;
/// Host names in one development certificate; keeps it within one TLS record.
pub const DEVELOPMENT_NAMES_MAX: usize = 100;
/// Shortest validity of a client certificate in days, as Cloudflare has it.
pub const VALIDITY_DAYS_MIN: u32 = 1;
/// Longest validity of a client certificate in days: ten years.
pub const VALIDITY_DAYS_MAX: u32 = 3650;
/// Bytes of a certificate signing request in PEM. RSA-4096 with a full subject has about 2 KiB.
pub const CSR_BYTES_MAX: usize = 16 << 10;
/// Bytes of an uploaded PEM text (chain, key or bundle).
pub const PEM_BYTES_MAX: usize = 256 << 10;
/// Certificates in a server's chain. Clients stop verifying earlier.
pub const CHAIN_CERTIFICATES_MAX: usize = 10;
/// Attributes in a certificate's subject.
pub const SUBJECT_ENTRIES_MAX: usize = 16;
/// Bytes of one attribute of a subject; it goes into headers and logs.
pub const SUBJECT_VALUE_BYTES_MAX: usize = 256;
/// Names in the subjectAltName of a request; a device has a handful.
pub const ALT_NAMES_MAX: usize = 32;
/// Bytes of one of them: the longest host name. They go into rules and headers.
pub const ALT_NAME_BYTES_MAX: usize = 255;
/// Zones of one gateway.
pub const ZONES_MAX: usize = 10_000;
/// Server certificates of one gateway.
pub const SERVER_CERTIFICATES_MAX: usize = 100_000;
/// Host names associated with one CA set in one zone.
pub const ASSOCIATIONS_MAX: usize = 10_000;
/// Client certificates of one zone; each costs 72 bytes of memory and about 1 KiB of disk.
pub const CERTIFICATES_MAX: usize = 1_000_000;
/// Rules of one ruleset: what can be compiled anew in two seconds. Further ones are refused.
pub const RULES_MAX: usize = 100_000;
/// Bytes of a description or a name.
pub const DESCRIPTION_BYTES_MAX: usize = 500;
/// Bytes of a rule's ref.
pub const REFERENCE_BYTES_MAX: usize = 64;
/// Versions kept of each ruleset; older ones are forgotten.
pub const RULESET_VERSIONS_MAX: u32 = 100;
/// Rules on a page of a ruleset's order, 20 bytes each: a change of one rule among 100,000 is then
/// written in kilobytes, not megabytes, and names some hundred pages.
pub const ORDER_PAGE_RULES_MAX: usize = 512;
/// Where a page would have fewer rules, it is joined with its neighbour, so that many small changes
/// do not leave many small pages.
pub const ORDER_PAGE_RULES_MIN: usize = 128;
/// Uploaded CAs of one gateway; each that a host believes is looked at in its handshakes.
pub const AUTHORITIES_MAX: usize = 1_000;
/// Certificates in one uploaded bundle.
pub const BUNDLE_CERTIFICATES_MAX: usize = 20;
/// Managed CAs of one zone: the one that issues, and those not yet retired.
pub const MANAGED_AUTHORITIES_MAX: usize = 4;
/// Days until the next revocation list is due; one is made whenever it is asked for.
pub const CRL_DAYS: u32 = 7;
/// How long a managed CA's list lies in `crl.directory` before it is written anew although nothing
/// was revoked: it is never older than a seventh of its life.
pub const CRL_FILE_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// When writing it is tried again after a failure.
pub const CRL_FILE_RETRY: Duration = Duration::from_secs(10);
/// Days before its end at which a certificate or a list is warned of, each once; the first is also
/// how far ahead `postern status` looks.
pub const EXPIRY_STAGES_DAYS: [u32; 3] = [30, 7, 1];
/// Lists that rules may refer to.
pub const LISTS_MAX: usize = 100;
/// Items of one list.
pub const LIST_ITEMS_MAX: usize = 10_000;
/// Things that one entry of the audit log tells of; of a larger change it counts the rest. A
/// ruleset's rules can be read in the version that the entry names.
pub const AUDIT_NOTES_MAX: usize = 1_000;
/// Changes that the audit log keeps; the oldest are forgotten first.
pub const AUDIT_REVISIONS_MAX: u64 = 1_000_000;
/// Entries of the audit log that one search looks at, some microseconds each; it says where to go
/// on.
pub const AUDIT_SEARCHED_MAX: usize = 50_000;
/// Revisions that a change looks through for what others have changed since its maker has seen it;
/// who has seen none of them has to look again. Some milliseconds.
pub const SEEN_REVISIONS_MAX: u64 = 1_000;
/// Tokens of the admin API.
pub const TOKENS_MAX: usize = 1_000;
/// Longest life of a token in days.
pub const TOKEN_DAYS_MAX: u32 = 3650;
/// Rules of a zone in a phase other than custom rules: all of them are asked for every request.
pub const PHASE_RULES_MAX: usize = 1_000;
/// Largest bound on a request's body that a host may set, in bytes: the next is no bound, which 0
/// says. More is refused.
pub const REQUEST_BODY_BYTES_MAX: u64 = 1024 * GIB;
/// Origins of all zones; each may have 64 addresses. More are refused.
pub const ORIGINS_MAX: usize = 10_000;
/// Bytes of an origin's name: it stands in metrics and in lines of the log.
pub const ORIGIN_NAME_BYTES_MAX: usize = 64;
/// Longest that an address is out, or gets less than its share, in seconds: an hour. More is refused.
pub const ORIGIN_TIME_MAX_SEC: u32 = 3_600;
/// Longest that one health check may take, in seconds: while it does it has one of the places that
/// its zone shares with the others. More is refused.
pub const HEALTH_TIMEOUT_MAX_SEC: u32 = 30;
/// Bytes that are kept of why an order of ACME brought no certificate: servers say it at length. The
/// rest is left out.
pub const ACME_ERROR_BYTES_MAX: usize = 500;
/// Bytes of the expression that requests are balanced by.
pub const HASH_BY_BYTES_MAX: usize = 1_024;
/// Bytes of the path, or of the service's name, that a health check asks for.
pub const HEALTH_TEXT_BYTES_MAX: usize = 1_024;
