// One rule: its name, the Expression Builder or the editor, the action. A rule that another person has
// changed meanwhile is not overwritten: the difference is shown first.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Form, Host, Lint, Rule, Ruleset, Session, Zone } from "../api";
import { OWN, all, may } from "../api";
import { go, link } from "../router";
import type { Vocabulary, Written } from "../rules";
import { addRule, changeRule, loadRules, loadSeen, loadVocabulary, preview, takeBegun, written } from "../rules";
import { Field, Notice, TextInput, Value, message, submitting, useTask } from "../ui";
import { Builder, FIRST_ROW } from "./builder";
import { ExpressionEditor } from "./expression-editor";

interface Opened {
    ruleset: Ruleset | null;
    rule: Rule | null;
    vocabulary: Vocabulary;
    hosts: string[];
}

async function open(zone: Zone, id: string): Promise<Opened> {
    const [ruleset, vocabulary, hosts] = await Promise.all([
        loadRules(zone),
        loadVocabulary(),
        all<Host>(`${OWN}/zones/${zone.id}/hosts`),
    ]);
    const rule = ruleset?.rules.find((one) => one.id === id) ?? null;
    return { ruleset, rule, vocabulary, hosts: hosts.map((host) => host.name) };
}

export function RulePage(props: { zone: Zone; session: Session; id: string }) {
    const { zone, session, id } = props;
    const [state, setState] = useState<Opened | null>(null);
    const [wrong, setWrong] = useState<string | null>(null);
    // Once: what is being written is not to change under the hands.
    useEffect(() => {
        open(zone, id).then(setState, (error: unknown) => setWrong(message(error)));
    }, []);
    return (
        <>
            <p class="crumbs">
                <a href={link("zones", zone.name, "rules")}>Custom rules</a>
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
                    The rule is gone.{" "}
                    <a href={link("zones", zone.name, "rules")}>To the custom rules</a>
                </Notice>
            )}
            {state !== null && (id === "new" || state.rule !== null) && (
                <RuleForm zone={zone} opened={state} canChange={may(session, "rules")} />
            )}
        </>
    );
}

const ACTIONS = ["block", "log"];

/** After the last change and before the gateway is asked what it makes of it. */
const PAUSE_MS = 250;

function RuleForm(props: { zone: Zone; opened: Opened; canChange: boolean }) {
    const { zone, opened, canChange } = props;
    const [base, setBase] = useState(opened.rule);
    const [begun] = useState(() => (opened.rule === null ? takeBegun() : null));
    const first: Written = opened.rule
        ? written(opened.rule)
        : { description: "", expression: "", action: "block", enabled: true, ...begun };
    const [rule, setRule] = useState<Written>(first);
    const blank = opened.rule === null && begun === null;
    const [form, setForm] = useState<Form | null>(
        blank ? { groups: [{ rows: [FIRST_ROW] }] } : null,
    );
    const [mode, setMode] = useState<"builder" | "editor" | null>(blank ? "builder" : null);
    const [shape, setShape] = useState<Form | null>(null);
    const [wrong, setWrong] = useState<string | null>(null);
    const [lints, setLints] = useState<Lint[]>([]);
    // Grows when the text is replaced by another hand than that in the editor.
    const [replaced, setReplaced] = useState(0);
    const [newer, setNewer] = useState<Rule | null>(null);
    const task = useTask();
    const change = (part: Partial<Written>) => setRule((before) => ({ ...before, ...part }));
    const asked = useRef(0);

    // What the gateway makes of it: of the rows, or of the text.
    useEffect(() => {
        if (mode === "editor" && rule.expression.trim() === "") {
            setWrong("Write an expression: what a request must be for the rule to act.");
            return;
        }
        asked.current += 1;
        const mine = asked.current;
        const of =
            mode === "builder" && form !== null ? { form } : { expression: rule.expression };
        const timer = setTimeout(() => {
            preview(of).then(
                (found) => {
                    if (mine !== asked.current) return;
                    setWrong(null);
                    setLints(found.lints);
                    setShape(found.form);
                    if (mode === "builder") change({ expression: found.expression });
                    if (mode === null) {
                        // The wrench opens the builder, where that can show the rule.
                        setForm(found.form);
                        setMode(found.form === null ? "editor" : "builder");
                    }
                },
                (error: unknown) => {
                    if (mine !== asked.current) return;
                    setWrong(message(error));
                    setShape(null);
                    setLints([]);
                    if (mode === null) setMode("editor");
                },
            );
        }, mode === null ? 0 : PAUSE_MS);
        return () => clearTimeout(timer);
    }, [mode, mode === "builder" ? JSON.stringify(form) : rule.expression]);

    const finish = (enabled: boolean) =>
        task.run(async () => {
            const { ruleset: now, revision } = await loadSeen(zone);
            if (base === null || now === null) {
                await addRule(zone, now, { ...rule, enabled });
            } else {
                const theirs = now.rules.find((one) => one.id === base.id);
                if (theirs === undefined) {
                    throw new Error(
                        "Another person has deleted this rule. Copy the expression and create a new one.",
                    );
                }
                if (theirs.version !== base.version) {
                    setNewer(theirs);
                    return;
                }
                const { description, expression, action } = rule;
                const parameters = action === base.action ? {} : { action_parameters: null };
                const change = { description, expression, action, enabled, ...parameters };
                // Between the look and this, too.
                await changeRule(zone, now, base.id, change, revision);
            }
            go("zones", zone.name, "rules");
        });

    if (mode === null) {
        return (
            <p class="quiet" role="status">
                Reading the expression…
            </p>
        );
    }
    const toBuilder = () => {
        if (shape === null) return;
        setForm(shape);
        setMode("builder");
    };
    const actions = ACTIONS.includes(rule.action) ? ACTIONS : [...ACTIONS, rule.action];
    return (
        <form class="card" onSubmit={submitting(() => finish(true))}>
            {newer !== null && (
                <Notice kind="error">
                    <strong>Another person has changed this rule since it was opened.</strong>
                    <p>
                        Theirs, now in force ({newer.enabled ? "on" : "off"}, {newer.action}):{" "}
                        <Value text={newer.description} />
                    </p>
                    <pre class="code">
                        <Value text={newer.expression} code />
                    </pre>
                    <div class="actions start">
                        <button
                            type="button"
                            onClick={() => {
                                setBase(newer);
                                setRule(written(newer));
                                setReplaced(replaced + 1);
                                setForm(null);
                                setMode(null);
                                setNewer(null);
                            }}
                        >
                            Take theirs
                        </button>
                        <button
                            type="button"
                            onClick={() => {
                                setBase(newer);
                                setNewer(null);
                            }}
                        >
                            Go on with mine
                        </button>
                    </div>
                </Notice>
            )}
            <TextInput
                label="Rule name"
                value={rule.description}
                set={(description) => change({ description })}
                required
            />
            <div class="title">
                <h2>When incoming requests match</h2>
                <div class="actions">
                    {mode === "builder" ? (
                        <button type="button" onClick={() => setMode("editor")}>
                            Edit expression
                        </button>
                    ) : (
                        <button type="button" disabled={shape === null} onClick={toBuilder}>
                            Use expression builder
                        </button>
                    )}
                </div>
            </div>
            {mode === "builder" && form !== null ? (
                <Builder
                    form={form}
                    set={setForm}
                    vocabulary={opened.vocabulary}
                    hosts={opened.hosts}
                />
            ) : (
                <>
                    <ExpressionEditor
                        key={replaced}
                        text={rule.expression}
                        set={(expression) => change({ expression })}
                    />
                    {shape === null && wrong === null && (
                        <p class="hint">
                            The builder cannot show this expression: it has nested parts, functions or
                            fields that rows have no place for. Here it stays as it is.
                        </p>
                    )}
                </>
            )}
            {mode === "builder" && (
                <>
                    <h2 id="preview">Expression Preview</h2>
                    <pre class="code" tabIndex={0} aria-labelledby="preview" aria-live="polite">
                        {rule.expression === "" ? "…" : rule.expression}
                    </pre>
                </>
            )}
            {wrong !== null && (
                <Notice kind="error">
                    <pre class="plain">{wrong}</pre>
                </Notice>
            )}
            {lints.map((lint) => (
                <Notice kind="warning">
                    {lint.message}
                    {lint.suggestion !== null && canChange && (
                        <p>
                            <button
                                type="button"
                                onClick={() => {
                                    change({ expression: lint.suggestion ?? rule.expression });
                                    setReplaced(replaced + 1);
                                    setMode("editor");
                                }}
                            >
                                Use the correction
                            </button>{" "}
                            <code>{lint.suggestion}</code>
                        </p>
                    )}
                </Notice>
            ))}
            <h2>Then take action</h2>
            <Field
                label="Choose action"
                hint="Log first, look at what it would have blocked, and then block."
            >
                {(id, hint) => (
                    <select
                        id={id}
                        value={rule.action}
                        aria-describedby={hint}
                        onChange={(event) => change({ action: event.currentTarget.value })}
                    >
                        {actions.map((one) => (
                            <option value={one}>
                                {one.charAt(0).toUpperCase() + one.slice(1)}
                            </option>
                        ))}
                    </select>
                )}
            </Field>
            {task.error !== null && <Notice kind="error">{task.error}</Notice>}
            <div class="actions">
                <a class="button" href={link("zones", zone.name, "rules")}>
                    {canChange ? "Cancel" : "Back"}
                </a>
                {canChange && (
                    <>
                        <button
                            type="button"
                            disabled={task.busy || wrong !== null || rule.expression === ""}
                            onClick={() => finish(false)}
                        >
                            Save as Draft
                        </button>
                        <button
                            type="submit"
                            class="primary"
                            disabled={task.busy || wrong !== null || rule.expression === ""}
                        >
                            Deploy
                        </button>
                    </>
                )}
            </div>
        </form>
    );
}
