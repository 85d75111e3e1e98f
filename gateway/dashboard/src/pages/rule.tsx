// One rule of any kind: its name, which requests it is for, and what it does with them. A rule that
// another person has changed meanwhile is not overwritten: the difference is shown first.

import { useEffect, useState } from "preact/hooks";
import type { Host, Rule, Session, Zone } from "../api";
import { ApiError, OWN, all, may } from "../api";
import { submitting, TextInput } from "../inputs";
import { go, link } from "../router";
import type { Kind, List, Vocabulary, Written } from "../rules";
import { CUSTOM, addRule, changeRule, loadLists, loadRule, loadVocabulary, takeBegun, tryRule, written } from "../rules";
import { message, Notice, useTask } from "../ui";
import { Acting } from "./acting";
import { Matching } from "./matching";
import { Meanwhile, differences } from "./meanwhile";
import { Tried } from "./tried";

interface Opened {
    /** The ruleset that the rule is or will be in; nothing before the first rule. */
    ruleset: string | null;
    rule: Rule | null;
    /** The revision that was seen: what others change from then on is not overwritten. */
    revision: string | null;
    vocabulary: Vocabulary;
    hosts: string[];
    lists: List[];
}

async function open(zone: Zone, kind: Kind, id: string): Promise<Opened> {
    const [found, vocabulary, hosts, lists] = await Promise.all([
        loadRule(zone, kind, id),
        loadVocabulary(),
        all<Host>(`${OWN}/zones/${zone.id}/hosts`),
        loadLists(),
    ]);
    return { ...found, vocabulary, hosts: hosts.map((host) => host.name), lists };
}

export function RulePage(props: { zone: Zone; session: Session; kind: Kind; id: string }) {
    const { zone, session, kind, id } = props;
    const [state, setState] = useState<Opened | null>(null);
    const [wrong, setWrong] = useState<string | null>(null);
    // Once: what is being written is not to change under the hands.
    useEffect(() => {
        open(zone, kind, id).then(setState, (error: unknown) => setWrong(message(error)));
    }, []);
    const list = link("zones", zone.name, kind.segment);
    return (
        <>
            <p class="crumbs">
                <a href={list}>{kind.title}</a>
            </p>
            <div class="title">
                <h1 tabIndex={-1}>{id === "new" ? "Create rule" : "Edit rule"}</h1>
                <span class="quiet">{zone.name}</span>
            </div>
            {wrong !== null && <Notice kind="error">{wrong}</Notice>}
            {state === null && wrong === null && (
                <p class="quiet" role="status">
                    Loading the rule…
                </p>
            )}
            {state !== null && id !== "new" && state.rule === null && (
                <Notice kind="warning">
                    The rule is gone. <a href={list}>To the list</a>
                </Notice>
            )}
            {state !== null && (id === "new" || state.rule !== null) && (
                <RuleForm zone={zone} kind={kind} opened={state} canChange={may(session, "rules")} />
            )}
        </>
    );
}

/** After the last change and before the gateway is asked whether it would take the rule. */
const TRY_PAUSE_MS = 500;

/** What of a rule is written when it takes the place of what is there: what was taken out goes. */
function replacing(rule: Written, base: Rule): Written {
    const was = base.action_parameters !== undefined;
    return {
        ...rule,
        ...(rule.action_parameters === undefined && was ? { action_parameters: null } : {}),
    };
}

function RuleForm(props: { zone: Zone; kind: Kind; opened: Opened; canChange: boolean }) {
    const { zone, kind, opened, canChange } = props;
    const [base, setBase] = useState(opened.rule);
    const [revision, setRevision] = useState(opened.revision);
    const [rule, setRule] = useState<Written>(() =>
        opened.rule !== null ? written(opened.rule) : { ...kind.example, ...takeBegun() },
    );
    // Grows when the whole rule is replaced by another one.
    const [turn, setTurn] = useState(0);
    const [good, setGood] = useState(false);
    const [odd, setOdd] = useState<string | null>(null);
    const [refused, setRefused] = useState<string | null>(null);
    const [newer, setNewer] = useState<{ rule: Rule; revision: string | null } | null>(null);
    const task = useTask();
    const change = (part: Partial<Written>) => setRule((before) => ({ ...before, ...part }));

    // What the gateway would say of it. Nothing is said of a form that was not touched yet.
    const now = JSON.stringify(rule);
    const [untouched] = useState(now);
    useEffect(() => {
        if (!canChange || !good || now === untouched) return;
        let current = true;
        const timer = setTimeout(() => {
            tryRule(zone, opened.ruleset, rule, kind).then(
                () => current && setRefused(null),
                (error: unknown) => {
                    const isOurs = error instanceof ApiError && error.status === 400;
                    if (current) setRefused(isOurs ? error.message : null);
                },
            );
        }, TRY_PAUSE_MS);
        return () => {
            current = false;
            clearTimeout(timer);
        };
    }, [now, good]);

    const finish = (enabled: boolean) =>
        task.run(async () => {
            setNewer(null);
            const whole = { ...rule, enabled };
            if (base === null) {
                const { ruleset } = await loadRule(zone, kind, "new");
                await addRule(zone, ruleset, whole, kind);
            } else {
                const show = async () => {
                    const theirs = await loadRule(zone, kind, base.id);
                    if (theirs.rule === null) {
                        throw new Error(
                            "Another person has deleted this rule. Copy the expression and create a new one.",
                        );
                    }
                    setNewer({ rule: theirs.rule, revision: theirs.revision });
                };
                try {
                    const ruleset = opened.ruleset ?? "";
                    await changeRule(zone, ruleset, base.id, replacing(whole, base), revision);
                } catch (error) {
                    const isGone = error instanceof ApiError && [404, 412].includes(error.status);
                    if (!isGone) throw error;
                    await show();
                    return;
                }
            }
            go("zones", zone.name, kind.segment);
        });
    const settle = (take: boolean) => {
        if (newer === null) return;
        setBase(newer.rule);
        setRevision(newer.revision);
        if (take) {
            setRule(written(newer.rule));
            setTurn(turn + 1);
        }
        setNewer(null);
    };
    const cannot = task.busy || !good || odd !== null || rule.expression === "";
    return (
        <form class="card" onSubmit={submitting(() => finish(true))}>
            {newer !== null && base !== null && (
                <Meanwhile
                    what="this rule"
                    of={differences(
                        parts(written(base)),
                        parts(written(newer.rule)),
                        parts({ ...rule, enabled: base.enabled }),
                    )}
                    take={() => settle(true)}
                    keep={() => settle(false)}
                />
            )}
            <TextInput
                label="Rule name"
                value={rule.description}
                set={(description) => change({ description })}
                required
            />
            <Matching
                key={`matching ${turn}`}
                kind={kind}
                expression={rule.expression}
                set={(expression) => change({ expression })}
                vocabulary={opened.vocabulary}
                hosts={opened.hosts}
                lists={opened.lists}
                canChange={canChange}
                settled={setGood}
            />
            <Acting
                kind={kind}
                form={turn}
                rule={rule}
                set={change}
                vocabulary={opened.vocabulary}
                wrong={setOdd}
            />
            {kind === CUSTOM && rule.action !== "skip" && (
                <Tried zone={zone} rule={rule} id={base?.id ?? null} disabled={!good} />
            )}
            {odd !== null && <Notice kind="error">{odd}</Notice>}
            {refused !== null && task.error === null && (
                <Notice kind="warning">
                    <pre class="plain">{refused}</pre>
                </Notice>
            )}
            {task.error !== null && (
                <Notice kind="error">
                    <pre class="plain">{task.error}</pre>
                </Notice>
            )}
            <div class="actions">
                <a class="button" href={link("zones", zone.name, kind.segment)}>
                    {canChange ? "Cancel" : "Back"}
                </a>
                {canChange && (
                    <>
                        <button type="button" disabled={cannot} onClick={() => finish(false)}>
                            Save as Draft
                        </button>
                        <button type="submit" class="primary" disabled={cannot}>
                            Deploy
                        </button>
                    </>
                )}
            </div>
        </form>
    );
}

/** The parts of a rule that may differ, with what people call them. */
function parts(of: Written): [string, string][] {
    const does = { ...(of.action_parameters ?? {}), ...(of.ratelimit ?? {}) };
    return [
        ["Name", of.description],
        ["Expression", of.expression],
        ["Action", of.action],
        ["What it does", Object.keys(does).length === 0 ? "" : JSON.stringify(does)],
        ["State", of.enabled ? "on" : "off"],
    ];
}
