//! Bounds of this crate: value, unit, reason, and what happens at the limit.
//!
//! Owns the numbers and the relations between them, which the compiler checks. Enforces nothing:
//! the code that owns a queue, a loop or a buffer does.

use vocabulary::limits::MIB;

/// Bytes of one GeoIP database, which is kept in memory: the largest ones sold have some hundred
/// MiB. A larger file is refused.
pub const GEOIP_DATABASE_BYTES_MAX: u64 = 2 * 1024 * MIB;
/// Records of a new database that are read as a look-up would read them, to see that they have the
/// shape of MaxMind's; the format itself is checked whole.
pub const GEOIP_RECORDS_TRIED: usize = 10_000;
/// Bytes of one rule's expression: [`EXPRESSION_CHARACTERS_MAX`] of the longest characters there
/// are. A longer one is refused unread.
pub const EXPRESSION_BYTES_MAX: usize = 16 << 10;
/// Rules that a dry run names when it depends on unknown values which of them acts.
pub const DRY_RUN_POSSIBLE_MAX: usize = 16;
/// Characters of a text in an explanation; a longer one is cut and ends in `…`.
pub const TRACE_TEXT_CHARACTERS_MAX: usize = 200;
/// Elements of an array in an explanation; of further ones only the number is given.
pub const TRACE_ELEMENTS_MAX: usize = 8;
/// Bytes of the answer to a blocked request, as Cloudflare has it.
pub const BLOCK_CONTENT_BYTES_MAX: usize = 2 << 10;
/// Content types of the answer to a blocked request, as Cloudflare has them.
pub const BLOCK_CONTENT_TYPES: [&str; 4] =
    ["text/html", "text/plain", "application/json", "text/xml"];
/// Status of the answer to a blocked request when the rule names none.
pub const BLOCK_DEFAULT_STATUS: u16 = 403;
/// Content type of the answer to a blocked request when the rule names none.
pub const BLOCK_DEFAULT_CONTENT_TYPE: &str = "text/plain";
/// Answer to a blocked request when the rule names none.
pub const BLOCK_DEFAULT_CONTENT: &str =
    "This request was refused by the access rules of this site.\n";
/// Characters of a rule's expression. Cloudflare's limit; a longer one is refused.
pub const EXPRESSION_CHARACTERS_MAX: usize = 4096;
/// Levels of parentheses, `not` and function calls in an expression: what wirefilter allows, and
/// far from what a thread's stack can take. A deeper one is refused.
pub const EXPRESSION_NESTING_MAX: usize = 128;
/// Bytes of one compiled regular expression; a larger one is refused. Ordinary ones take 10 KiB.
pub const REGEX_PROGRAM_BYTES_MAX: usize = 256 * 1024;
/// Bytes of the states of a regular expression's lazy automaton; what needs more for one value is
/// followed through the expression itself. To work them out takes milliseconds.
pub const REGEX_CACHE_BYTES_MAX: usize = 128 * 1024;
/// Bytes of a regular expression's table of states; one that needs more is worked out while it
/// runs, in memory of the thread. Ordinary ones take 1 to 10 KiB.
pub const REGEX_TABLE_BYTES_MAX: usize = 48 * 1024;
/// Regular expressions without a table that one thread keeps memory for; all is given back when
/// there are more. Each takes some 10 KiB, at most `REGEX_CACHE_BYTES_MAX` and a little.
pub const REGEX_CACHES_MAX: usize = 1024;
/// Bytes that one thread keeps for regular expressions without a table; all is given back when they
/// are more. Enough for hundreds that are ordinary.
pub const REGEX_CACHES_BYTES_MAX: usize = 16 << 20;
/// Nesting of one regular expression; a deeper one is refused.
pub const REGEX_NESTING_MAX: u32 = 100;
/// Texts of which a regular expression needs one: keys of the automaton that sieves values for it.
/// An expression that needs one of more is evaluated alone.
pub const REGEX_TEXTS_MAX: usize = 64;
/// Arrays and objects of a JSON text that `lookup_json_*` reads, one in the other; a deeper text is
/// a missing value. What `serde_json` reads, and far from what a thread's stack can take.
pub const JSON_NESTING_MAX: usize = 127;
/// Work of one condition of a rule in one decision, in units of about a nanosecond on a slow core:
/// a byte that is made or looked through is one, an element of an array 128. What functions do to
/// the elements of one array with the whole of another value grows with the square of the
/// request's head, and what some regular expressions do with its product with their size. A request
/// that needs more is answered 431; one of 64 KiB needs up to 8 million for any condition that does
/// not do that, an ordinary one some hundred.
pub const CONDITION_WORK_MAX: usize = 16 << 20;
/// Work of all rules for one request, those of its phases and the values that they make included, in
/// the same units: at most some 70 milliseconds on a slow core, which all other requests of its
/// worker wait for. A request that needs more is answered 431. An ordinary one costs some ten
/// thousand with 100,000 rules, and 20 million where no index helps and each reads 200 bytes.
pub const DECISION_WORK_MAX: usize = 64 << 20;
/// Bytes of the buffers for values that are made, and of those for results that grow, that a thread
/// keeps from one decision to the next: what the largest heads need. What needed more is given back.
pub const SCRATCH_BYTES_KEPT: usize = 256 << 10;
/// Arguments, and cookies, that a thread keeps memory for, 32 bytes each, and bytes of one's name.
pub const SCRATCH_PAIRS_KEPT: usize = 1024;
/// `*` in one wildcard pattern: what `wildcard_replace` may refer to. More are refused.
pub const WILDCARD_STARS_MAX: usize = 16;
/// `${n}` in the replacement of `regex_replace` and `wildcard_replace`. Cloudflare's limit.
pub const REPLACEMENT_REFERENCES_MAX: usize = 8;
/// Groups that a replacement can refer to: `${0}` to `${99}`.
pub const REPLACEMENT_GROUPS: usize = 100;
/// Terms that one rule's expression is taken apart into; what would make more stays a tree.
pub const RULE_TERMS_MAX: usize = 32;
/// Index keys of one comparison: a range of addresses takes up to 254. With more it stays a tree.
pub const LITERAL_KEYS_MAX: usize = 2048;
/// Bytes of a text that an index looks for at the front, at the end or inside of values. Of a longer
/// one it looks for so many and the rest is compared afterwards: all lengths that occur are tried.
pub const INDEX_TEXT_BYTES_MAX: usize = 256;
/// Bytes of all texts that an index looks for inside of values; comparisons with further ones stay
/// trees. Each takes some 60 bytes while the index is built.
pub const INDEX_CONTAINED_BYTES_MAX: usize = 4 << 20;
/// Keys of all terms of an index, 20 for each of 100,000 rules; the comparisons of further rules
/// stay trees. Each takes up to 100 bytes: without a bound a ruleset of 64 MiB could ask for 10 GiB.
pub const INDEX_ENTRIES_MAX: usize = 2_000_000;
/// Bytes of all compiled regular expressions of one ruleset: some ten thousand ordinary ones, two
/// hundred of the largest. With more the ruleset is refused.
pub const RULESET_REGEX_BYTES_MAX: usize = 64 << 20;
/// Different values that an index of rules looks up; comparisons of further ones stay trees.
pub const INDEX_SUBJECTS_MAX: usize = 192;
/// Different combinations of look-ups; the rules of further ones are found by one look-up each.
pub const INDEX_GROUPS_MAX: usize = 128;
/// Terms that a connection remembers of one group; of a larger one it remembers the vectors.
pub const CONNECTION_TERMS_MAX: usize = 256;
/// Lints of a zone's rules: a person mends these first. The rest is left out.
pub const LINTS_MAX: usize = 10_000;
/// Comparisons of parts after which a lint gives up proving that one condition implies another: it
/// goes on as if it did not.
pub const IMPLICATION_STEPS_MAX: usize = 10_000;
/// Evaluations of one rule for one host in the lints of a zone: seconds. Hosts beyond that get no
/// lint. A rule that says the same of all hosts is evaluated once.
pub const LINT_EVALUATIONS_MAX: usize = 1_000_000;
/// Unknown names of hosts in rules for which a known one is suggested, each by a comparison with
/// every host of the zone: 10 ms for one among 10,000. Further ones are told of without.
pub const UNKNOWN_HOST_SUGGESTIONS_MAX: usize = 100;
/// Changed rules that are kept beside the index they changed; with more, all are compiled anew
/// before the change is seen.
pub const CHANGED_RULES_MAX: usize = 1024;
/// Changed rules from which on everything is compiled anew beside the running program: half of
/// `CHANGED_RULES_MAX`, so that changes one by one have the other half to go on meanwhile. A change
/// takes tens of milliseconds there, and compiling 100,000 rules less than two seconds.
pub const CHANGED_RULES_RENEW: usize = 512;
/// Keys that one request can have for one rate limit: a header or cookie that comes several times
/// counts for each of its values. A request with more is refused.
pub const RATE_KEYS_MAX: usize = 16;

const _: () = assert!(REGEX_CACHE_BYTES_MAX * 8 <= REGEX_CACHES_BYTES_MAX);
const _: () = assert!(CONDITION_WORK_MAX < DECISION_WORK_MAX);
const _: () = assert!(EXPRESSION_CHARACTERS_MAX * 4 <= EXPRESSION_BYTES_MAX);
const _: () = assert!(REGEX_PROGRAM_BYTES_MAX < RULESET_REGEX_BYTES_MAX);
