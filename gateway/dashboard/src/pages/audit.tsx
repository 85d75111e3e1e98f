// The audit log: who changed what, the newest first.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Answer } from "../api";
import { OWN, call } from "../api";
import { submitting, TextInput } from "../inputs";
import { useLive } from "../live";
import { message, Notice, Time, Value } from "../ui";

interface Entry {
    revision: number;
    at: string;
    actor: string;
    changes: { noun: string; key: string; before?: unknown; after?: unknown }[];
    omitted?: number;
}

const PER_PAGE = 50;

/** Things of one entry that are shown before one asks for all. */
const CHANGES_SHOWN = 5;

/** After a change and before the newest entries are loaded again: changes come in groups. */
const SETTLE_MS = 1_000;

export function AuditLog() {
    const [filter, setFilter] = useState({ actor: "", noun: "", key: "" });
    const [text, setText] = useState(filter);
    const [entries, setEntries] = useState<Entry[] | null>(null);
    const [more, setMore] = useState(true);
    const [wrong, setWrong] = useState<string | null>(null);
    const turn = useRef(0);

    const load = (page: number, before: Entry[]) => {
        turn.current += 1;
        const mine = turn.current;
        const query = new URLSearchParams({ per_page: String(PER_PAGE) });
        for (const [name, value] of Object.entries(filter)) {
            if (value.trim() !== "") query.set(name, value.trim());
        }
        const filtered = [...query.keys()].length > 1;
        if (filtered) query.set("cursor", cursor.current);
        else query.set("page", String(page));
        call<Entry[]>("GET", `${OWN}/audit?${query}`).then(
            (answer: Answer<Entry[]>) => {
                if (mine !== turn.current) return;
                const info = answer.info as { cursors?: { after: string } } | null;
                cursor.current = info?.cursors?.after ?? "";
                setEntries([...before, ...answer.result]);
                setMore(filtered ? cursor.current !== "" : answer.result.length === PER_PAGE);
                setWrong(null);
            },
            (error: unknown) => {
                if (mine === turn.current) setWrong(message(error));
            },
        );
    };
    const cursor = useRef("");
    useEffect(() => {
        cursor.current = "";
        setEntries(null);
        load(1, []);
    }, [filter]);
    // What comes while the first entries are shown; whoever has gone on is not disturbed.
    const first = useRef(true);
    first.current = entries === null || entries.length <= PER_PAGE;
    const waits = useRef<ReturnType<typeof setTimeout> | null>(null);
    useLive({
        change: () => {
            if (!first.current || waits.current !== null) return;
            waits.current = setTimeout(() => {
                waits.current = null;
                cursor.current = "";
                load(1, []);
            }, SETTLE_MS);
        },
    });
    useEffect(
        () => () => {
            if (waits.current !== null) clearTimeout(waits.current);
        },
        [],
    );

    return (
        <>
            <h1 tabIndex={-1}>Audit log</h1>
            <form
                class="card filters"
                role="search"
                onSubmit={submitting(() => setFilter({ ...text }))}
            >
                <TextInput
                    label="Who"
                    value={text.actor}
                    set={(actor) => setText({ ...text, actor })}
                />
                <TextInput
                    label="What kind of thing, exactly"
                    placeholder="client certificate"
                    value={text.noun}
                    set={(noun) => setText({ ...text, noun })}
                />
                <TextInput
                    label="Which one"
                    value={text.key}
                    set={(key) => setText({ ...text, key })}
                />
                <button type="submit">Find</button>
            </form>
            {wrong !== null && <Notice kind="error">{wrong}</Notice>}
            {entries === null && wrong === null && (
                <p class="quiet" role="status">
                    Loading the log…
                </p>
            )}
            {entries !== null && entries.length === 0 && (
                <p class="quiet">No change is like that.</p>
            )}
            {entries !== null && entries.length > 0 && (
                <section class="card" aria-label="Changes">
                    <ul class="log">
                        {entries.map((entry) => (
                            <li key={entry.revision}>
                                <p>
                                    <Time at={entry.at} /> · <Value text={entry.actor} />{" "}
                                    <span class="quiet">revision {entry.revision}</span>
                                </p>
                                <Changes of={entry} />
                            </li>
                        ))}
                    </ul>
                    {more && (
                        <button
                            type="button"
                            onClick={() => load(Math.floor(entries.length / PER_PAGE) + 1, entries)}
                        >
                            Show older ones
                        </button>
                    )}
                </section>
            )}
        </>
    );
}

function Changes({ of }: { of: Entry }) {
    const [all, setAll] = useState(false);
    const shown = all ? of.changes : of.changes.slice(0, CHANGES_SHOWN);
    return (
        <>
            {shown.map((one) => (
                <details>
                    <summary>
                        {one.before === undefined || one.before === null
                            ? "made"
                            : one.after === undefined || one.after === null
                              ? "removed"
                              : "changed"}{" "}
                        {one.noun} <Value text={one.key} />
                    </summary>
                    {one.before !== undefined && one.before !== null && (
                        <del>
                            <Value text={JSON.stringify(one.before)} code />
                        </del>
                    )}
                    {one.after !== undefined && one.after !== null && (
                        <ins>
                            <Value text={JSON.stringify(one.after)} code />
                        </ins>
                    )}
                </details>
            ))}
            {!all && of.changes.length > CHANGES_SHOWN && (
                <button type="button" class="link" onClick={() => setAll(true)}>
                    and {of.changes.length - CHANGES_SHOWN} more
                </button>
            )}
            {of.omitted !== undefined && of.omitted > 0 && (
                <p class="quiet">{of.omitted.toLocaleString()} further changes are not kept.</p>
            )}
        </>
    );
}
