// Custom rules of a zone: the calls about them, and what the page says of them.

import type { Form, Previewed, Rule, Ruleset, Zone } from "./api";
import { ApiError, CLOUDFLARE, OWN, call, get } from "./api";

/** A kind of rules: the phase that they are of, where their page is, and what is said of them. */
export interface Kind {
    phase: string;
    segment: string;
    title: string;
    /** How the order matters. */
    order: string;
    /** What is there before the first. */
    empty: string;
    /** A rule of this kind to begin with; of custom rules the builder begins. */
    example: Written | null;
}

export const CUSTOM: Kind = {
    phase: "http_request_firewall_custom",
    segment: "rules",
    title: "Custom rules",
    order: "They are tried in this order; the first that blocks ends the matter.",
    empty: "No custom rules yet: every request is permitted.",
    example: null,
};

function rewrite(name: string): Written {
    const headers = { [name]: { operation: "set", value: "example" } };
    const parameters = { headers };
    return {
        description: "",
        expression: "true",
        action: "rewrite",
        enabled: true,
        action_parameters: parameters,
    };
}

/** Every kind, in the order in which they act. */
export const KINDS: Kind[] = [
    {
        phase: "http_request_dynamic_redirect",
        segment: "redirects",
        title: "Redirects",
        order: "The first that matches answers, before all other rules.",
        empty: "No redirects yet.",
        example: {
            description: "",
            expression: 'http.request.uri.path eq "/old"',
            action: "redirect",
            enabled: true,
            action_parameters: {
                from_value: { status_code: 301, target_url: { value: "https://example.com/new" } },
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
        phase: "http_request_late_transform",
        segment: "request-headers",
        title: "Request headers",
        order: "All that match act, in this order.",
        empty: "No rules for headers that origins get yet.",
        example: rewrite("X-From"),
    },
    {
        phase: "http_response_headers_transform",
        segment: "response-headers",
        title: "Response headers",
        order: "All that match act, in this order.",
        empty: "No rules for headers that clients get yet.",
        example: rewrite("X-Served-By"),
    },
];

export interface Vocabulary {
    fields: { name: string; type: string; lifetime: "connection" | "request" }[];
    functions: { name: string; signature: string }[];
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

/** The zone's custom rules; nothing before the first. */
export async function loadRules(zone: Zone, kind = CUSTOM): Promise<Ruleset | null> {
    return (await loadSeen(zone, kind)).ruleset;
}

/** The same, with the revision that was seen. */
export async function loadSeen(
    zone: Zone,
    kind = CUSTOM,
): Promise<{ ruleset: Ruleset | null; revision: string | null }> {
    const path = `${CLOUDFLARE}/zones/${zone.id}/rulesets/phases/${kind.phase}/entrypoint`;
    try {
        const { result, revision } = await call<Ruleset>("GET", path);
        return { ruleset: result, revision };
    } catch (error) {
        if (error instanceof ApiError && error.status === 404) {
            return { ruleset: null, revision: null };
        }
        throw error;
    }
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

export async function addRule(
    zone: Zone,
    ruleset: Ruleset | null,
    rule: Written,
    position?: number,
    kind = CUSTOM,
): Promise<Ruleset> {
    const rules = `${CLOUDFLARE}/zones/${zone.id}/rulesets`;
    if (ruleset === null) {
        const path = `${rules}/phases/${kind.phase}/entrypoint`;
        return (await call<Ruleset>("PUT", path, { rules: [rule] })).result;
    }
    const place = position === undefined ? {} : { position: { index: position } };
    const path = `${rules}/${ruleset.id}/rules`;
    return (await call<Ruleset>("POST", path, { ...rule, ...place })).result;
}

export async function changeRule(
    zone: Zone,
    ruleset: Ruleset,
    id: string,
    change: Partial<Written> & { position?: { index: number } },
    seen: string | null = null,
): Promise<Ruleset> {
    const path = `${CLOUDFLARE}/zones/${zone.id}/rulesets/${ruleset.id}/rules/${id}`;
    return (await call<Ruleset>("PATCH", path, change, seen)).result;
}

export async function deleteRule(zone: Zone, ruleset: Ruleset, id: string): Promise<void> {
    await call("DELETE", `${CLOUDFLARE}/zones/${zone.id}/rulesets/${ruleset.id}/rules/${id}`);
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
