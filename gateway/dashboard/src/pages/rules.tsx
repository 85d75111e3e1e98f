// Rules of a zone of one kind, in the order of evaluation: switched on and off, moved, duplicated, deleted
// with undo. The wrench opens one.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Lint, Rule, Session, Zone } from "../api";
import { OWN, get, may } from "../api";
import { TextInput } from "../inputs";
import { link } from "../router";
import type { Head, Kind, Listed, ListedRule } from "../rules";
import { CUSTOM, EVERYTHING, KINDS, addRule, changeRule, deleteRule, listRules, written } from "../rules";
import { Badge, harmless, Notice, Pages, Show, useLoaded, useTask, Value, Words } from "../ui";
import { Does } from "./does";
import { Versions } from "./versions";

/** Rules on a page: there may be 100,000. */
const PER_PAGE = 50;

export function Rules(props: { zone: Zone; session: Session; kind: Kind }) {
    const { zone, session, kind } = props;
    const [search, setSearch] = useState("");
    const [page, setPage] = useState(1);
    const rules = useLoaded(
        () => listRules(zone, kind, search, page, PER_PAGE),
        [zone.id, kind.phase, search, page],
        { about: ["rule", "ruleset"], keep: true },
    );
    const ruleset = rules.data?.ruleset ?? null;
    const [versions, setVersions] = useState(false);
    const canChange = may(session, "rules");
    return (
        <>
            <div class="title">
                <h1 tabIndex={-1}>{kind.title}</h1>
                <span class="quiet">{zone.name}</span>
                <div class="actions">
                    {canChange && (
                        <>
                            <a class="button primary" href={link("zones", zone.name, kind.segment, "new")}>
                                Create rule
                            </a>
                            {kind === CUSTOM && (
                                <a
                                    class="button"
                                    href={link(
                                        "zones",
                                        zone.name,
                                        "client-certificates",
                                        "create-mtls-rule",
                                    )}
                                >
                                    Create a mTLS rule
                                </a>
                            )}
                        </>
                    )}
                    {ruleset !== null && (
                        <button type="button" onClick={() => setVersions(true)}>
                            Versions
                        </button>
                    )}
                </div>
            </div>
            <nav class="kinds" aria-label="Kinds of rules">
                {KINDS.map((one) => (
                    <a
                        href={link("zones", zone.name, one.segment)}
                        aria-current={one === kind ? "page" : undefined}
                    >
                        {one.title}
                    </a>
                ))}
            </nav>
            {!canChange && (
                <Notice kind="info">
                    This token only reads rules. To change them, sign in with one of the scope{" "}
                    <code>rules</code>.
                </Notice>
            )}
            <Show of={rules} what="rules">
                {(listed) =>
                    listed.ruleset === null ? (
                        <Empty zone={zone} kind={kind} canChange={canChange} />
                    ) : (
                        <List
                            zone={zone}
                            kind={kind}
                            listed={listed}
                            ruleset={listed.ruleset}
                            canChange={canChange}
                            reload={rules.reload}
                            search={setSearch}
                            page={page}
                            setPage={setPage}
                        />
                    )
                }
            </Show>
            {versions && ruleset !== null && (
                <Versions
                    zone={zone}
                    ruleset={ruleset}
                    canChange={canChange}
                    close={() => setVersions(false)}
                    restored={() => {
                        setVersions(false);
                        rules.reload();
                    }}
                />
            )}
        </>
    );
}

function Empty({ zone, kind, canChange }: { zone: Zone; kind: Kind; canChange: boolean }) {
    return (
        <section class="card">
            <p class="quiet">
                {kind.empty}{" "}
                {canChange && kind === CUSTOM && (
                    <>
                        <a
                            href={link("zones", zone.name, "client-certificates", "create-mtls-rule")}
                        >
                            Create a mTLS rule
                        </a>{" "}
                        to let in only clients with a certificate.
                    </>
                )}
            </p>
        </section>
    );
}

function called(rule: Rule): string {
    return harmless(rule.description === "" ? rule.id : rule.description).slice(0, 100);
}

/** After the last letter and before the gateway is asked for rules that have it. */
const SEARCH_PAUSE_MS = 250;

function List(props: {
    zone: Zone;
    kind: Kind;
    listed: Listed;
    ruleset: Head;
    canChange: boolean;
    reload: () => void;
    search: (text: string) => void;
    page: number;
    setPage: (page: number) => void;
}) {
    const { zone, kind, listed, ruleset, canChange, reload, page, setPage } = props;
    const [text, setText] = useState("");
    const [said, say] = useState<{ text: string; undo: (() => void) | null } | null>(null);
    const [dragged, setDragged] = useState<ListedRule | null>(null);
    const [over, setOver] = useState<number | null>(null);
    const task = useTask();
    const focusOn = useRef<string | null>(null);
    const shown = listed.rules;
    const ids = shown.map((rule) => rule.id).join(",");
    const lints = useLoaded(
        // They are about keeping clients out, which other rules are not there for.
        async () =>
            kind === CUSTOM ? await get<Lint[]>(`${OWN}/zones/${zone.id}/lints?rules=${ids}`) : [],
        [zone.id, ids, ruleset.version],
        { about: ["host", "CA", "list"], keep: true },
    );
    useEffect(() => {
        // After a move the same button of the same rule has the focus, at its new place.
        if (focusOn.current === null) return;
        document.getElementById(focusOn.current)?.focus();
        focusOn.current = null;
    }, [ids]);
    useEffect(() => {
        const timer = setTimeout(() => props.search(text.trim()), SEARCH_PAUSE_MS);
        return () => clearTimeout(timer);
    }, [text]);

    const pages = Math.max(1, Math.ceil(listed.found / PER_PAGE));
    useEffect(() => {
        if (page > pages) setPage(pages);
    }, [page, pages]);

    // What was made here is newer than the list until that is loaded again, and no other person's.
    const made = useRef<string | null>(null);
    const seen = () => {
        const revisions = [listed.revision, made.current].map(Number);
        return listed.revision === null ? null : String(Math.max(...revisions));
    };
    const change = (work: () => Promise<void>) =>
        task.run(async () => {
            try {
                await work();
            } finally {
                reload();
            }
        });
    const toggle = (rule: Rule) =>
        change(async () => {
            const to = { enabled: !rule.enabled };
            made.current = await changeRule(zone, ruleset.id, rule.id, to, seen());
            say({ text: `${called(rule)} is ${rule.enabled ? "off" : "on"}.`, undo: null });
        });
    const block = (rule: ListedRule) =>
        change(async () => {
            made.current = await changeRule(zone, ruleset.id, rule.id, { action: "block" }, seen());
            say({
                text: `${called(rule)} blocks now.`,
                undo: () =>
                    change(async () => {
                        const to = { action: "log", action_parameters: null };
                        made.current = await changeRule(zone, ruleset.id, rule.id, to, seen());
                        say({ text: `${called(rule)} only logs again.`, undo: null });
                    }),
            });
        });
    const move = (rule: ListedRule, place: number) =>
        change(async () => {
            const to = { position: { index: place } };
            made.current = await changeRule(zone, ruleset.id, rule.id, to);
            say({
                text: `${called(rule)} is number ${place.toLocaleString()} now.`,
                undo: () => move({ ...rule, position: place }, rule.position),
            });
            setPage(Math.ceil(place / PER_PAGE));
        });
    const duplicate = (rule: ListedRule) =>
        change(async () => {
            const copy = {
                ...written(rule),
                description: `${rule.description} (copy)`,
                enabled: false,
            };
            await addRule(zone, ruleset.id, copy, kind, rule.position + 1);
            say({ text: `A copy of ${called(rule)} is below it, as a draft.`, undo: null });
        });
    const remove = (rule: ListedRule) =>
        change(async () => {
            made.current = await deleteRule(zone, ruleset.id, rule.id, seen());
            say({
                text: `${called(rule)} was deleted.`,
                undo: () =>
                    change(async () => {
                        const now = await listRules(zone, kind, "", 1, 1);
                        const place = Math.min(rule.position, now.total + 1);
                        await addRule(zone, now.ruleset?.id ?? null, written(rule), kind, place);
                        say({ text: `${called(rule)} is back.`, undo: null });
                    }),
            });
        });
    const canMove = canChange && text.trim() === "";

    return (
        <section class="card" aria-label="Rules in the order of evaluation">
            <div class="filters">
                <TextInput
                    label="Find in names and expressions"
                    type="search"
                    value={text}
                    set={(wanted) => {
                        setText(wanted);
                        setPage(1);
                    }}
                />
                <p class="quiet">
                    {listed.found.toLocaleString()} of {listed.total.toLocaleString()} rules.{" "}
                    {kind.order}
                </p>
            </div>
            {task.error !== null && <Notice kind="error">{task.error}</Notice>}
            {task.busy && (
                <p class="quiet busy" role="status">
                    Saving…
                </p>
            )}
            {said !== null && (
                <Notice kind="good">
                    {said.text}{" "}
                    {said.undo !== null && (
                        <button type="button" class="link" onClick={said.undo}>
                            Undo
                        </button>
                    )}
                </Notice>
            )}
            {lints.data
                ?.filter((lint) => lint.rule_id === null)
                .slice(0, 5)
                .map((lint) => (
                    <Notice kind="warning"><Words text={lint.message} /></Notice>
                ))}
            <ol class="rules" start={shown[0]?.position ?? 1} hidden={shown.length === 0}>
                {shown.map((rule) => {
                    const place = rule.position;
                    const odd = lints.data?.filter((lint) => lint.rule_id === rule.id) ?? [];
                    return (
                        <li
                            key={rule.id}
                            class={over === place && dragged?.id !== rule.id ? "over" : ""}
                            draggable={canMove}
                            onDragStart={(event) => {
                                setDragged(rule);
                                event.dataTransfer?.setData("text/plain", rule.id);
                            }}
                            onDragEnd={() => {
                                setDragged(null);
                                setOver(null);
                            }}
                            onDragOver={(event) => {
                                if (dragged === null) return;
                                event.preventDefault();
                                setOver(place);
                            }}
                            onDrop={(event) => {
                                event.preventDefault();
                                const from = dragged;
                                setDragged(null);
                                setOver(null);
                                if (from !== null && from.id !== rule.id) move(from, place);
                            }}
                        >
                            <div class="rule-head">
                                <span class="place">{place}</span>
                                <strong>
                                    <bdi>{called(rule)}</bdi>
                                </strong>
                                <Badge kind={rule.action === "block" ? "bad" : "plain"}>
                                    {rule.action}
                                </Badge>
                                {!rule.enabled && <Badge kind="warn">draft: off</Badge>}
                                {odd.length > 0 && (
                                    <Badge kind="warn">
                                        {`${odd.length} ${odd.length === 1 ? "hint" : "hints"}`}
                                    </Badge>
                                )}
                            </div>
                            {kind.everything && rule.expression === EVERYTHING ? (
                                <p>All requests</p>
                            ) : (
                                <pre class="code">
                                    <Value text={rule.expression} code />
                                </pre>
                            )}
                            <Does of={rule} />
                            <div class="actions start">
                                <a
                                    class="button"
                                    href={link("zones", zone.name, kind.segment, rule.id)}
                                    aria-label={`${canChange ? "Edit" : "Show"} ${called(rule)}`}
                                >
                                    <Wrench /> {canChange ? "Edit" : "Show"}
                                </a>
                                {canChange && (
                                    <>
                                        <button
                                            type="button"
                                            role="switch"
                                            aria-checked={rule.enabled}
                                            aria-label={`Enabled: ${called(rule)}`}
                                            disabled={task.busy}
                                            onClick={() => toggle(rule)}
                                        >
                                            {rule.enabled ? "On" : "Off"}
                                        </button>
                                        <button
                                            type="button"
                                            id={`up-${rule.id}`}
                                            aria-label={`Move ${called(rule)} up`}
                                            disabled={!canMove || task.busy || place === 1}
                                            onClick={() => {
                                                focusOn.current = `up-${rule.id}`;
                                                move(rule, place - 1);
                                            }}
                                        >
                                            ↑
                                        </button>
                                        <button
                                            type="button"
                                            id={`down-${rule.id}`}
                                            aria-label={`Move ${called(rule)} down`}
                                            disabled={!canMove || task.busy || place === listed.total}
                                            onClick={() => {
                                                focusOn.current = `down-${rule.id}`;
                                                move(rule, place + 1);
                                            }}
                                        >
                                            ↓
                                        </button>
                                        {rule.action === "log" && (
                                            <button
                                                type="button"
                                                aria-label={`Block from now on: ${called(rule)}`}
                                                disabled={task.busy}
                                                onClick={() => block(rule)}
                                            >
                                                Block from now on
                                            </button>
                                        )}
                                        <button
                                            type="button"
                                            aria-label={`Duplicate ${called(rule)}`}
                                            disabled={task.busy}
                                            onClick={() => duplicate(rule)}
                                        >
                                            Duplicate
                                        </button>
                                        <button
                                            type="button"
                                            class="danger"
                                            aria-label={`Delete ${called(rule)}`}
                                            disabled={task.busy}
                                            onClick={() => remove(rule)}
                                        >
                                            Delete
                                        </button>
                                    </>
                                )}
                            </div>
                        </li>
                    );
                })}
            </ol>
            {listed.total === 0 && <p class="quiet">{kind.empty}</p>}
            {listed.total > 0 && listed.found === 0 && (
                <p class="quiet">No rule has that in it.</p>
            )}
            <Pages page={Math.min(page, pages)} pages={pages} total={listed.found} go={setPage} />
        </section>
    );
}

function Wrench() {
    return (
        <svg width="16" height="16" viewBox="0 0 16 16" fill="none" aria-hidden="true">
            <path
                d="M9.8 2.1a3.6 3.6 0 0 0-2.5 4.8L2.2 12a1.3 1.3 0 0 0 1.8 1.8l5.1-5.1a3.6 3.6 0 0 0 4.8-4.3l-2.1 2-1.9-.5-.5-1.9z"
                stroke="currentColor"
                stroke-width="1.4"
                stroke-linejoin="round"
            />
        </svg>
    );
}
