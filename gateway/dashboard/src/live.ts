// What the gateway tells by itself: events and changes, over one stream for the whole page. It is open
// while the page can be seen (browsers have few connections for all pages of a server), goes on where
// it was, and tries again when it breaks.

import { useEffect } from "preact/hooks";
import type { EventCounts, GatewayEvent, Session } from "./api";
import { OWN, Refused, follow } from "./api";

export interface Change {
    revision: number;
    at?: string;
    actor?: string;
    omitted?: number;
    changes?: { noun: string; key: string }[];
}

/** What pages may want to hear. */
export interface Listener {
    event?: (event: GatewayEvent) => void;
    change?: (change: Change) => void;
    counts?: (counts: EventCounts) => void;
    /** Some events are not kept any more, and will not come. */
    gap?: () => void;
    connected?: (is: boolean) => void;
}

const listeners = new Set<Listener>();
let open = 0;
const isConnected = () => open > 0;

export function useLive(listener: Listener): void {
    useEffect(() => {
        listeners.add(listener);
        listener.connected?.(isConnected());
        return () => {
            listeners.delete(listener);
        };
    }, []);
}

function tell(kind: string, id: string, data: string): void {
    let value: unknown;
    try {
        value = JSON.parse(data);
    } catch {
        return;
    }
    for (const one of listeners) {
        if (kind === "event") one.event?.({ ...(value as GatewayEvent), id });
        if (kind === "change") one.change?.(value as Change);
        if (kind === "counts") one.counts?.(value as EventCounts);
        if (kind === "gap") one.gap?.();
    }
}

function connected(more: number): void {
    const before = isConnected();
    open += more;
    if (before !== isConnected()) {
        for (const one of listeners) one.connected?.(isConnected());
    }
}

/** Waits between tries, in milliseconds: at once when a stream has come to its end in order. */
const PAUSES = [500, 2_000, 5_000, 15_000];

/** Hears the streams that the session may hear, until the answer is called. */
export function start(session: Session): () => void {
    const paths =
        session.zones === null
            ? [`${OWN}/events/stream`]
            : session.zones.map((zone) => `${OWN}/zones/${zone.id}/events/stream`);
    const over = new AbortController();
    // More would take the connections that everything else needs.
    for (const path of paths.slice(0, 3)) void keepUp(path, over.signal);
    return () => over.abort();
}

async function keepUp(path: string, over: AbortSignal): Promise<void> {
    let last = "";
    let failures = 0;
    while (!over.aborted) {
        await visible(over);
        const stop = new AbortController();
        const hide = () => {
            if (document.visibilityState === "hidden") stop.abort();
        };
        document.addEventListener("visibilitychange", hide);
        const end = () => stop.abort();
        over.addEventListener("abort", end);
        let hears = false;
        try {
            for await (const text of follow(path, last, stop.signal)) {
                if (text === null) {
                    hears = true;
                    connected(1);
                    failures = 0;
                    continue;
                }
                const told = block(text);
                if (told.id !== "") last = told.id;
                if (told.data !== "") tell(told.kind, told.id, told.data);
            }
        } catch (error) {
            if (!stop.signal.aborted) failures += 1;
            if (error instanceof Refused) return;
        } finally {
            if (hears) connected(-1);
            document.removeEventListener("visibilitychange", hide);
            over.removeEventListener("abort", end);
        }
        const pause = PAUSES[Math.min(failures, PAUSES.length - 1)] ?? 0;
        await new Promise((resolve) => setTimeout(resolve, pause));
    }
}

/** One block of the stream (HTML §9.2.6); texts of the gateway have one line of data. */
function block(text: string): { kind: string; id: string; data: string } {
    const told = { kind: "", id: "", data: "" };
    for (const line of text.split("\n")) {
        if (line.startsWith("event: ")) told.kind = line.slice(7);
        if (line.startsWith("id: ")) told.id = line.slice(4);
        if (line.startsWith("data: ")) told.data = line.slice(6);
    }
    return told;
}

function visible(over: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
        const done = () => {
            if (document.visibilityState === "hidden" && !over.aborted) return;
            document.removeEventListener("visibilitychange", done);
            resolve();
        };
        document.addEventListener("visibilitychange", done);
        over.addEventListener("abort", done);
        done();
    });
}
