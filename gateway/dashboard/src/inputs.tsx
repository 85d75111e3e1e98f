// What forms are made of: inputs with their labels, and the two ways out of a form.

import type { ComponentChildren } from "preact";
import { useId, useRef, useState } from "preact/hooks";
import { harmless } from "./ui";

/** What every labelled input is told. */
interface Labelled {
    label: string;
    hint?: ComponentChildren;
}

/** A labelled input, with a hint below. */
function Field(
    props: Labelled & { children: (id: string, hint: string | undefined) => ComponentChildren },
) {
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

interface Typed extends Labelled {
    required?: boolean;
    placeholder?: string;
}

export function TextInput(
    props: Typed & {
        value: string;
        set: (value: string) => void;
        type?: "text" | "password" | "search";
        max?: number;
        autofocus?: boolean;
        /** Proposals while typing. */
        known?: Known[] | undefined;
    },
) {
    const list = useId();
    return (
        <Field {...props}>
            {(id, hint) => (
                <>
                    <input
                        id={id}
                        // Preact's types know one type at a time.
                        type={(props.type ?? "text") as "text"}
                        value={props.value}
                        required={props.required ?? false}
                        placeholder={props.placeholder}
                        maxLength={props.max}
                        list={props.known === undefined ? undefined : list}
                        aria-describedby={hint}
                        autocomplete="off"
                        autocapitalize="none"
                        spellcheck={false}
                        ref={props.autofocus === true ? focus : null}
                        onInput={(event) => props.set(event.currentTarget.value)}
                    />
                    {props.known !== undefined && <Proposals id={list} known={props.known} />}
                </>
            )}
        </Field>
    );
}

/** A whole number; nothing while the input is empty. */
export function NumberInput(
    props: Typed & {
        value: number | null;
        set: (value: number | null) => void;
        least: number;
        most: number;
    },
) {
    return (
        <Field {...props}>
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

/** Text of several lines; a file that is dropped on it is read. */
export function TextArea(
    props: Typed & {
        value: string;
        set: (value: string) => void;
        rows: number;
        /** Bytes of a dropped file that are read; none is taken without it. */
        dropped?: number;
    },
) {
    const most = props.dropped;
    return (
        <Field {...props}>
            {(id, hint) => (
                <textarea
                    id={id}
                    class="code"
                    rows={props.rows}
                    value={props.value}
                    required={props.required ?? false}
                    placeholder={props.placeholder}
                    aria-describedby={hint}
                    spellcheck={false}
                    onInput={(event) => props.set(event.currentTarget.value)}
                    onDragOver={(event) => {
                        if (most !== undefined) event.preventDefault();
                    }}
                    onDrop={(event) => {
                        if (most === undefined) return;
                        event.preventDefault();
                        read(event.dataTransfer?.files[0], most, props.set);
                    }}
                />
            )}
        </Field>
    );
}

/** A file whose text is read, at most so many bytes of it. */
export function FileInput(
    props: Labelled & { accept: string; most: number; set: (text: string) => void },
) {
    return (
        <Field {...props}>
            {(id, hint) => (
                <input
                    id={id}
                    type="file"
                    accept={props.accept}
                    aria-describedby={hint}
                    onChange={(event) => read(event.currentTarget.files?.[0], props.most, props.set)}
                />
            )}
        </Field>
    );
}

function read(file: File | undefined, most: number, set: (text: string) => void): void {
    void file?.slice(0, most).text().then(set);
}

/** One of several values, each with what people call it. */
export function Choose(
    props: Labelled & {
        value: string;
        set: (value: string) => void;
        of: readonly (readonly [string, string])[];
    },
) {
    return (
        <Field {...props}>
            {(id, hint) => (
                <select
                    id={id}
                    value={props.value}
                    aria-describedby={hint}
                    onChange={(event) => props.set(event.currentTarget.value)}
                >
                    {props.of.map(([value, title]) => (
                        <option value={value}>{title}</option>
                    ))}
                </select>
            )}
        </Field>
    );
}

interface Choice {
    title: ComponentChildren;
    hint?: ComponentChildren;
    checked: boolean;
}

/** A box to be checked, with what it means beside it. */
export function Check(props: Choice & { set: (checked: boolean) => void }) {
    return (
        <label class="choice">
            <input
                type="checkbox"
                checked={props.checked}
                onChange={(event) => props.set(event.currentTarget.checked)}
            />
            <Meaning {...props} />
        </label>
    );
}

/** One of several that are all shown; those with the same `name` are beside each other. */
export function Radio(props: Choice & { name: string; choose: () => void }) {
    return (
        <label class="choice">
            <input
                type="radio"
                name={props.name}
                checked={props.checked}
                onChange={props.choose}
            />
            <Meaning {...props} />
        </label>
    );
}

function Meaning({ title, hint }: Choice) {
    return (
        <span>
            {title}
            {hint !== undefined && <small>{hint}</small>}
        </span>
    );
}

/** A proposal: its text, and what people call it where that is not the same. */
export type Known = string | readonly [string, string];

function Proposals({ id, known }: { id: string; known: Known[] }) {
    return (
        <datalist id={id}>
            {known.map((one) =>
                typeof one === "string" ? (
                    <option value={one} />
                ) : (
                    <option value={one[0]}>{one[1]}</option>
                ),
            )}
        </datalist>
    );
}

function focus(element: HTMLElement | null): void {
    element?.focus();
}

/** Words that were entered one by one, each with an X. */
export function Chips(
    props: Labelled & {
        values: string[];
        set: (values: string[]) => void;
        placeholder?: string;
        /** Proposals while typing. */
        known?: Known[] | undefined;
        clean?: (text: string) => string;
    },
) {
    const [text, setText] = useState("");
    const input = useRef<HTMLInputElement>(null);
    const list = useId();
    const add = (entered: string) => {
        const clean = (props.clean ?? ((one: string) => one.trim()))(entered);
        if (clean !== "" && !props.values.includes(clean)) props.set([...props.values, clean]);
        setText("");
    };
    const isThere = (one: Known) => props.values.includes(typeof one === "string" ? one : one[0]);
    return (
        <Field {...props}>
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
                        <Proposals id={list} known={props.known.filter((one) => !isThere(one))} />
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

export function submitting(work: () => void): (event: Event) => void {
    return (event) => {
        event.preventDefault();
        work();
    };
}
