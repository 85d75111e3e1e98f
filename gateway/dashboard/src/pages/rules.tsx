// Rules of a zone of one kind, in the order of evaluation: switched on and off, moved, duplicated, deleted
// with undo. The wrench opens one.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Lint, Rule, Ruleset, Session, Zone } from "../api";
import { OWN, get, may } from "../api";
import { link } from "../router";
import type { Kind } from "../rules";
import { CUSTOM, KINDS, addRule, changeRule, deleteRule, loadRules, written } from "../rules";
import { Badge, Notice, Pages, Show, Value, harmless, useLoaded, useTask } from "../ui";
import { Versions } from "./versions";

/** Rules on a page: there may be 100,000. */
const PER_PAGE = 50;

interface Numbered {
    rule: Rule;
    /** Its place among all, from 1. */
    place: number;
}

export function Rules(props: { zone: Zone; session: Session; kind: Kind }) {
    const { zone, session, kind } = props;
    const rules = useLoaded(() => loadRules(zone, kind), [zone.id, kind.phase]);
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
                    {rules.data !== null && (
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
            {/* Nothing before the first rule: then there is no ruleset either. */}
            {rules.data === null && rules.error === null && !rules.busy ? (
                <Empty zone={zone} kind={kind} canChange={canChange} />
            ) : (
                <Show of={rules} what="rules">
                    {(ruleset) =>
                        ruleset === null ? (
                            <Empty zone={zone} kind={kind} canChange={canChange} />
                        ) : (
                            <List
                                zone={zone}
                                kind={kind}
                                ruleset={ruleset}
                                canChange={canChange}
                                reload={rules.reload}
                            />
                        )
                    }
                </Show>
            )}
            {versions && rules.data !== null && (
                <Versions
                    zone={zone}
                    ruleset={rules.data}
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

function List(props: {
    zone: Zone;
    kind: Kind;
    ruleset: Ruleset;
    canChange: boolean;
    reload: () => void;
}) {
    const { zone, kind, ruleset, canChange, reload } = props;
    const [text, setText] = useState("");
    const [page, setPage] = useState(1);
    const [said, say] = useState<{ text: string; undo: (() => void) | null } | null>(null);
    const [dragged, setDragged] = useState<number | null>(null);
    const [over, setOver] = useState<number | null>(null);
    const task = useTask();
    const focusOn = useRef<string | null>(null);
    const lints = useLoaded(() => get<Lint[]>(`${OWN}/zones/${zone.id}/lints`), [
        zone.id,
        ruleset.version,
    ]);
    useEffect(() => {
        // After a move the same button of the same rule has the focus, at its new place.
        if (focusOn.current === null) return;
        document.getElementById(focusOn.current)?.focus();
        focusOn.current = null;
    });

    const wanted = text.trim().toLowerCase();
    const all: Numbered[] = ruleset.rules.map((rule, index) => ({ rule, place: index + 1 }));
    const found = all.filter(({ rule }) =>
        wanted === ""
            ? true
            : `${rule.description}\n${rule.expression}\n${rule.id}`.toLowerCase().includes(wanted),
    );
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    const shown = found.slice((Math.min(page, pages) - 1) * PER_PAGE).slice(0, PER_PAGE);

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
            await changeRule(zone, ruleset, rule.id, { enabled: !rule.enabled });
            say({ text: `${called(rule)} is ${rule.enabled ? "off" : "on"}.`, undo: null });
        });
    const move = (from: Numbered, place: number) =>
        change(async () => {
            await changeRule(zone, ruleset, from.rule.id, { position: { index: place } });
            say({
                text: `${called(from.rule)} is number ${place} now.`,
                undo: () => move({ rule: from.rule, place }, from.place),
            });
            setPage(Math.ceil(place / PER_PAGE));
        });
    const duplicate = ({ rule, place }: Numbered) =>
        change(async () => {
            const copy = {
                ...written(rule),
                description: `${rule.description} (copy)`,
                enabled: false,
            };
            await addRule(zone, ruleset, copy, place + 1, kind);
            say({ text: `A copy of ${called(rule)} is below it, as a draft.`, undo: null });
        });
    const remove = ({ rule, place }: Numbered) =>
        change(async () => {
            await deleteRule(zone, ruleset, rule.id);
            say({
                text: `${called(rule)} was deleted.`,
                undo: () =>
                    change(async () => {
                        const now = await loadRules(zone, kind);
                        const last = (now?.rules.length ?? 0) + 1;
                        await addRule(zone, now, written(rule), Math.min(place, last), kind);
                        say({ text: `${called(rule)} is back.`, undo: null });
                    }),
            });
        });
    const canMove = canChange && wanted === "";

    return (
        <section class="card" aria-label="Rules in the order of evaluation">
            <div class="filters">
                <div class="field">
                    <label for="find-rule">Find in names and expressions</label>
                    <input
                        id="find-rule"
                        type="search"
                        value={text}
                        onInput={(event) => {
                            setText(event.currentTarget.value);
                            setPage(1);
                        }}
                    />
                </div>
                <p class="quiet">
                    {found.length.toLocaleString()} of {all.length.toLocaleString()} rules.{" "}
                    {kind.order}
                </p>
            </div>
            {task.error !== null && <Notice kind="error">{task.error}</Notice>}
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
                    <Notice kind="warning">{lint.message}</Notice>
                ))}
            <ol class="rules" start={shown[0]?.place ?? 1} hidden={shown.length === 0}>
                {shown.map((one) => {
                    const { rule, place } = one;
                    const odd = lints.data?.filter((lint) => lint.rule_id === rule.id) ?? [];
                    return (
                        <li
                            key={rule.id}
                            class={over === place && dragged !== place ? "over" : ""}
                            draggable={canMove}
                            onDragStart={(event) => {
                                setDragged(place);
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
                                const from = all.find((each) => each.place === dragged);
                                setDragged(null);
                                setOver(null);
                                if (from !== undefined && from.place !== place) move(from, place);
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
                            <pre class="code">
                                <Value text={rule.expression} code />
                            </pre>
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
                                                move(one, place - 1);
                                            }}
                                        >
                                            ↑
                                        </button>
                                        <button
                                            type="button"
                                            id={`down-${rule.id}`}
                                            aria-label={`Move ${called(rule)} down`}
                                            disabled={!canMove || task.busy || place === all.length}
                                            onClick={() => {
                                                focusOn.current = `down-${rule.id}`;
                                                move(one, place + 1);
                                            }}
                                        >
                                            ↓
                                        </button>
                                        <button
                                            type="button"
                                            aria-label={`Duplicate ${called(rule)}`}
                                            disabled={task.busy}
                                            onClick={() => duplicate(one)}
                                        >
                                            Duplicate
                                        </button>
                                        <button
                                            type="button"
                                            class="danger"
                                            aria-label={`Delete ${called(rule)}`}
                                            disabled={task.busy}
                                            onClick={() => remove(one)}
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
            {all.length === 0 && <p class="quiet">{kind.empty}</p>}
            {all.length > 0 && found.length === 0 && (
                <p class="quiet">No rule has that in it.</p>
            )}
            <Pages page={Math.min(page, pages)} pages={pages} total={found.length} go={setPage} />
        </section>
    );
}

/** What a rule does beside blocking or logging. */
function Does({ of }: { of: Rule }) {
    const does = of.ratelimit ?? of.action_parameters;
    if (does === undefined || does === null) return null;
    return (
        <p class="quiet">
            <Value text={JSON.stringify(does)} code />
        </p>
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
