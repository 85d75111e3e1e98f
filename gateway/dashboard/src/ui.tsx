// The parts that pages are made of. They know no resource and make no call of their own.

import type { ComponentChildren } from "preact";
import { useCallback, useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "./api";
import type { Change } from "./live";
import { useLive } from "./live";

/** Characters of a value that are shown at once; what strangers send may be far longer. */
const SHOWN_CHARACTERS_MAX = 300;

/** Control characters, and those that turn the direction of the text around them. */
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

export function harmless(value: string): string {
    return value.replace(
        INVISIBLE,
        (c) => `\u27e8U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`,
    );
}

/** A value that others may have chosen: shown as text, isolated, and cut when it is long. */
export function Value({ text, code }: { text: string; code?: boolean }) {
    const [whole, setWhole] = useState(false);
    const safe = harmless(text);
    const long = safe.length > SHOWN_CHARACTERS_MAX;
    const shown = long && !whole ? `${safe.slice(0, SHOWN_CHARACTERS_MAX)}…` : safe;
    return (
        <>
            <bdi class={code === true ? "value code" : "value"}>{shown}</bdi>
            {long && (
                <button type="button" class="link" onClick={() => setWhole(!whole)}>
                    {whole ? "show less" : `show all ${safe.length.toLocaleString()} characters`}
                </button>
            )}
        </>
    );
}

/** A time in the viewer's zone, with UTC on hover; a precise one of today has seconds and no date. */
export function Time({ at, precise }: { at: string; precise?: boolean }) {
    const date = new Date(at);
    if (Number.isNaN(date.getTime())) return <Value text={at} />;
    const today = date.toDateString() === new Date().toDateString();
    const local =
        precise === true && today
            ? date.toLocaleTimeString(undefined, { timeStyle: "medium" })
            : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
    return (
        <time dateTime={at} title={`${date.toISOString().replace(".000Z", "Z")} (UTC)`}>
            {local}
        </time>
    );
}

/** Days until then; negative when it is over. */
export function daysUntil(at: string): number {
    return Math.floor((new Date(at).getTime() - Date.now()) / 86_400_000);
}

export function message(error: unknown): string {
    if (error instanceof ApiError) return error.message;
    return error instanceof Error ? error.message : "Something went wrong; reload the page.";
}

export interface Loaded<T> {
    data: T | null;
    error: string | null;
    busy: boolean;
    reload: () => void;
}

/** After a change and before what is shown is loaded again: changes come in groups. */
const SETTLE_MS = 400;
/** How many times longer than loading takes the pause before the next loading by itself is. */
const REST = 10;

/** When something is loaded again, and what is shown meanwhile. */
interface Again {
    /** The kinds of things that it is made of, in the words of the audit log: changes of others do not
     * concern it. Without it every change does. */
    about?: string[];
    /** Whether what there was stays until that for other keys is there. */
    keep?: boolean;
}

/** Loads something when the page is shown, when `keys` change, when one comes back to it, and when
 * what it is about was changed. */
export function useLoaded<T>(load: () => Promise<T>, keys: unknown[], again: Again = {}): Loaded<T> {
    const [state, set] = useState<{ data: T | null; error: string | null; busy: boolean }>({
        data: null,
        error: null,
        busy: true,
    });
    const turn = useRef(0);
    const rested = useRef(0);
    const reload = useCallback(() => {
        turn.current += 1;
        const mine = turn.current;
        const begun = Date.now();
        set((before) => ({ ...before, busy: true }));
        load().then(
            (data) => {
                rested.current = Date.now() + REST * (Date.now() - begun);
                if (mine === turn.current) set({ data, error: null, busy: false });
            },
            (error: unknown) => {
                if (mine === turn.current) {
                    set((before) => ({ data: before.data, error: message(error), busy: false }));
                }
            },
        );
    }, keys);
    useEffect(() => {
        set((before) => ({
            data: again.keep === true ? before.data : null,
            error: null,
            busy: true,
        }));
        reload();
        // What others changed meanwhile.
        const back = () => {
            if (document.visibilityState === "visible") reload();
        };
        document.addEventListener("visibilitychange", back);
        return () => {
            turn.current += 1;
            document.removeEventListener("visibilitychange", back);
        };
    }, [reload]);
    const now = useRef(reload);
    now.current = reload;
    const waits = useRef<ReturnType<typeof setTimeout> | null>(null);
    const soon = () => {
        if (waits.current !== null) return;
        const pause = Math.max(SETTLE_MS, rested.current - Date.now());
        waits.current = setTimeout(() => {
            waits.current = null;
            // A page that is hidden loads when it is seen again.
            if (document.visibilityState === "visible") now.current();
        }, pause);
    };
    useLive({
        change: (change) => {
            if (concerns(change, again.about)) soon();
        },
        gap: soon,
    });
    useEffect(
        () => () => {
            if (waits.current !== null) clearTimeout(waits.current);
        },
        [],
    );
    return { ...state, reload };
}

/** As often as the gateway adds a step to what it counts. */
const STEP_MS = 10_000;

/** Loads what changes by itself again and again, while it can be seen. */
export function useAgain(reload: () => void): void {
    useEffect(() => {
        const timer = setInterval(() => {
            if (document.visibilityState === "visible") reload();
        }, STEP_MS);
        return () => clearInterval(timer);
    }, [reload]);
}

/** Whether a change is of one of these kinds of things, as far as it is told. */
function concerns(change: Change, about: string[] | undefined): boolean {
    const all = change.changes;
    if (about === undefined || all === undefined || (change.omitted ?? 0) > 0) return true;
    return all.some((one) => about.includes(one.noun));
}

/** Shows what was loaded, or that it is being loaded, or why it is not there. */
export function Show<T>(props: {
    of: Loaded<T>;
    what: string;
    children: (data: T) => ComponentChildren;
}) {
    const { of, what } = props;
    return (
        <>
            {of.error !== null && (
                <Notice kind="error">
                    {of.error}{" "}
                    <button type="button" class="link" onClick={of.reload}>
                        Try again
                    </button>
                </Notice>
            )}
            {of.data !== null && props.children(of.data)}
            {of.data !== null && of.busy && <p class="quiet busy late">Loading…</p>}
            {of.data === null && of.error === null && (
                <p class="quiet" role="status">
                    Loading {what}…
                </p>
            )}
        </>
    );
}

export interface Task {
    busy: boolean;
    error: string | null;
    run: (work: () => Promise<void>) => void;
    clear: () => void;
}

/** One thing that is done at a time, with what went wrong. */
export function useTask(): Task {
    const [state, set] = useState<{ busy: boolean; error: string | null }>({
        busy: false,
        error: null,
    });
    const busy = useRef(false);
    const run = (work: () => Promise<void>) => {
        if (busy.current) return;
        busy.current = true;
        set({ busy: true, error: null });
        work().then(
            () => {
                busy.current = false;
                set({ busy: false, error: null });
            },
            (error: unknown) => {
                busy.current = false;
                set({ busy: false, error: message(error) });
            },
        );
    };
    return { ...state, run, clear: () => set({ busy: false, error: null }) };
}

export function Notice(props: {
    kind: "error" | "warning" | "good" | "info";
    children: ComponentChildren;
}) {
    const { kind } = props;
    return (
        <div class={`notice ${kind}`} role={kind === "error" ? "alert" : "status"}>
            {props.children}
        </div>
    );
}

export function Messages({ of }: { of: string[] }) {
    return (
        <>
            {of.map((text) => (
                <Notice kind="warning">{text}</Notice>
            ))}
        </>
    );
}

/** A window over the page; Escape closes it, and the focus goes back to where it was. */
export function Dialog(props: {
    title: string;
    close: () => void;
    children: ComponentChildren;
    wide?: boolean;
}) {
    const element = useRef<HTMLDialogElement>(null);
    const title = useId();
    useEffect(() => {
        const dialog = element.current;
        const before = document.activeElement;
        dialog?.showModal();
        return () => {
            dialog?.close();
            // The element is taken away before the browser gives the focus back by itself.
            const back = before?.isConnected ? before : document.getElementById("main");
            if (back instanceof HTMLElement) setTimeout(() => back.focus(), 0);
        };
    }, []);
    return (
        <dialog
            ref={element}
            class={props.wide === true ? "wide" : ""}
            aria-labelledby={title}
            onCancel={(event) => {
                event.preventDefault();
                props.close();
            }}
        >
            <div class="dialog-head">
                <h2 id={title}>{props.title}</h2>
                <button type="button" class="icon" aria-label="Close" onClick={props.close}>
                    <span aria-hidden="true">✕</span>
                </button>
            </div>
            {props.children}
        </dialog>
    );
}

export function Copy({ text, what }: { text: string; what: string }) {
    const [said, say] = useState("");
    const copy = () => {
        navigator.clipboard.writeText(text).then(
            () => say("Copied"),
            () => say("Select it and copy it with the keyboard"),
        );
    };
    return (
        <>
            <button type="button" onClick={copy}>
                Copy {what}
            </button>
            <span class="quiet" role="status">
                {said}
            </span>
        </>
    );
}

export function save(name: string, content: BlobPart, type = "application/x-pem-file"): void {
    const url = URL.createObjectURL(new Blob([content], { type }));
    const anchor = document.createElement("a");
    anchor.href = url;
    anchor.download = name;
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export function Badge(props: { kind: "good" | "bad" | "warn" | "plain"; children: string }) {
    return <span class={`badge ${props.kind}`}>{props.children}</span>;
}

/** The roles of a table's parts: where it is narrow its rows are drawn one below the other, and browsers
 * take a table that is drawn so for none. */
const ROLES: [string, string][] = [
    ["table", "table"],
    ["thead, tbody", "rowgroup"],
    ["tr", "row"],
    ["thead th", "columnheader"],
    ["tbody th", "rowheader"],
    ["td", "cell"],
];

/** Says of each cell what its column is, for where the head is not beside it. */
function label(table: HTMLTableElement | null): void {
    if (table === null) return;
    for (const [parts, role] of ROLES) {
        const found = [...table.querySelectorAll(parts), ...(table.matches(parts) ? [table] : [])];
        for (const part of found) part.setAttribute("role", role);
    }
    const head = [...(table.tHead?.rows[0]?.cells ?? [])].map((cell) => cell.textContent ?? "");
    for (const row of table.tBodies[0]?.rows ?? []) {
        for (const [place, cell] of [...row.cells].entries()) {
            cell.dataset["label"] = head[place] ?? "";
        }
    }
}

/** A table that scrolls by itself, and can be scrolled by keyboard. Where it is narrow, a row is a block
 * whose cells are below each other. */
export function Table(props: {
    label: string;
    head: string[];
    children: ComponentChildren;
}) {
    const table = useRef<HTMLTableElement>(null);
    useLayoutEffect(() => label(table.current));
    return (
        <div class="scroll" role="region" aria-label={props.label} tabIndex={0}>
            <table ref={table}>
                <thead>
                    <tr>
                        {props.head.map((name) => (
                            <th scope="col">{name}</th>
                        ))}
                    </tr>
                </thead>
                <tbody>{props.children}</tbody>
            </table>
        </div>
    );
}

/** One page of a list that is all here, and what turns the pages. */
export function usePaged<T>(all: T[], perPage: number): [T[], ComponentChildren] {
    const [page, setPage] = useState(1);
    const pages = Math.max(1, Math.ceil(all.length / perPage));
    const now = Math.min(page, pages);
    const shown = all.slice((now - 1) * perPage, now * perPage);
    return [shown, <Pages page={now} pages={pages} total={all.length} go={setPage} />];
}

/** Turns the pages of a list: to its ends, by one, or to any. */
export function Pages(props: { page: number; pages: number; total: number; go: (n: number) => void }) {
    const { page, pages, total, go } = props;
    if (pages <= 1) return null;
    const turn = (title: string, to: number) => (
        <button type="button" disabled={to < 1 || to > pages || to === page} onClick={() => go(to)}>
            {title}
        </button>
    );
    return (
        <nav class="pages" aria-label="Pages">
            {turn("First", 1)}
            {turn("Previous", page - 1)}
            <label>
                Page{" "}
                <input
                    type="number"
                    class="number"
                    min={1}
                    max={pages}
                    value={page}
                    onChange={(event) => {
                        const wanted = Math.round(event.currentTarget.valueAsNumber);
                        if (wanted >= 1 && wanted <= pages) go(wanted);
                        else event.currentTarget.value = String(page);
                    }}
                />
            </label>
            <span>
                of {pages.toLocaleString()} ({total.toLocaleString()} in all)
            </span>
            {turn("Next", page + 1)}
            {turn("Last", pages)}
        </nav>
    );
}

/** Text with `words` between backticks as code. */
export function Words({ text }: { text: string }): ComponentChildren {
    // Links of the page that the texts are also in lead nowhere here.
    const plain = text.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1");
    return plain.split("`").map((part, at) => (at % 2 === 1 ? <code>{part}</code> : part));
}
