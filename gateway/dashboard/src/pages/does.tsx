// What a rule does, in a sentence for its list. Rules that block or log and nothing else have none.

import type { Rule } from "../api";
import { Value } from "../ui";

type Members = Record<string, unknown>;

const members = (of: unknown): Members =>
    typeof of === "object" && of !== null ? (of as Members) : {};

function rate(of: Members): string {
    const by = Array.isArray(of["characteristics"]) ? of["characteristics"].join(", ") : "";
    const timeout = of["mitigation_timeout"];
    return [
        `more than ${of["requests_per_period"]} requests in ${of["period"]} s`,
        by === "" ? "all together" : `with the same ${by}`,
        ...(typeof timeout === "number" && timeout > 0 ? [`for ${timeout} s`] : []),
    ].join(", ");
}

function target(of: Members): string {
    const to = members(of["target_url"]);
    const query = of["preserve_query_string"] === true ? ", with the query" : "";
    const expression = to["expression"];
    const where = expression === undefined ? String(to["value"]) : `what ${expression} makes`;
    return `${of["status_code"] ?? 301} to ${where}${query}`;
}

function header([name, what]: [string, unknown]): string {
    const { operation, value, expression } = members(what);
    if (operation === "remove") return `removes ${name}`;
    const source = expression === undefined ? `“${value}”` : `what ${expression} makes`;
    return operation === "add" ? `adds ${name}: ${source}` : `sets ${name} to ${source}`;
}

function route(of: Members): string {
    const origin = members(of["origin"]);
    const parts: [unknown, string][] = [
        [origin["host"], "to"],
        [origin["port"], "at port"],
        [members(of["sni"])["value"], "TLS name"],
        [of["host_header"], "Host"],
    ];
    return parts.flatMap(([value, word]) => (value === undefined ? [] : [`${word} ${value}`])).join(", ");
}

function answer(of: Members): string {
    return `answers ${of["status_code"] ?? 403}, ${of["content_type"] ?? "text/html"}`;
}

function skipped(of: Members): string {
    const rest = of["ruleset"] === "current" || of["phase"] === "current";
    const phases = Array.isArray(of["phases"]) ? of["phases"].map(String) : [];
    const named = phases.map((one) => (one === "http_ratelimit" ? "rate limits" : one));
    return `skips ${[...(rest ? ["all custom rules below"] : []), ...named].join(", ")}`;
}

function said(rule: Rule): string | null {
    const parameters = members(rule.action_parameters);
    const { from_value, headers, response } = parameters;
    if (rule.ratelimit !== undefined) return rate(members(rule.ratelimit));
    if (from_value !== undefined) return target(members(from_value));
    if (headers !== undefined) return Object.entries(members(headers)).map(header).join("; ");
    if (rule.action === "route") return route(parameters);
    if (rule.action === "skip") return skipped(parameters);
    if (response !== undefined) return answer(members(response));
    const rest = Object.keys(parameters).length > 0;
    return rest ? JSON.stringify(parameters) : null;
}

export function Does({ of }: { of: Rule }) {
    const text = said(of);
    if (text === null) return null;
    return (
        <p class="quiet">
            <Value text={text} />
        </p>
    );
}
