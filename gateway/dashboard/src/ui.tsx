// The parts that pages are made of. They know no resource and make no call of their own.

import type { ComponentChildren } from "preact";
import { useCallback, useEffect, useId, useRef, useState } from "preact/hooks";
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

/** A labelled input, with a hint below. */
export function Field(props: {
    label: string;
    hint?: ComponentChildren;
    children: (id: string, hint: string | undefined) => ComponentChildren;
}) {
    const id = useId();
    const hint = props.hint === undefined ? undefined : `${id}-hint`;
    return (
        <div class="field">
            <label for={id}>{props.label}</label>
            {props.children(id, hint)}
            {hint !== undefined && (
                <p class="hint" id={hint}>
                    {props.hint}
                </p>
            )}
        </div>
    );
}

export function TextInput(props: {
    label: string;
    value: string;
    set: (value: string) => void;
    hint?: ComponentChildren;
    required?: boolean;
    placeholder?: string;
    type?: "text" | "password";
    max?: number;
    autofocus?: boolean;
}) {
    const extra = props.hint === undefined ? {} : { hint: props.hint };
    return (
        <Field label={props.label} {...extra}>
            {(id, hint) => (
                <input
                    id={id}
                    // Preact's types know one type at a time.
                    type={(props.type ?? "text") as "text"}
                    value={props.value}
                    required={props.required ?? false}
                    placeholder={props.placeholder}
                    maxLength={props.max}
                    aria-describedby={hint}
                    autocomplete="off"
                    spellcheck={false}
                    ref={props.autofocus === true ? focus : null}
                    onInput={(event) => props.set(event.currentTarget.value)}
                />
            )}
        </Field>
    );
}

/** A whole number; nothing while the input is empty. */
export function NumberInput(props: {
    label: string;
    value: number | null;
    set: (value: number | null) => void;
    least: number;
    most: number;
    hint?: ComponentChildren;
    required?: boolean;
    placeholder?: string;
}) {
    const extra = props.hint === undefined ? {} : { hint: props.hint };
    return (
        <Field label={props.label} {...extra}>
            {(id, hint) => (
                <input
                    id={id}
                    class="number"
                    type="number"
                    inputMode="numeric"
                    value={props.value ?? ""}
                    min={props.least}
                    max={props.most}
                    step={1}
                    required={props.required ?? false}
                    placeholder={props.placeholder}
                    aria-describedby={hint}
                    onInput={(event) => {
                        const { value } = event.currentTarget;
                        props.set(value === "" ? null : Number(value));
                    }}
                />
            )}
        </Field>
    );
}

function focus(element: HTMLElement | null): void {
    element?.focus();
}

/** Words that were entered one by one, each with an X. */
export function Chips(props: {
    label: string;
    hint?: ComponentChildren;
    values: string[];
    set: (values: string[]) => void;
    placeholder?: string;
    /** Proposals while typing. */
    known?: string[];
    clean?: (text: string) => string;
}) {
    const [text, setText] = useState("");
    const input = useRef<HTMLInputElement>(null);
    const list = useId();
    const add = (entered: string) => {
        const clean = (props.clean ?? ((one: string) => one.trim()))(entered);
        if (clean !== "" && !props.values.includes(clean)) props.set([...props.values, clean]);
        setText("");
    };
    const extra = props.hint === undefined ? {} : { hint: props.hint };
    return (
        <Field label={props.label} {...extra}>
            {(id, hint) => (
                <div class="chips">
                    {props.values.map((value) => (
                        <span class="chip">
                            <bdi>{harmless(value)}</bdi>
                            <button
                                type="button"
                                aria-label={`Remove ${value}`}
                                onClick={() => {
                                    props.set(props.values.filter((other) => other !== value));
                                    input.current?.focus();
                                }}
                            >
                                <span aria-hidden="true">✕</span>
                            </button>
                        </span>
                    ))}
                    <input
                        id={id}
                        ref={input}
                        value={text}
                        list={props.known === undefined ? undefined : list}
                        placeholder={props.placeholder}
                        aria-describedby={hint}
                        autocomplete="off"
                        autocapitalize="none"
                        spellcheck={false}
                        onInput={(event) => setText(event.currentTarget.value)}
                        onKeyDown={(event) => {
                            if (event.key === "Enter") {
                                event.preventDefault();
                                add(text);
                            } else if (event.key === "Backspace" && text === "") {
                                props.set(props.values.slice(0, -1));
                            }
                        }}
                        onBlur={() => add(text)}
                    />
                    {props.known !== undefined && (
                        <datalist id={list}>
                            {props.known
                                .filter((one) => !props.values.includes(one))
                                .map((one) => (
                                    <option value={one} />
                                ))}
                        </datalist>
                    )}
                </div>
            )}
        </Field>
    );
}

/** The two ways out of a form: its button, and back. */
export function SubmitOrCancel(props: {
    cancel: () => void;
    disabled: boolean;
    /** What it does cannot be undone. */
    danger?: boolean;
    children: ComponentChildren;
}) {
    return (
        <div class="actions">
            <button type="button" onClick={props.cancel}>
                Cancel
            </button>
            <button
                type="submit"
                class={props.danger === true ? "danger" : "primary"}
                disabled={props.disabled}
            >
                {props.children}
            </button>
        </div>
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

/** A table that scrolls by itself, and can be scrolled by keyboard. */
export function Table(props: { label: string; head: string[]; children: ComponentChildren }) {
    return (
        <div class="scroll" role="region" aria-label={props.label} tabIndex={0}>
            <table>
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

export function Pages(props: { page: number; pages: number; total: number; go: (n: number) => void }) {
    if (props.pages <= 1) return null;
    return (
        <nav class="pages" aria-label="Pages">
            <button disabled={props.page <= 1} onClick={() => props.go(props.page - 1)}>
                Previous
            </button>
            <span>
                Page {props.page.toLocaleString()} of {props.pages.toLocaleString()} (
                {props.total.toLocaleString()} in all)
            </span>
            <button disabled={props.page >= props.pages} onClick={() => props.go(props.page + 1)}>
                Next
            </button>
        </nav>
    );
}

export function submitting(work: () => void): (event: Event) => void {
    return (event) => {
        event.preventDefault();
        work();
    };
}

/** Text with `words` between backticks as code. */
export function Words({ text }: { text: string }): ComponentChildren {
    // Links of the page that the texts are also in lead nowhere here.
    const plain = text.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1");
    return plain.split("`").map((part, at) => (at % 2 === 1 ? <code>{part}</code> : part));
}
