// Events: what happens, as it happens. Refused handshakes, certificates that were no good, requests that
// were blocked, logged or failed; what each means, and what can be done about it.

import { useEffect, useRef, useState } from "preact/hooks";
import type { EventCounts, GatewayEvent, Reason, Session, Zone } from "../api";
import { OWN, get } from "../api";
import { Choose, TextInput } from "../inputs";
import { useLive } from "../live";
import { useInAddress } from "../router";
import { Badge, Notice, Show, Table, Time, useLoaded, Value } from "../ui";
import { EventDialog } from "./event";

/** Events that the page keeps; the oldest give way. */
const KEPT_MAX = 2_000;

/** Events that are shown at once. */
const SHOWN = 100;

/** Between two looks at what has come: a flood is not drawn one by one. */
const DRAW_MS = 400;

/** Over how long it is said how many there were. */
const RATE_MS = 60_000;

const KINDS = [
    ["", "All"],
    ["handshake", "Refused handshakes"],
    ["certificate", "Certificates that were no good"],
    ["connection", "Connections that were ended"],
    ["blocked", "Blocked requests"],
    ["logged", "Logged requests"],
    ["failed", "Failed requests"],
] as const;

export const WORDS: Record<string, ["bad" | "warn" | "plain", string]> = {
    handshake: ["bad", "handshake refused"],
    certificate: ["bad", "certificate"],
    connection: ["bad", "connection ended"],
    blocked: ["bad", "blocked"],
    logged: ["plain", "logged"],
    failed: ["warn", "failed"],
    passed: ["plain", "passed"],
};

/** The word of what went wrong, if there is one. */
export function reasonOf(event: GatewayEvent): string {
    const { record } = event;
    return record.reason ?? record.error ?? "";
}

const NOTHING = { kind: "", host: "", reason: "", rule: "", certificate: "", country: "" };

type Filter = typeof NOTHING;

function fits(event: GatewayEvent, filter: Filter): boolean {
    const { record } = event;
    const has = (part: string, ...texts: (string | undefined)[]) => {
        const wanted = part.trim().toLowerCase();
        return wanted === "" || texts.some((text) => text?.toLowerCase().includes(wanted));
    };
    const cert = record.client_cert;
    const of = filter.certificate.replace(/[:\s]/g, "");
    return (
        (filter.kind === "" || event.kind === filter.kind) &&
        has(filter.host, record.host, record.tls?.sni, record.authority) &&
        has(filter.reason, reasonOf(event), cert?.presented ? cert.reason : undefined) &&
        has(filter.rule, record.rule?.id, ...(record.logged ?? [])) &&
        (has(filter.certificate, cert?.subject, cert?.issuer) ||
            has(of, cert?.serial, cert?.fingerprint_sha256)) &&
        has(filter.country, event.country ?? undefined)
    );
}

export function Events(props: { zone?: Zone; zones: Zone[]; session: Session }) {
    const { zone, zones, session } = props;
    const base = zone === undefined ? OWN : `${OWN}/zones/${zone.id}`;
    const reasons = useLoaded(() => get<Reason[]>(`${OWN}/reasons`), [], { about: [] });
    const [events, setEvents] = useState<GatewayEvent[] | null>(null);
    const [wrong, setWrong] = useState<string | null>(null);
    const [filter, setFilter] = useInAddress(NOTHING);
    const [shown, setShown] = useState(SHOWN);
    const [paused, setPaused] = useState(false);
    const [connected, setConnected] = useState(true);
    const [gap, setGap] = useState(false);
    const [opened, setOpened] = useState<GatewayEvent | null>(null);
    const [counts, setCounts] = useState<{ seen: number; kept: number } | null>(null);
    const come = useRef<GatewayEvent[]>([]);
    const told = useRef<{ at: number; counts: EventCounts }[]>([]);
    const held = useRef(false);
    held.current = paused || opened !== null;

    useLive({
        event: (event) => {
            if (zone !== undefined && event.record.zone !== zone.name) return;
            come.current.push(event);
            if (come.current.length > KEPT_MAX) come.current.shift();
        },
        gap: () => setGap(true),
        connected: setConnected,
        counts: (now) => {
            const at = Date.now();
            told.current = [...told.current.filter((one) => at - one.at < RATE_MS), { at, counts: now }];
            const [first] = told.current;
            const sum = (of: Record<string, number>) =>
                Object.entries(of).reduce((all, [kind, n]) => (kind === "passed" ? all : all + n), 0);
            if (first === undefined) return;
            setCounts({
                seen: sum(now.seen) - sum(first.counts.seen),
                kept: sum(now.kept) - sum(first.counts.kept) - (now.lost - first.counts.lost),
            });
        },
    });
    useEffect(() => {
        get<GatewayEvent[]>(`${base}/events?limit=${KEPT_MAX}`).then(setEvents, (error: unknown) =>
            setWrong(error instanceof Error ? error.message : String(error)),
        );
        const timer = setInterval(() => {
            if (come.current.length === 0 || held.current) return;
            const fresh = come.current;
            come.current = [];
            setEvents((before) => {
                if (before === null) {
                    come.current = [...fresh, ...come.current];
                    return null;
                }
                const known = new Set(before.slice(0, KEPT_MAX).map((one) => one.id));
                const added = fresh.filter((one) => !known.has(one.id)).reverse();
                return [...added, ...before].slice(0, KEPT_MAX);
            });
        }, DRAW_MS);
        return () => clearInterval(timer);
    }, []);

    const found = events?.filter((event) => fits(event, filter)) ?? [];
    const set = (part: Partial<Filter>) => {
        setFilter(part);
        setShown(SHOWN);
    };
    const sampled = counts !== null && counts.seen > counts.kept;
    return (
        <>
            <div class="title">
                <h1 tabIndex={-1}>Events</h1>
                <span class="quiet">{zone?.name ?? "of all zones"}</span>
                <div class="actions">
                    <span role="status">
                        {connected ? (
                            <Badge kind="good">live</Badge>
                        ) : (
                            <Badge kind="warn">not connected, trying again</Badge>
                        )}
                    </span>
                    <button
                        type="button"
                        role="switch"
                        aria-checked={paused}
                        onClick={() => setPaused(!paused)}
                    >
                        {paused ? "Go on" : "Pause"}
                    </button>
                </div>
            </div>
            <section class="card filters" role="search" aria-label="Filters">
                <Choose
                    label="Kind"
                    value={filter.kind}
                    set={(kind) => set({ kind })}
                    of={KINDS}
                />
                <TextInput label="Host" value={filter.host} set={(host) => set({ host })} />
                <TextInput label="Reason" value={filter.reason} set={(reason) => set({ reason })} />
                <TextInput label="Rule" value={filter.rule} set={(rule) => set({ rule })} />
                <TextInput
                    label="Certificate"
                    value={filter.certificate}
                    set={(certificate) => set({ certificate })}
                />
                <TextInput
                    label="Country"
                    value={filter.country}
                    set={(country) => set({ country })}
                />
            </section>
            {wrong !== null && <Notice kind="error">{wrong}</Notice>}
            {gap && (
                <Notice kind="warning">
                    More happened while this page was away than is kept. What is missing is in the
                    access log, if that is on.
                </Notice>
            )}
            {sampled && (
                <Notice kind="warning">
                    Of very many events a sample is shown: {Math.max(0, counts.kept).toLocaleString()}{" "}
                    of {counts.seen.toLocaleString()} in the last minute.
                </Notice>
            )}
            {events === null && wrong === null && (
                <p class="quiet" role="status">
                    Loading events…
                </p>
            )}
            {events !== null && found.length === 0 && (
                <section class="card">
                    <p class="quiet">
                        {events.length === 0
                            ? "Nothing yet. Refused handshakes and requests that are blocked, logged or failed appear here as they happen."
                            : "No event is like that."}
                    </p>
                </section>
            )}
            {found.length > 0 && (
                <section class="card events" aria-label="What happened, the newest first">
                    <Table label="Events" head={["Time", "What", "Host", "Reason", "Client", "More"]}>
                        {found.slice(0, shown).map((event) => (
                            <Row key={event.id} event={event} open={() => setOpened(event)} />
                        ))}
                    </Table>
                    {found.length > shown && (
                        <button type="button" onClick={() => setShown(shown + SHOWN)}>
                            Show {Math.min(SHOWN, found.length - shown)} more of{" "}
                            {found.length.toLocaleString()}
                        </button>
                    )}
                </section>
            )}
            {opened !== null && (
                <Show of={reasons} what="what reasons mean">
                    {(all) => (
                        <EventDialog
                            event={opened}
                            reasons={all}
                            zone={zones.find((one) => one.name === opened.record.zone) ?? null}
                            session={session}
                            close={() => setOpened(null)}
                        />
                    )}
                </Show>
            )}
        </>
    );
}

function Row({ event, open }: { event: GatewayEvent; open: () => void }) {
    const { record } = event;
    const [kind, word] = WORDS[event.kind] ?? ["plain", event.kind];
    const request = record.method === undefined ? "" : `${record.method} ${record.path ?? ""}`;
    return (
        <tr>
            <td>
                <Time at={record.time} precise />
            </td>
            <td>
                <Badge kind={kind}>{word}</Badge>
                {event.stands_for > 1 && (
                    <span class="quiet"> ×{event.stands_for.toLocaleString()}</span>
                )}
                {request !== "" && (
                    <>
                        {" "}
                        <Value text={request.slice(0, 100)} code />
                    </>
                )}
            </td>
            <td>
                <Value text={record.host ?? record.tls?.sni ?? "–"} />
            </td>
            <td>
                <Value text={reasonOf(event) || String(record.status ?? "")} code />
            </td>
            <td>
                <Value text={record.client_cert?.subject ?? record.client ?? ""} />
                {event.country !== null && <span class="quiet"> {event.country}</span>}
            </td>
            <td>
                <button type="button" onClick={open} aria-label={`Open ${word} of ${record.time}`}>
                    Open
                </button>
            </td>
        </tr>
    );
}
