// Test: what a zone's rules would do with a request that is described, or with requests of the access
// log; with a rule that is not saved, if one likes. Nothing is forwarded and nothing is changed.

import { useState } from "preact/hooks";
import type { GatewayEvent, Host, LogRecord, Zone } from "../api";
import { OWN, all, call, get } from "../api";
import { Check, Choose, Radio, submitting, TextArea, TextInput } from "../inputs";
import { link } from "../router";
import { Badge, harmless, Notice, useLoaded, useTask, Value } from "../ui";
import { ExpressionEditor } from "./expression-editor";
import { Pem } from "./pem";

interface Brief {
    id: string;
    description: string;
    action: string;
    position: number;
    draft: boolean;
    enabled: boolean;
}

interface Trace {
    expression: string;
    holds: boolean | null;
    values?: { of: string; is: "known" | "missing" | "unknown"; value: string | null }[];
    parts?: Trace[];
}

type Outcome = "permit" | "block" | "refuse" | "unknown" | "not_judged";

interface Tested {
    outcome: Outcome;
    status?: number | null;
    reason?: string;
    rule?: Brief | null;
    logged?: Brief[];
    possible?: Brief[];
    unknown?: string[];
    request?: { method: string; host: string; path: string };
    rules?: (Brief & { holds: boolean | null; trace: Trace })[];
    notes: string[];
    recorded?: { outcome: "permit" | "block" };
    differs?: boolean | null;
}

interface Result {
    rules: number;
    tested: Tested[];
    summary: { requests: number; different_from_record: number; outcomes: Record<string, number> };
}

const CERTIFICATES: [string, string][] = [
    ["none", "None"],
    ["valid", "A valid one"],
    ["revoked", "A revoked one"],
    ["invalid", "One that does not verify"],
    ["pem", "This one (PEM)"],
];

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/** Lines of the access log that are tried at once. */
const RECORDS_MAX = 1_000;

/** Requests of a log that are listed. */
const LISTED_MAX = 50;

const WORDS: Record<Outcome, ["good" | "bad" | "warn" | "plain", string]> = {
    permit: ["good", "permitted"],
    block: ["bad", "blocked"],
    refuse: ["bad", "refused before the rules"],
    unknown: ["warn", "not known"],
    not_judged: ["plain", "not judged"],
};

export function TestPage({ zone }: { zone: Zone }) {
    const hosts = useLoaded(() => all<Host>(`${OWN}/zones/${zone.id}/hosts`), [zone.id], {
        about: ["host"],
    });
    const [host, setHost] = useState("");
    const [path, setPath] = useState("/");
    const [method, setMethod] = useState("GET");
    const [certificate, setCertificate] = useState("none");
    const [pem, setPem] = useState("");
    const [source, setSource] = useState("");
    const [headers, setHeaders] = useState("");
    const [records, setRecords] = useState("");
    const [of, setOf] = useState<"request" | "recent" | "records">("request");
    const [drafted, setDrafted] = useState(false);
    const [expression, setExpression] = useState("");
    const [result, setResult] = useState<Result | null>(null);
    const task = useTask();
    const first = hosts.data?.find((one) => !one.name.startsWith("*"))?.name ?? "";
    const lines = records.split("\n").filter((line) => line.trim() !== "");
    const like = ({ record }: GatewayEvent) => {
        setMethod(record.method ?? "GET");
        setHost(record.host ?? "");
        setPath(record.path ?? "/");
        setSource(record.client?.replace(/:\d+$/, "").replace(/^\[|\]$/g, "") ?? "");
        setCertificate(stateOf(record));
    };
    const run = () =>
        task.run(async () => {
            setResult(null);
            const request = {
                method,
                host: host === "" ? first : host,
                path: path.startsWith("/") ? path : `/${path}`,
                headers: readHeaders(headers),
                certificate: certificate === "pem" ? pem : certificate,
                ...(source.trim() === "" ? {} : { source: source.trim() }),
            };
            const recent = `${OWN}/zones/${zone.id}/events/requests?limit=${RECORDS_MAX}`;
            const events = of === "recent" ? await get<GatewayEvent[]>(recent) : [];
            const newest = events.map((one) => JSON.stringify(one.record));
            if (of === "recent" && newest.length === 0) {
                throw new Error("There were no requests yet since the gateway started.");
            }
            const asked = {
                ...(of === "request"
                    ? { requests: [request], explain: ["all"] }
                    : { records: of === "recent" ? newest : lines.slice(0, RECORDS_MAX) }),
                ...(drafted
                    ? { draft: { expression, action: "block", description: "The draft" } }
                    : {}),
            };
            const address = `${OWN}/zones/${zone.id}/rule_tests`;
            setResult((await call<Result>("POST", address, asked)).result);
        });
    return (
        <>
            <div class="title">
                <h1 tabIndex={-1}>Test</h1>
                <span class="quiet">{zone.name}</span>
            </div>
            <form class="card" onSubmit={submitting(run)}>
                <p class="quiet">
                    What the custom rules would do. Nothing is forwarded, and nothing is changed.
                </p>
                <fieldset>
                    <legend>Try</legend>
                    <Radio
                        name="of"
                        title="A request"
                        checked={of === "request"}
                        choose={() => setOf("request")}
                    />
                    <Radio
                        name="of"
                        title="The newest requests"
                        hint={`Up to ${RECORDS_MAX.toLocaleString()} that the gateway remembers; of very many, a sample.`}
                        checked={of === "recent"}
                        choose={() => setOf("recent")}
                    />
                    <Radio
                        name="of"
                        title="Lines of the access log"
                        checked={of === "records"}
                        choose={() => setOf("records")}
                    />
                </fieldset>
                {of === "request" && <Pick zone={zone} pick={like} />}
                {of === "request" ? (
                    <>
                        <div class="filters">
                            <Choose
                                label="Method"
                                value={method}
                                set={setMethod}
                                of={(METHODS.includes(method) ? METHODS : [...METHODS, method]).map(
                                    (one) => [one, one],
                                )}
                            />
                            <TextInput label="Host" value={host} set={setHost} placeholder={first} />
                            <TextInput label="Path" value={path} set={setPath} />
                            <Choose
                                label="Client certificate"
                                value={certificate}
                                set={setCertificate}
                                of={CERTIFICATES}
                            />
                            <TextInput
                                label="Client address (optional)"
                                value={source}
                                set={setSource}
                                placeholder="192.0.2.1"
                            />
                        </div>
                        {certificate === "pem" && (
                            <Pem
                                label="Certificate"
                                hint="In PEM with its chain, leaf first. Paste it, or drop the file."
                                value={pem}
                                set={setPem}
                            />
                        )}
                        <TextArea
                            label="Headers (optional)"
                            hint="One a line: its name, a colon, its value."
                            placeholder="User-Agent: curl/8.5.0"
                            value={headers}
                            set={setHeaders}
                            rows={2}
                        />
                    </>
                ) : of === "recent" ? null : (
                    <TextArea
                        label="Lines of the access log"
                        hint={`As they are, one a line; the first ${RECORDS_MAX.toLocaleString()} are tried. What the log does not have is not known.`}
                        value={records}
                        set={setRecords}
                        rows={6}
                        required
                    />
                )}
                <Check
                    title="With one rule more"
                    hint="A rule that blocks, behind the others, and that is not saved."
                    checked={drafted}
                    set={setDrafted}
                />
                {drafted && <ExpressionEditor text={expression} set={setExpression} />}
                {task.error !== null && (
                    <Notice kind="error">
                        <pre class="plain">{task.error}</pre>
                    </Notice>
                )}
                <div class="actions">
                    <button
                        type="submit"
                        class="primary"
                        disabled={task.busy || (drafted && expression.trim() === "")}
                    >
                        {task.busy ? "Trying…" : "Try it"}
                    </button>
                </div>
            </form>
            {result !== null && <Results of={result} zone={zone} single={of === "request"} />}
        </>
    );
}

/** Headers as they are typed, by name; those with the same name beside each other. */
function readHeaders(text: string): Record<string, string[]> {
    const headers: Record<string, string[]> = Object.create(null);
    for (const line of text.split("\n").filter((one) => one.trim() !== "")) {
        const colon = line.indexOf(":");
        const name = line.slice(0, colon).trim().toLowerCase();
        if (colon < 0 || name === "") {
            throw new Error(`Headers: "${line.slice(0, 80)}" has no name and colon, as in "Accept: */*".`);
        }
        headers[name] = [...(headers[name] ?? []), line.slice(colon + 1).trim()];
    }
    return headers;
}

/** What a certificate was, in the words of this form. */
function stateOf(record: LogRecord): string {
    const cert = record.client_cert;
    if (cert === undefined || !cert.presented) return "none";
    if (cert.revoked) return "revoked";
    return cert.verified ? "valid" : "invalid";
}

/** Newest requests that one can pick from. */
const PICKED_MAX = 50;

function Pick({ zone, pick }: { zone: Zone; pick: (event: GatewayEvent) => void }) {
    const recent = useLoaded(
        () => get<GatewayEvent[]>(`${OWN}/zones/${zone.id}/events/requests?limit=${PICKED_MAX}`),
        [zone.id],
        { about: [] },
    );
    const requests = recent.data ?? [];
    if (requests.length === 0) return null;
    return (
        <Choose
            label="Like one of the newest requests"
            hint="Fills in what is below."
            value=""
            set={(id) => {
                const chosen = requests.find((one) => one.id === id);
                if (chosen !== undefined) pick(chosen);
            }}
            of={[["", "–"], ...requests.map(({ id, record }) => [id, brief(record)] as const)]}
        />
    );
}

/** A request in a line. */
function brief(record: LogRecord): string {
    const { status, method, host, path } = record;
    return harmless(`${status ?? ""} ${method} ${host ?? ""}${path ?? ""}`).slice(0, 80);
}

function Results({ of, zone, single }: { of: Result; zone: Zone; single: boolean }) {
    const [one] = of.tested;
    if (single && one !== undefined) return <Single of={one} zone={zone} />;
    const { requests, outcomes, different_from_record: different } = of.summary;
    const blocked = outcomes["block"] ?? 0;
    const telling = of.tested.filter((each) => each.differs === true || each.outcome === "block");
    return (
        <section class="card" aria-label="What came of it" role="status">
            <h2>
                {blocked.toLocaleString()} of {requests.toLocaleString()} would be blocked
            </h2>
            <p>
                {Object.entries(outcomes)
                    .map(([outcome, count]) => `${outcome.replace("_", " ")}: ${count}`)
                    .join(", ")}
                . {different.toLocaleString()} would end otherwise than they did.
            </p>
            <ul class="log">
                {telling.slice(0, LISTED_MAX).map((each) => (
                    <li>
                        <Said of={each} />{" "}
                        {each.request !== undefined && (
                            <Value
                                text={`${each.request.method} ${each.request.host}${each.request.path}`}
                                code
                            />
                        )}{" "}
                        {each.differs === true && each.recorded !== undefined && (
                            <Badge kind="warn">{`was: ${each.recorded.outcome}`}</Badge>
                        )}
                    </li>
                ))}
                {telling.length > LISTED_MAX && (
                    <li>and {(telling.length - LISTED_MAX).toLocaleString()} more</li>
                )}
            </ul>
        </section>
    );
}

function Said({ of }: { of: Tested }) {
    const [kind, word] = WORDS[of.outcome];
    return (
        <>
            <Badge kind={kind}>{word}</Badge>
            {of.rule !== undefined && of.rule !== null && (
                <>
                    {" "}
                    by {of.rule.draft ? "the draft" : `rule ${of.rule.position},`}{" "}
                    {!of.rule.draft && <Value text={of.rule.description} />}
                </>
            )}
            {of.status !== undefined && of.status !== null && ` with ${of.status}`}
            {of.reason !== undefined && ` (${of.reason})`}
        </>
    );
}

function Single({ of, zone }: { of: Tested; zone: Zone }) {
    return (
        <section class="card" aria-label="What came of it" role="status">
            <h2>The request is</h2>
            <p>
                <Said of={of} />
            </p>
            {of.unknown !== undefined && of.unknown.length > 0 && (
                <p>It depends on {of.unknown.join(", ")}, which is not known of the request.</p>
            )}
            {of.notes.map((note) => (
                <p class="quiet">{note}</p>
            ))}
            <ol class="rules">
                {of.rules?.map((rule) => (
                    <li>
                        <div class="rule-head">
                            <span class="place">{rule.position}</span>
                            <strong>
                                {rule.draft ? (
                                    "The draft"
                                ) : (
                                    <a href={link("zones", zone.name, "rules", rule.id)}>
                                        <Value text={rule.description || rule.id} />
                                    </a>
                                )}
                            </strong>
                            <Badge kind="plain">{rule.action}</Badge>
                            {!rule.enabled && <Badge kind="warn">draft: off</Badge>}
                            <Holds of={rule.holds} />
                        </div>
                        <ul class="trace">
                            <Part of={rule.trace} />
                        </ul>
                    </li>
                ))}
            </ol>
        </section>
    );
}

function Holds({ of }: { of: boolean | null }) {
    if (of === null) return <Badge kind="warn">not known</Badge>;
    return of ? <Badge kind="bad">matches</Badge> : <Badge kind="plain">does not match</Badge>;
}

function Part({ of }: { of: Trace }) {
    return (
        <li>
            <Value text={of.expression} code /> <Holds of={of.holds} />
            {of.values?.map((one) => (
                <span class="quiet">
                    {" "}
                    <code>{one.of}</code> is{" "}
                    {one.is === "known" ? <Value text={one.value ?? ""} code /> : one.is}
                </span>
            ))}
            {of.parts !== undefined && of.parts.length > 0 && (
                <ul class="trace">
                    {of.parts.map((part) => (
                        <Part of={part} />
                    ))}
                </ul>
            )}
        </li>
    );
}
