// One rule of a kind beside custom rules: its expression, and what it does as the API writes it.

import { useEffect, useState } from "preact/hooks";
import type { Ruleset, Session, Zone } from "../api";
import { ApiError, may } from "../api";
import { go, link } from "../router";
import type { Kind, Written } from "../rules";
import { addRule, changeRule, loadSeen, written } from "../rules";
import { Field, Notice, TextInput, message, submitting, useTask } from "../ui";
import { ExpressionEditor } from "./expression-editor";

interface Opened {
    ruleset: Ruleset | null;
    rule: Written;
    /** The revision that was seen: what others change from then on is not overwritten. */
    revision: string | null;
}

export function PhaseRule(props: { zone: Zone; session: Session; kind: Kind; id: string }) {
    const { zone, session, kind, id } = props;
    const [opened, setOpened] = useState<Opened | null>(null);
    const [wrong, setWrong] = useState<string | null>(null);
    const load = () => {
        setOpened(null);
        loadSeen(zone, kind).then(
            ({ ruleset, revision }) => {
                const found = ruleset?.rules.find((one) => one.id === id);
                const rule = found === undefined ? kind.example : written(found);
                if (rule === null || (found === undefined && id !== "new")) {
                    setWrong("The rule is gone.");
                } else {
                    setOpened({ ruleset, rule, revision });
                }
            },
            (error: unknown) => setWrong(message(error)),
        );
    };
    useEffect(load, []);
    return (
        <>
            <p class="crumbs">
                <a href={link("zones", zone.name, kind.segment)}>{kind.title}</a>
            </p>
            <div class="title">
                <h1 tabIndex={-1}>{id === "new" ? "Create rule" : "Edit rule"}</h1>
                <span class="quiet">{zone.name}</span>
            </div>
            {wrong !== null && <Notice kind="error">{wrong}</Notice>}
            {opened !== null && (
                <PhaseForm
                    zone={zone}
                    kind={kind}
                    id={id}
                    opened={opened}
                    canChange={may(session, "rules")}
                    reload={load}
                />
            )}
        </>
    );
}

/** What a rule does, as text: everything but its name, its expression and whether it is on. */
function doing(rule: Written): string {
    const { action, action_parameters, ratelimit } = rule;
    return JSON.stringify({ action, action_parameters, ratelimit }, null, 4);
}

function PhaseForm(props: {
    zone: Zone;
    kind: Kind;
    id: string;
    opened: Opened;
    canChange: boolean;
    reload: () => void;
}) {
    const { zone, kind, id, opened, canChange } = props;
    const [rule, setRule] = useState(opened.rule);
    const [does, setDoes] = useState(() => doing(opened.rule));
    const [newer, setNewer] = useState<string | null>(null);
    const task = useTask();
    const finish = (enabled: boolean) =>
        task.run(async () => {
            setNewer(null);
            let parts: Partial<Written>;
            try {
                parts = JSON.parse(does) as Partial<Written>;
            } catch (error) {
                throw new Error(`What it does is not JSON: ${message(error)}`);
            }
            const { description, expression } = rule;
            // What was taken out of the text is taken out of the rule.
            const whole: Written = {
                action: rule.action,
                ...(rule.action_parameters === undefined ? {} : { action_parameters: null }),
                ...parts,
                description,
                expression,
                enabled,
            };
            try {
                if (id === "new" || opened.ruleset === null) {
                    await addRule(zone, opened.ruleset, whole, undefined, kind);
                } else {
                    await changeRule(zone, opened.ruleset, id, whole, opened.revision);
                }
            } catch (error) {
                if (!(error instanceof ApiError) || error.status !== 412) throw error;
                const { ruleset } = await loadSeen(zone, kind);
                const theirs = ruleset?.rules.find((one) => one.id === id);
                setNewer(
                    theirs === undefined
                        ? "It is gone."
                        : `${theirs.description}\n${theirs.expression}\n${doing(written(theirs))}`,
                );
                return;
            }
            go("zones", zone.name, kind.segment);
        });
    return (
        <form class="card" onSubmit={submitting(() => finish(true))}>
            {newer !== null && (
                <Notice kind="error">
                    <strong>Another person has changed this rule since it was opened.</strong>
                    <pre class="code">{newer}</pre>
                    <button type="button" onClick={props.reload}>
                        Take theirs
                    </button>
                </Notice>
            )}
            <TextInput
                label="Rule name"
                value={rule.description}
                set={(description) => setRule({ ...rule, description })}
            />
            <h2>When requests match</h2>
            <ExpressionEditor
                text={opened.rule.expression}
                set={(expression) => setRule((before) => ({ ...before, expression }))}
            />
            <Field
                label="What it does"
                hint="As the API writes it. The gateway says what is wrong with it, and changes nothing then."
            >
                {(name, hint) => (
                    <textarea
                        id={name}
                        class="code"
                        rows={12}
                        required
                        spellcheck={false}
                        aria-describedby={hint}
                        value={does}
                        onInput={(event) => setDoes(event.currentTarget.value)}
                    />
                )}
            </Field>
            {task.error !== null && (
                <Notice kind="error">
                    <pre class="plain">{task.error}</pre>
                </Notice>
            )}
            {canChange && (
                <div class="actions">
                    <button type="button" disabled={task.busy} onClick={() => finish(false)}>
                        Save as Draft
                    </button>
                    <button type="submit" class="primary" disabled={task.busy}>
                        Deploy
                    </button>
                </div>
            )}
        </form>
    );
}
