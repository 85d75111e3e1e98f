// What a rule does, as a form: one for each kind of rules. What the form does not show of a rule stays
// as it is.

import { useState } from "preact/hooks";
import { Check, Chips, Choose, NumberInput, TextArea, TextInput } from "../inputs";
import type { Kind, Vocabulary, Written } from "../rules";

interface Part {
    rule: Written;
    set: (part: Partial<Written>) => void;
    vocabulary: Vocabulary;
    /** Told what is wrong with it that the gateway could not see. */
    wrong: (why: string | null) => void;
}

/** The members of an object that may not be there. */
type Members = Record<string, unknown>;

function members(of: unknown): Members {
    return typeof of === "object" && of !== null ? (of as Members) : {};
}

function textOf(of: unknown): string {
    return typeof of === "string" ? of : "";
}

function numberOf(of: unknown): number | null {
    return typeof of === "number" ? of : null;
}

/** With another value of a member; nothing takes the member away. */
function having(of: unknown, name: string, value: unknown): Members {
    const { [name]: _, ...rest } = members(of);
    return value === undefined || value === null || value === "" ? rest : { ...rest, [name]: value };
}

export function Acting(props: Part & { kind: Kind; form: number }) {
    const { kind, form, ...part } = props;
    switch (kind.phase) {
        case "http_ratelimit":
            return <RateLimit {...part} />;
        case "http_request_dynamic_redirect":
            return <Redirect {...part} />;
        case "http_request_origin":
            return <Route {...part} />;
        case "http_request_late_transform":
        case "http_response_headers_transform":
            return <Headers key={form} {...part} />;
        default:
            return <Decision {...part} />;
    }
}

const ACTIONS: Record<string, string> = { block: "Block", log: "Log", skip: "Skip" };

function ChooseAction(props: Part & { actions: string[]; hint: string }) {
    const { rule, set, actions } = props;
    const known = actions.includes(rule.action) ? actions : [...actions, rule.action];
    return (
        <Choose
            label="Choose action"
            hint={props.hint}
            value={rule.action}
            set={(action) => {
                // What another action is told is not for this one.
                const parameters = action === "skip" ? { ruleset: "current" } : undefined;
                set({ action, action_parameters: parameters });
            }}
            of={known.map((one) => [one, ACTIONS[one] ?? one])}
        />
    );
}

function Decision(props: Part) {
    const { rule } = props;
    return (
        <>
            <h2>Then take action</h2>
            <ChooseAction
                {...props}
                actions={["block", "log", "skip"]}
                hint="Log first, look at what it would have blocked, and then block."
            />
            {rule.action === "block" && <Response {...props} status={403} />}
            {rule.action === "skip" && <Skip {...props} />}
        </>
    );
}

const TYPES = ["text/html", "text/plain", "application/json", "text/xml"];

/** What a blocked client gets. */
function Response({ rule, set, status }: Part & { status: number }) {
    const parameters = members(rule.action_parameters);
    const response = members(parameters["response"]);
    const [own, setOwn] = useState(parameters["response"] !== undefined);
    const change = (name: string, value: unknown) => {
        const next = having(response, name, value);
        const whole = having(parameters, "response", Object.keys(next).length > 0 ? next : null);
        set({ action_parameters: Object.keys(whole).length > 0 ? whole : undefined });
    };
    const without = () => {
        const rest = having(parameters, "response", null);
        set({ action_parameters: Object.keys(rest).length > 0 ? rest : undefined });
    };
    return (
        <>
            <Check
                title="With a response of its own"
                hint={`Otherwise the answer is ${status}, with a short page.`}
                checked={own}
                set={(checked) => {
                    setOwn(checked);
                    if (!checked) without();
                }}
            />
            {own && (
                <>
                    <div class="filters">
                        <NumberInput
                            label="Response code"
                            value={numberOf(response["status_code"])}
                            set={(value) => change("status_code", value)}
                            least={400}
                            most={499}
                            placeholder={String(status)}
                        />
                        <Choose
                            label="Response type"
                            value={textOf(response["content_type"]) || "text/html"}
                            set={(type) => change("content_type", type)}
                            of={TYPES.map((type) => [type, type])}
                        />
                    </div>
                    <TextArea
                        label="Response body"
                        hint="Up to 2 KiB."
                        value={textOf(response["content"])}
                        set={(text) => change("content", text)}
                        rows={4}
                    />
                </>
            )}
        </>
    );
}

const RATE_LIMITS = "http_ratelimit";

function Skip({ rule, set }: Part) {
    const parameters = members(rule.action_parameters);
    const rest = parameters["ruleset"] === "current" || parameters["phase"] === "current";
    const phases = Array.isArray(parameters["phases"]) ? (parameters["phases"] as string[]) : [];
    const limits = phases.includes(RATE_LIMITS);
    const change = (part: Members) => set({ action_parameters: part });
    return (
        <fieldset>
            <legend>What is skipped</legend>
            <Check
                title="All custom rules below this one"
                checked={rest}
                set={() => {
                    const { phase: _, ...others } = parameters;
                    change(having(others, "ruleset", rest ? null : "current"));
                }}
            />
            <Check
                title="The rate limits"
                checked={limits}
                set={() => {
                    const next = limits
                        ? phases.filter((one) => one !== RATE_LIMITS)
                        : [...phases, RATE_LIMITS];
                    change(having(parameters, "phases", next.length > 0 ? next : null));
                }}
            />
        </fieldset>
    );
}

/** Seconds that the form offers, as the vendor's does. */
const PERIODS: [number, string][] = [
    [10, "10 seconds"],
    [60, "1 minute"],
    [120, "2 minutes"],
    [300, "5 minutes"],
    [600, "10 minutes"],
    [3600, "1 hour"],
];

function RateLimit(props: Part) {
    const { rule, set, vocabulary } = props;
    const limit = members(rule.ratelimit);
    const change = (name: string, value: unknown) => set({ ratelimit: having(limit, name, value) });
    const period = numberOf(limit["period"]) ?? 60;
    const periods = PERIODS.some(([value]) => value === period)
        ? PERIODS
        : [...PERIODS, [period, `${period} seconds`] as [number, string]];
    const by = Array.isArray(limit["characteristics"]) ? (limit["characteristics"] as string[]) : [];
    return (
        <>
            <h2>When the rate is more than</h2>
            <div class="filters">
                <NumberInput
                    label="Requests"
                    value={numberOf(limit["requests_per_period"])}
                    set={(value) => change("requests_per_period", value)}
                    least={1}
                    most={1_000_000}
                    required
                />
                <Choose
                    label="Period"
                    value={String(period)}
                    set={(chosen) => change("period", Number(chosen))}
                    of={periods.map(([value, title]) => [String(value), title])}
                />
            </div>
            <Chips
                label="With the same"
                hint={
                    by.length === 0
                        ? "Fields that tell clients apart, such as ip.src. Without one all requests are counted together."
                        : "Requests are counted apart for each value of these fields."
                }
                values={by}
                set={(fields) => set({ ratelimit: { ...limit, characteristics: fields } })}
                known={vocabulary.fields.map((field) => field.name)}
                placeholder="cf.tls_client_auth.cert_fingerprint_sha256"
            />
            <TextInput
                label="Count only what matches (optional)"
                hint="An expression, when not the requests that the rule is for are counted but others."
                value={textOf(limit["counting_expression"])}
                set={(text) => change("counting_expression", text)}
            />
            <h2>Then take action</h2>
            <ChooseAction
                {...props}
                actions={["block", "log"]}
                hint="Log first, look at what it would have refused, and then block."
            />
            <NumberInput
                label="For how many seconds"
                hint="0: only what is beyond the rate."
                value={numberOf(limit["mitigation_timeout"])}
                set={(value) => change("mitigation_timeout", value)}
                least={0}
                most={86_400}
                placeholder="0"
            />
            {rule.action === "block" && <Response {...props} status={429} />}
        </>
    );
}

const STATUSES: [number, string][] = [
    [301, "301: moved for good"],
    [302, "302: found elsewhere for now"],
    [303, "303: see other, with GET"],
    [307, "307: for now, with the same method"],
    [308, "308: for good, with the same method"],
];

/** A text as it is, or what an expression makes of the request. */
function TextOrExpression(props: {
    label: string;
    of: Members;
    set: (of: Members) => void;
    fixed: string;
    placeholder: string;
}) {
    const { of, set } = props;
    const made = typeof of["expression"] === "string";
    return (
        <>
            <Choose
                label={`${props.label} is`}
                value={made ? "expression" : "value"}
                set={(how) => {
                    const { value: _, expression: __, ...rest } = of;
                    set({ ...rest, [how]: "" });
                }}
                of={[
                    ["value", props.fixed],
                    ["expression", "made by an expression"],
                ]}
            />
            <TextInput
                label={props.label}
                value={textOf(made ? of["expression"] : of["value"])}
                set={(text) => set({ ...of, [made ? "expression" : "value"]: text })}
                placeholder={
                    made ? 'concat("https://www.example.com", http.request.uri.path)' : props.placeholder
                }
                required
            />
        </>
    );
}

function Redirect({ rule, set }: Part) {
    const from = members(members(rule.action_parameters)["from_value"]);
    const change = (part: Members) =>
        set({ action_parameters: { ...members(rule.action_parameters), from_value: part } });
    return (
        <>
            <h2>Then send the client elsewhere</h2>
            <div class="filters grow">
                <TextOrExpression
                    label="Target"
                    of={members(from["target_url"])}
                    set={(target) => change({ ...from, target_url: target })}
                    fixed="a URL or path"
                    placeholder="https://www.example.com/new"
                />
            </div>
            <Choose
                label="Status"
                value={String(numberOf(from["status_code"]) ?? 301)}
                set={(status) => change({ ...from, status_code: Number(status) })}
                of={STATUSES.map(([value, title]) => [String(value), title])}
            />
            <Check
                title="Preserve query string"
                checked={from["preserve_query_string"] === true}
                set={(keep) => change({ ...from, preserve_query_string: keep })}
            />
        </>
    );
}

function Route({ rule, set }: Part) {
    const parameters = members(rule.action_parameters);
    const origin = members(parameters["origin"]);
    const change = (name: string, value: Members | string) => {
        const is = typeof value === "string" ? value : Object.keys(value).length > 0 ? value : null;
        set({ action_parameters: having(parameters, name, is) });
    };
    return (
        <>
            <h2>Then send the request to</h2>
            <div class="filters grow">
                <TextInput
                    label="Host (optional)"
                    hint="A name or address to connect to; or a host of this zone: then its origin."
                    value={textOf(origin["host"])}
                    set={(text) => change("origin", having(origin, "host", text))}
                    placeholder="v2.internal.example.com"
                />
                <NumberInput
                    label="Port (optional)"
                    value={numberOf(origin["port"])}
                    set={(port) => change("origin", having(origin, "port", port))}
                    least={1}
                    most={65_535}
                />
            </div>
            <TextInput
                label="Name in TLS, SNI (optional)"
                hint="The origin's certificate must be for it. Without one, for the host that is connected to."
                value={textOf(members(parameters["sni"])["value"])}
                set={(text) => change("sni", text === "" ? {} : { value: text })}
            />
            <TextInput
                label="Host header (optional)"
                hint="What replaces the client's Host."
                value={textOf(parameters["host_header"])}
                set={(text) => change("host_header", text)}
            />
        </>
    );
}

interface HeaderRow {
    name: string;
    what: Members;
}

const OPERATIONS: [string, string][] = [
    ["set", "Set"],
    ["add", "Add"],
    ["remove", "Remove"],
];

const SET: HeaderRow = { name: "", what: { operation: "set", value: "" } };

/** The rows are this form's own: two of them may have the same name while it is typed. */
function Headers({ rule, set, wrong }: Part) {
    const [rows, setRows] = useState<HeaderRow[]>(() => {
        const headers = members(members(rule.action_parameters)["headers"]);
        const there = Object.entries(headers).map(([name, what]) => ({ name, what: members(what) }));
        return there.length > 0 ? there : [SET];
    });
    const change = (next: HeaderRow[]) => {
        setRows(next);
        const names = next.map((row) => row.name.trim().toLowerCase());
        const twice = names.find((name, at) => name !== "" && names.indexOf(name) !== at);
        wrong(twice === undefined ? null : `${twice} is there twice: one rule does one thing to a header.`);
        const headers = Object.fromEntries(next.map((row) => [row.name.trim(), row.what]));
        set({ action_parameters: { ...members(rule.action_parameters), headers } });
    };
    const replace = (at: number, row: HeaderRow) =>
        change(rows.map((one, place) => (place === at ? row : one)));
    return (
        <>
            <h2>Then change headers</h2>
            {rows.map((row, at) => {
                const operation = textOf(row.what["operation"]) || "set";
                return (
                    <div class="inset filters grow" role="group" aria-label={`Header ${at + 1}`}>
                        <Choose
                            label="Do"
                            value={operation}
                            set={(chosen) => {
                                const { value, expression } = row.what;
                                const source =
                                    expression === undefined ? { value: value ?? "" } : { expression };
                                const rest = chosen === "remove" ? {} : source;
                                replace(at, { ...row, what: { operation: chosen, ...rest } });
                            }}
                            of={OPERATIONS}
                        />
                        <TextInput
                            label="Header"
                            value={row.name}
                            set={(name) => replace(at, { ...row, name })}
                            placeholder="x-client"
                            required
                        />
                        {operation !== "remove" && (
                            <TextOrExpression
                                label="Value"
                                of={row.what}
                                set={(what) => replace(at, { ...row, what })}
                                fixed="a text"
                                placeholder="max-age=31536000"
                            />
                        )}
                        {rows.length > 1 && (
                            <button
                                type="button"
                                class="icon"
                                aria-label={`Remove header ${at + 1}`}
                                onClick={() => change(rows.filter((_, place) => place !== at))}
                            >
                                <span aria-hidden="true">✕</span>
                            </button>
                        )}
                    </div>
                );
            })}
            <div class="actions start">
                <button type="button" onClick={() => change([...rows, SET])}>
                    One header more
                </button>
            </div>
        </>
    );
}
