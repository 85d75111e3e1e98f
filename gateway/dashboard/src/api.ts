// The client of the admin API: one request and its answer, the session, and what the page uses of
// the shapes. It knows no page. `GET /client/v4/openapi.json` describes everything; the browser
// test compares each request of the page with it.

export const OWN = "/postern/v1";
export const CLOUDFLARE = "/client/v4";

/** A failure, with words for the person: what happened, and what to do. */
export class ApiError extends Error {
    constructor(
        readonly status: number,
        message: string,
        /** JSON pointer to the value of the request that is wrong. */
        readonly pointer: string | null = null,
    ) {
        super(message);
    }
}

export interface PageInfo {
    page: number;
    per_page: number;
    total_count: number;
    total_pages: number;
}

interface Envelope<T> {
    success: boolean;
    errors: { code: number; message: string; source?: { pointer: string } }[];
    messages: { code: number; message: string }[];
    result: T;
    result_info?: PageInfo;
}

export interface Answer<T> {
    result: T;
    messages: string[];
    info: PageInfo | null;
    /** The revision of the configuration that it shows. */
    revision: string | null;
}

export type Scope = "read" | "certificates" | "rules" | "all";

export interface Session {
    id: string;
    signed_in_as: string;
    scopes: Scope[];
    zones: { id: string; name: string }[] | null;
    ends_on: string;
    idle_seconds: number;
    version: string;
}

export interface Zone {
    id: string;
    name: string;
}

export type Mtls = "off" | "request" | "require";

export interface Host {
    name: string;
    zone_id: string;
    zone_name: string | null;
    mtls: Mtls;
    /** Whether that was asked for; otherwise it follows the CAs. */
    mtls_is_set: boolean;
    revoked: "rule" | "close";
    tls_min_version: string | null;
    request_body_max: number | null;
    /** Its certificate comes from the ACME server. */
    acme: boolean;
    acme_status: { state: string; error: string | null; renewal_on: string | null } | null;
    served: boolean;
    origin: Origin;
    addresses: OriginAddress[];
    origin_client_certificate: ShownCertificate | null;
    server_certificate: { id: string; expires_on: string } | null;
    certificate_authorities: { id: string; name: string }[];
}

/** One of these says where requests go. */
export interface Origin {
    url?: string;
    addresses?: { url: string }[];
    name?: string;
    timeouts?: { connect_ms?: number; try_ms?: number; whole_ms?: number };
    limits?: { requests?: number; connections?: number; queue?: number; queue_ms?: number };
    server_name?: string;
    ca_pem?: string;
    tls_min_version?: string;
    proxy_protocol?: string;
}

/** The certificate that an origin is shown. Its key stays with the gateway. */
export interface ShownCertificate {
    common_name: string;
    organization: string;
    issuer: string;
    fingerprint_sha256: string;
    expires_on: string;
}

/** An origin that hosts and rules of a zone share by its name. */
export interface ZoneOrigin {
    name: string;
    origin: Origin;
    client_certificate: ShownCertificate | null;
    used_by: string[];
    addresses: OriginAddress[];
}

export interface OriginAddress {
    url: string;
    state: "good" | "starting" | "ejected" | "unhealthy";
    health_error: string | null;
}

export interface ClientCertificate {
    id: string;
    certificate: string;
    common_name: string;
    organization: string;
    csr: string;
    status: "active" | "revoked";
    issued_on: string;
    expires_on: string;
    serial_number: string;
    fingerprint_sha256: string;
    ski: string;
    certificate_authority: { id: string; name: string };
    private_key?: string;
    pkcs12?: string;
}

export interface Lint {
    kind: string;
    rule_id: string | null;
    message: string;
    suggestion: string | null;
}

export interface Rule {
    id: string;
    version: string;
    action: string;
    action_parameters?: unknown;
    ratelimit?: unknown;
    expression: string;
    description: string;
    enabled: boolean;
    ref: string;
    last_updated: string;
}

export interface MtlsRuleWrite {
    name: string;
    hosts: string[];
    paths: string[];
    check_revoked: boolean;
    action: "block" | "log";
    enabled: boolean;
}

export interface MtlsRule extends Rule {
    position: number;
    lints: Lint[];
}

export interface Ruleset {
    id: string;
    version: string;
    rules: Rule[];
}

export interface FormRow {
    field: string;
    key?: string | null;
    operator: string;
    negated?: boolean;
    values?: string[];
}

export interface Form {
    groups: { rows: FormRow[] }[];
}

export interface Previewed {
    expression: string;
    form: Form | null;
    fields: string[];
    lifetime: "connection" | "request";
    lints: Lint[];
}

export interface Enforcement {
    by: "handshake" | "rule" | "rule_partly" | null;
    rule_id: string | null;
    skip_id: string | null;
    revoked_pass: boolean;
}

export interface Status {
    version: string;
    uptime_seconds: number;
    ready: boolean;
    draining: boolean;
    workers: number;
    workers_answering: number;
    steering: { mode: string; reason: string | null };
    generation: number;
    zones: number;
    hosts: number;
    hosts_served: number;
    requests_total: number;
    latency_seconds: { p50: number | null; p99: number | null; p999: number | null };
    access_log_dropped: number;
    expiring: {
        server_certificates: { id: string; hosts: string[]; expires_on: string }[];
        authorities: { id: string; name: string; expires_on: string }[];
        client_certificates: {
            within_1_day: number;
            within_7_days: number;
            within_30_days: number;
        };
    };
    fleet: { name: string | null; state: FleetState; age_seconds: number } | null;
}

export type FleetState = "off" | "alone" | "current" | "behind" | "away" | "stuck";

/** From when a change was made elsewhere to when it was in force. */
export interface InForce {
    changes: number;
    p50_ms: number;
    p99_ms: number;
    max_ms: number;
}

/** What holds on this edge alone; `at` in microseconds. */
export interface HeldAlone {
    at: number;
    actor: string;
    what: {
        revoked?: { serial: string; certificate: string };
        denied?: { denied: { serial_number: string; issuer: string } };
    };
}

/** An edge, as it has said of itself. */
export interface FleetEdge {
    name: string;
    alive: boolean;
    at: number;
    version: string | null;
    revision: number | null;
    state: string | null;
    in_force: InForce | null;
    leads: boolean;
}

export interface Fleet {
    state: FleetState;
    why: string | null;
    name: string | null;
    edge: string | null;
    revision: number;
    head: number | null;
    age_seconds: number;
    leader: string | null;
    etcd: string[];
    in_force: InForce;
    alone: HeldAlone[];
    edges: FleetEdge[] | null;
    founded: { at: number; by: string; format_fits: boolean; key_fits: boolean } | null;
    edges_error: string | null;
}

/** A line of the access log; `gateway/docs/production.md` names what it may have. */
export interface LogRecord {
    time: string;
    kind: string;
    client?: string;
    host?: string;
    zone?: string;
    authority?: string;
    method?: string;
    path?: string;
    status?: number;
    reason?: string;
    error?: string;
    detail?: string;
    tls?: { sni?: string; version?: string; cipher?: string; resumed?: boolean };
    client_cert?: {
        presented: boolean;
        verified: boolean;
        revoked: boolean;
        reason: string;
        subject?: string;
        issuer?: string;
        serial?: string;
        fingerprint_sha256?: string;
        ca_id?: string;
    };
    rule?: { id: string; action: string };
    logged?: string[];
    [member: string]: unknown;
}

export type EventKind =
    | "handshake"
    | "certificate"
    | "connection"
    | "blocked"
    | "logged"
    | "failed"
    | "passed";

export interface GatewayEvent {
    id: string;
    kind: EventKind;
    stands_for: number;
    country: string | null;
    record: LogRecord;
}

export interface EventCounts {
    seen: Record<EventKind, number>;
    kept: Record<EventKind, number>;
    lost: number;
}

/** A latency of a stage, in columns beside the `at` of the series; in seconds. */
export interface LatencyStage {
    count: number[];
    p50: (number | null)[];
    p90: (number | null)[];
    p99: (number | null)[];
    max: (number | null)[];
    whole: {
        count: number;
        p50: number | null;
        p90: number | null;
        p99: number | null;
        max: number | null;
    };
    histogram: { from_ns: number; to_ns: number; count: number }[];
}

export interface Latency {
    step_seconds: number;
    at: number[];
    requests: number[];
    blocked: number[];
    refused: number[];
    stages: Record<string, LatencyStage>;
}

/** What a host did lately. */
export interface Traffic {
    host: string;
    requests: number;
    blocked: number;
    refused: number;
    p50_seconds: number | null;
    p99_seconds: number | null;
}

export interface Reason {
    word: string;
    of: string;
    status: string | null;
    side: string | null;
    means: string;
    mend: string;
}

/** The page's half of the session; the browser has the other half in a cookie. */
const KEY = "postern-session-key";

/** Told when the session has ended. */
let ended: (why: string) => void = () => {};

export function whenSessionEnds(tell: (why: string) => void): void {
    ended = tell;
}

/** When a hand was last on the page. What the page asks by itself later keeps no session alive. */
let touched = Date.now();
for (const kind of ["pointerdown", "keydown", "hashchange", "visibilitychange"]) {
    addEventListener(kind, () => (touched = Date.now()), { capture: true, passive: true });
}
const IDLE_MS = 60_000;

function headersWith(key: string, byItself: boolean): Record<string, string> {
    return {
        "x-postern-dashboard": key,
        ...(byItself ? { "x-postern-by-itself": "yes" } : {}),
    };
}

/** No answer comes later than this: the gateway gives up at 25 s itself. */
const PATIENCE_MS = 40_000;

async function send(
    method: string,
    path: string,
    body: unknown,
    key: string,
    seen: string | null = null,
): Promise<Response> {
    const headers = headersWith(key, Date.now() - touched > IDLE_MS);
    if (seen !== null) headers["if-match"] = `"${seen}"`;
    if (body !== undefined) headers["content-type"] = "application/json";
    // A ruleset that a change of one rule makes may have 100,000 others.
    if (method !== "GET") headers["prefer"] = "return=minimal";
    try {
        return await fetch(path, {
            method,
            headers,
            credentials: "same-origin",
            cache: "no-store",
            redirect: "error",
            signal: AbortSignal.timeout(PATIENCE_MS),
            ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        });
    } catch (error) {
        const late = error instanceof DOMException && error.name === "TimeoutError";
        const what = late ? "The gateway did not answer in time" : "The gateway cannot be reached";
        const next =
            method === "GET"
                ? "Try again."
                : "Whether anything was changed is not known: look before you try again.";
        throw new ApiError(0, `${what}. Is it running? ${next}`);
    }
}

async function read<T>(response: Response): Promise<Answer<T>> {
    let envelope: Envelope<T>;
    try {
        envelope = (await response.json()) as Envelope<T>;
    } catch {
        throw new ApiError(response.status, `The answer (${response.status}) cannot be read.`);
    }
    if (!response.ok || !envelope.success) {
        const error = envelope.errors[0];
        const message = error?.message ?? `The gateway answered ${response.status}.`;
        throw new ApiError(response.status, message, error?.source?.pointer ?? null);
    }
    return {
        result: envelope.result,
        messages: envelope.messages.map((message) => message.message),
        info: envelope.result_info ?? null,
        revision: response.headers.get("postern-revision"),
    };
}

/** One call, with the session. With the revision that was `seen`, what others have changed since is
 * not overwritten: the answer is 412. */
export async function call<T>(
    method: string,
    path: string,
    body?: unknown,
    seen: string | null = null,
): Promise<Answer<T>> {
    const key = localStorage.getItem(KEY) ?? "none";
    const response = await send(method, path, body, key, seen);
    try {
        return await read<T>(response);
    } catch (error) {
        if (error instanceof ApiError && error.status === 401) ended(error.message);
        throw error;
    }
}

/** The revision that a change has made: its answer has the one that it was made on. */
export function madeBy(answer: Answer<unknown>): string | null {
    return answer.revision === null ? null : String(Number(answer.revision) + 1);
}

/** The session may not hear this. */
export class Refused extends Error {}

/** The blocks of an event stream, as they come; `null` when it has begun. */
export async function* follow(
    path: string,
    last: string,
    signal: AbortSignal,
): AsyncGenerator<string | null> {
    const key = localStorage.getItem(KEY) ?? "none";
    const headers = { ...headersWith(key, true), ...(last === "" ? {} : { "last-event-id": last }) };
    const response = await fetch(path, {
        headers,
        credentials: "same-origin",
        cache: "no-store",
        redirect: "error",
        signal,
    });
    if (response.status === 401) {
        const why = await response.json().catch(() => null);
        ended((why as Envelope<null> | null)?.errors[0]?.message ?? "The session has ended");
        throw new Refused();
    }
    if (response.status === 403) throw new Refused();
    if (!response.ok || response.body === null) throw new Error(`status ${response.status}`);
    yield null;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        const blocks = (text + value).split("\n\n");
        text = blocks.pop() ?? "";
        yield* blocks;
    }
}

/** A file, which has no envelope. */
export async function download(path: string): Promise<ArrayBuffer> {
    const key = localStorage.getItem(KEY) ?? "none";
    const response = await send("GET", path, undefined, key);
    if (response.status === 401) ended("The session has ended: sign in again");
    if (!response.ok) await read(response);
    return await response.arrayBuffer();
}

export async function get<T>(path: string): Promise<T> {
    return (await call<T>("GET", path)).result;
}

/** Items of a list that is not long: at most ten pages of a thousand. */
export async function all<T>(path: string): Promise<T[]> {
    const items: T[] = [];
    for (let page = 1; page <= 10; page += 1) {
        const join = path.includes("?") ? "&" : "?";
        const part = await call<T[]>("GET", `${path}${join}per_page=1000&page=${page}`);
        items.push(...part.result);
        if (part.info === null || page >= part.info.total_pages) break;
    }
    return items;
}

export async function signIn(how: { token: string } | { code: string }): Promise<Session> {
    const response = await send("POST", `${OWN}/dashboard/session`, how, "sign-in");
    const { result } = await read<Session & { key: string }>(response);
    localStorage.setItem(KEY, result.key);
    return result;
}

/** The session that is there, or nothing. */
export async function session(): Promise<Session | null> {
    const key = localStorage.getItem(KEY);
    if (key === null) return null;
    const response = await send("GET", `${OWN}/dashboard/session`, undefined, key);
    if (response.status === 401 || response.status === 403) {
        localStorage.removeItem(KEY);
        return null;
    }
    return (await read<Session>(response)).result;
}

export async function signOut(): Promise<void> {
    try {
        await call("DELETE", `${OWN}/dashboard/session`);
    } finally {
        localStorage.removeItem(KEY);
    }
}

/** Whether a session may do what needs `scope`. */
export function may(session: Session, scope: Scope): boolean {
    return scope === "read" || session.scopes.includes("all") || session.scopes.includes(scope);
}
