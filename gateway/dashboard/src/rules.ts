// Rules of a zone, of every kind: the calls about them, and what the page says of them.

import type { Form, Previewed, Rule, Zone } from "./api";
import { ApiError, CLOUDFLARE, OWN, call, get, madeBy } from "./api";

/** A kind of rules: the phase that they are of, where their page is, and what is said of them. */
export interface Kind {
    phase: string;
    segment: string;
    title: string;
    /** How the order matters. */
    order: string;
    /** What is there before the first. */
    empty: string;
    /** Whether rules for all requests are usual: then the form offers them. */
    everything: boolean;
    /** A rule of this kind to begin with. */
    example: Written;
}

/** What matches all requests. */
export const EVERYTHING = "true";

export const CUSTOM: Kind = {
    phase: "http_request_firewall_custom",
    segment: "rules",
    title: "Custom rules",
    order: "They are tried in this order; the first that blocks ends the matter.",
    empty: "No custom rules yet: every request is permitted.",
    everything: false,
    example: { description: "", expression: "", action: "block", enabled: true },
};

const REWRITE: Written = {
    description: "",
    expression: EVERYTHING,
    action: "rewrite",
    enabled: true,
    action_parameters: { headers: {} },
};

/** Every kind, in the order in which they act. */
export const KINDS: Kind[] = [
    {
        phase: "http_request_dynamic_redirect",
        segment: "redirects",
        title: "Redirects",
        order: "The first that matches answers, before all other rules.",
        empty: "No redirects yet.",
        everything: false,
        example: {
            description: "",
            expression: 'http.request.uri.path eq "/old"',
            action: "redirect",
            enabled: true,
            action_parameters: {
                from_value: { status_code: 301, target_url: { value: "" } },
            },
        },
    },
    CUSTOM,
    {
        phase: "http_ratelimit",
        segment: "rate-limits",
        title: "Rate limits",
        order: "All that match count; the first that is passed answers.",
        empty: "No rate limits yet.",
        everything: true,
        example: {
            description: "",
            expression: 'starts_with(http.request.uri.path, "/login")',
            action: "block",
            enabled: true,
            ratelimit: {
                characteristics: ["ip.src"],
                period: 60,
                requests_per_period: 100,
                mitigation_timeout: 60,
            },
        },
    },
    {
        phase: "http_request_origin",
        segment: "origin-rules",
        title: "Origin rules",
        order: "All that match act; the last word on each part holds.",
        empty: "No origin rules yet: every request goes to the origin of its host.",
        everything: true,
        example: {
            description: "",
            expression: 'starts_with(http.request.uri.path, "/v2/")',
            action: "route",
            enabled: true,
            action_parameters: {},
        },
    },
    {
        phase: "http_request_late_transform",
        segment: "request-headers",
        title: "Request headers",
        order: "All that match act, in this order.",
        empty: "No rules for headers that origins get yet.",
        everything: true,
        example: REWRITE,
    },
    {
        phase: "http_response_headers_transform",
        segment: "response-headers",
        title: "Response headers",
        order: "All that match act, in this order.",
        empty: "No rules for headers that clients get yet.",
        everything: true,
        example: REWRITE,
    },
];

export interface Vocabulary {
    fields: { name: string; type: string; lifetime: "connection" | "request" }[];
    functions: { name: string; signature: string }[];
}

/** A list that expressions name as `$name`. */
export interface List {
    name: string;
    kind: "ip" | "hostname" | "asn";
}

/** The lists of the gateway; whoever may not see them is offered none. */
export async function loadLists(): Promise<List[]> {
    try {
        const [account] = await get<{ id: string }[]>(`${CLOUDFLARE}/accounts`);
        return await get<List[]>(`${CLOUDFLARE}/accounts/${account?.id ?? ""}/rules/lists`);
    } catch {
        return [];
    }
}

let vocabulary: Promise<Vocabulary> | null = null;

/** The fields and functions of the language. They are the same while the gateway runs. */
export function loadVocabulary(): Promise<Vocabulary> {
    vocabulary ??= get<Vocabulary>(`${OWN}/expressions/vocabulary`).catch((error: unknown) => {
        vocabulary = null;
        throw error;
    });
    return vocabulary;
}

export async function preview(of: { expression: string } | { form: Form }): Promise<Previewed> {
    return (await call<Previewed>("POST", `${OWN}/expressions/preview`, of)).result;
}

/** A rule of a list, with its place among all of its phase, from 1. */
export interface ListedRule extends Rule {
    ruleset_id: string;
    phase: string;
    position: number;
}

/** Some of a phase's rules. */
export interface Listed {
    /** Nothing before the first rule. */
    ruleset: Head | null;
    rules: ListedRule[];
    /** What was seen: nothing newer is overwritten. */
    revision: string | null;
    /** How many have what is looked for, and how many there are. */
    found: number;
    total: number;
}

/** A ruleset without its rules. */
export interface Head {
    id: string;
    phase: string;
    version: string;
    last_updated: string;
}

async function loadHead(zone: Zone, kind: Kind): Promise<Head | null> {
    const all = await get<Head[]>(`${CLOUDFLARE}/zones/${zone.id}/rulesets`);
    return all.find((one) => one.phase === kind.phase) ?? null;
}

/** One page of the rules that have a text in them. Whole rulesets may have 100,000. */
export async function listRules(
    zone: Zone,
    kind: Kind,
    search: string,
    page: number,
    perPage: number,
): Promise<Listed> {
    const ask = (wanted: string, number: number, size: number) => {
        const query = new URLSearchParams({
            phase: kind.phase,
            page: String(number),
            per_page: String(size),
            ...(wanted === "" ? {} : { search: wanted }),
        });
        return call<ListedRule[]>("GET", `${OWN}/zones/${zone.id}/rules?${query}`);
    };
    const [ruleset, found, every] = await Promise.all([
        loadHead(zone, kind),
        ask(search, page, perPage),
        search === "" ? null : ask("", 1, 1),
    ]);
    const count = found.info?.total_count ?? 0;
    return {
        ruleset,
        rules: found.result,
        revision: found.revision,
        found: count,
        total: every?.info?.total_count ?? count,
    };
}

/** A rule, or nothing when it is gone or new; its ruleset, if there is one; the revision that was seen. */
export async function loadRule(
    zone: Zone,
    kind: Kind,
    id: string,
): Promise<{ rule: Rule | null; ruleset: string | null; revision: string | null }> {
    if (id !== "new") {
        try {
            const path = `${OWN}/zones/${zone.id}/rules/${encodeURIComponent(id)}`;
            const { result, revision } = await call<ListedRule>("GET", path);
            if (result.phase === kind.phase) {
                return { rule: result, ruleset: result.ruleset_id, revision };
            }
        } catch (error) {
            if (!(error instanceof ApiError) || error.status !== 404) throw error;
        }
    }
    const head = await loadHead(zone, kind);
    return { rule: null, ruleset: head?.id ?? null, revision: null };
}

/** A rule that another page has begun, for the page that creates one. */
let begun: Partial<Written> | null = null;

export function begin(rule: Partial<Written>): void {
    begun = rule;
}

/** The rule that was begun, once. */
export function takeBegun(): Partial<Written> | null {
    const taken = begun;
    begun = null;
    return taken;
}

/** A text as the language writes it. */
export function quoted(text: string): string {
    return `"${text.replace(/[\\"]/g, "\\$&")}"`;
}

/** What of a rule is written. */
export interface Written {
    description: string;
    expression: string;
    action: string;
    enabled: boolean;
    action_parameters?: unknown;
    /** Of rate limits. */
    ratelimit?: unknown;
}

/** Adds a rule, at the end or at a place from 1. */
export async function addRule(
    zone: Zone,
    ruleset: string | null,
    rule: Written,
    kind: Kind,
    position?: number,
): Promise<void> {
    await send(zone, ruleset, rule, kind, position, "");
}

/** Whether the gateway would take it. Nothing is changed. */
export async function tryRule(
    zone: Zone,
    ruleset: string | null,
    rule: Written,
    kind: Kind,
): Promise<void> {
    await send(zone, ruleset, rule, kind, undefined, "?dry_run=true");
}

async function send(
    zone: Zone,
    ruleset: string | null,
    rule: Written,
    kind: Kind,
    position: number | undefined,
    query: string,
): Promise<void> {
    const rules = `${CLOUDFLARE}/zones/${zone.id}/rulesets`;
    if (ruleset === null) {
        const path = `${rules}/phases/${kind.phase}/entrypoint${query}`;
        await call("PUT", path, { rules: [rule] });
        return;
    }
    const place = position === undefined ? {} : { position: { index: position } };
    await call("POST", `${rules}/${ruleset}/rules${query}`, { ...rule, ...place });
}

/** The revision that this made. */
export async function changeRule(
    zone: Zone,
    ruleset: string,
    id: string,
    change: Partial<Written> & { position?: { index: number } },
    seen: string | null = null,
): Promise<string | null> {
    const path = `${CLOUDFLARE}/zones/${zone.id}/rulesets/${ruleset}/rules/${id}`;
    return madeBy(await call("PATCH", path, change, seen));
}

/** The revision that this made. */
export async function deleteRule(
    zone: Zone,
    ruleset: string,
    id: string,
    seen: string | null,
): Promise<string | null> {
    const path = `${CLOUDFLARE}/zones/${zone.id}/rulesets/${ruleset}/rules/${id}`;
    return madeBy(await call("DELETE", path, undefined, seen));
}

export function written(rule: Rule): Written {
    const { description, expression, action, enabled } = rule;
    const parameters = rule.action_parameters;
    return {
        description,
        expression,
        action,
        enabled,
        ...(parameters === undefined ? {} : { action_parameters: parameters }),
        ...(rule.ratelimit === undefined ? {} : { ratelimit: rule.ratelimit }),
    };
}

/** A place in an expression, in characters from 0. */
export interface ErrorPlace {
    from: number;
    to: number;
    message: string;
}

/** What a parser's error says, with its place: `Filter parsing error (LINE:COLUMN):`, the line, and
 * carets below it. Null when it is of another kind. */
export function errorPlace(message: string, text: string): ErrorPlace | null {
    const head = /^Filter parsing error \((\d+):(\d+)\)/.exec(message);
    if (head === null) return null;
    const [line, column] = [Number(head[1]), Number(head[2])];
    const lines = text.split("\n");
    const before = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    // Columns count characters; a text is indexed by UTF-16 units.
    const start = [...(lines[line - 1] ?? "")].slice(0, column - 1).join("").length;
    const carets = /\^+/.exec(message)?.[0].length ?? 1;
    const from = Math.min(before + start, text.length);
    return { from, to: Math.min(Math.max(from + carets, from + 1), text.length), message };
}
