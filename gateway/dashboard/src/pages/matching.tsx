// Which requests a rule is for: all of them, rows in the Expression Builder, or an expression in the
// editor, with what the gateway makes of it.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Form, Lint } from "../api";
import { Radio } from "../inputs";
import type { Kind, List, Vocabulary } from "../rules";
import { CUSTOM, EVERYTHING, preview } from "../rules";
import { message, Notice, Words } from "../ui";
import { Builder, FIRST_ROW } from "./builder";
import { ExpressionEditor } from "./expression-editor";

/** After the last change and before the gateway is asked what it makes of it. */
const PAUSE_MS = 250;

/** What is odd about an expression whatever is done with what it matches. Everything else is about
 * keeping clients out. */
const ODD_ANYWHERE = [
    "exact_path",
    "raw_path",
    "path_with_query",
    "not_equal_of_missing",
    "capital_header",
    "capital_host",
    "final_dot_host",
    "no_geo_database",
];

/** Another expression than the one that it began with has to come with another key. */
export function Matching(props: {
    kind: Kind;
    expression: string;
    set: (expression: string) => void;
    vocabulary: Vocabulary;
    hosts: string[];
    lists: List[];
    canChange: boolean;
    /** Told whether the expression is one that can be saved. */
    settled: (good: boolean) => void;
}) {
    const { kind, expression, set, canChange } = props;
    const blank = expression.trim() === "";
    const [all, setAll] = useState(kind.everything && expression.trim() === EVERYTHING);
    const [form, setForm] = useState<Form | null>(
        blank || all ? { groups: [{ rows: [FIRST_ROW] }] } : null,
    );
    const [mode, setMode] = useState<"builder" | "editor" | null>(blank || all ? "builder" : null);
    const [shape, setShape] = useState<Form | null>(null);
    const [wrong, setWrong] = useState<string | null>(null);
    const [lints, setLints] = useState<Lint[]>([]);
    // Grows when the text is replaced by another hand than that in the editor.
    const [replaced, setReplaced] = useState(0);
    const asked = useRef(0);

    // What the gateway makes of it: of the rows, or of the text.
    useEffect(() => {
        asked.current += 1;
        if (all) {
            set(EVERYTHING);
            setWrong(null);
            setLints([]);
            props.settled(true);
            return;
        }
        props.settled(false);
        if (mode === "editor" && expression.trim() === "") {
            setWrong("Write an expression: what a request must be for the rule to act.");
            return;
        }
        const mine = asked.current;
        const of = mode === "builder" && form !== null ? { form } : { expression };
        const timer = setTimeout(() => {
            preview(of).then(
                (found) => {
                    if (mine !== asked.current) return;
                    setWrong(null);
                    const about = (lint: Lint) =>
                        kind === CUSTOM || ODD_ANYWHERE.includes(lint.kind);
                    setLints(found.lints.filter(about));
                    setShape(found.form);
                    if (mode === "builder") set(found.expression);
                    if (mode === null) {
                        // The wrench opens the builder, where that can show the rule.
                        setForm(found.form);
                        setMode(found.form === null ? "editor" : "builder");
                    }
                    props.settled(true);
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
    }, [all, mode, mode === "builder" ? JSON.stringify(form) : expression]);

    const toBuilder = () => {
        if (shape === null) return;
        setForm(shape);
        setMode("builder");
    };
    return (
        <>
            <div class="title">
                <h2>When incoming requests match</h2>
                {!all && mode !== null && (
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
                )}
            </div>
            {kind.everything && (
                <fieldset>
                    <legend class="hidden">Which requests</legend>
                    {[true, false].map((every) => (
                        <Radio
                            name="which"
                            title={every ? "All requests" : "Those that match an expression"}
                            checked={all === every}
                            choose={() => setAll(every)}
                        />
                    ))}
                </fieldset>
            )}
            {!all && mode === null && (
                <p class="quiet" role="status">
                    Reading the expression…
                </p>
            )}
            {!all && mode === "builder" && form !== null && (
                <>
                    <Builder
                        form={form}
                        set={setForm}
                        vocabulary={props.vocabulary}
                        hosts={props.hosts}
                        lists={props.lists}
                    />
                    <h2 id="preview">Expression Preview</h2>
                    <pre class="code" tabIndex={0} aria-labelledby="preview" aria-live="polite">
                        {expression === "" ? "…" : expression}
                    </pre>
                </>
            )}
            {!all && mode === "editor" && (
                <>
                    <ExpressionEditor key={replaced} text={expression} set={set} />
                    {shape === null && wrong === null && (
                        <p class="hint">
                            The builder cannot show this expression: it has nested parts, functions or
                            fields that rows have no place for. Here it stays as it is.
                        </p>
                    )}
                </>
            )}
            {wrong !== null && (
                <Notice kind="error">
                    <pre class="plain">{wrong}</pre>
                </Notice>
            )}
            {lints.map((lint) => (
                <Notice kind="warning">
                    <Words text={lint.message} />
                    {lint.suggestion !== null && canChange && (
                        <p>
                            <button
                                type="button"
                                onClick={() => {
                                    set(lint.suggestion ?? expression);
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
        </>
    );
}
