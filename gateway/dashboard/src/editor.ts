// The editor of expressions: CodeMirror with the language's words, and errors underlined where the
// gateway's own parser sees them. Loaded when it is first shown. It lives in a shadow root, where
// CodeMirror's styles are constructed sheets, which the page's policy permits.

import {
    autocompletion,
    closeBrackets,
    closeBracketsKeymap,
    completionKeymap,
} from "@codemirror/autocomplete";
import type { CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import {
    HighlightStyle,
    StreamLanguage,
    bracketMatching,
    syntaxHighlighting,
} from "@codemirror/language";
import { linter } from "@codemirror/lint";
import { EditorState } from "@codemirror/state";
import { EditorView, keymap, placeholder } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { aboutField } from "./fields";
import type { Vocabulary } from "./rules";
import { errorPlace } from "./rules";

const WORDS = /^(and|or|not|xor|in|eq|ne|lt|le|gt|ge|contains|matches|wildcard|strict|true|false)\b/;

const language = StreamLanguage.define<{ raw: string | null }>({
    name: "rules",
    startState: () => ({ raw: null }),
    token: (stream) => {
        if (stream.eatSpace()) return null;
        if (stream.match(/^r(#*)"[^]*?"\1/) || stream.match(/^"(?:[^"\\]|\\.)*"?/)) return "string";
        if (stream.match(WORDS)) return "keyword";
        if (stream.match(/^\$[\w.]+/)) return "variableName.special";
        if (stream.match(/^[a-z_][\w.]*(?=\()/)) return "variableName.function";
        if (stream.match(/^[a-z_][\w.]*/)) return "variableName";
        if (stream.match(/^[0-9][0-9a-fA-F.:/]*/)) return "number";
        if (stream.match(/^(&&|\|\||\^\^|==|!=|<=|>=|[<>~!])/)) return "operator";
        stream.next();
        return "bracket";
    },
});

// Colours of the page; they follow light and dark by themselves.
const colours = HighlightStyle.define([
    { tag: tags.keyword, color: "var(--accent)", fontWeight: "600" },
    { tag: tags.operator, color: "var(--accent)" },
    { tag: tags.string, color: "var(--good)" },
    { tag: tags.number, color: "var(--warn)" },
    { tag: tags.special(tags.variableName), color: "var(--warn)" },
    { tag: tags.function(tags.variableName), color: "var(--text)", fontStyle: "italic" },
    { tag: tags.variableName, color: "var(--text)" },
]);

const look = EditorView.theme({
    "&": {
        backgroundColor: "var(--card)",
        color: "var(--text)",
        border: "1px solid var(--edge)",
        borderRadius: "6px",
        fontSize: "0.95rem",
    },
    "&.cm-focused": { outline: "3px solid var(--accent)", outlineOffset: "2px" },
    ".cm-content": { caretColor: "var(--text)", minHeight: "6rem" },
    ".cm-cursor": { borderLeftColor: "var(--text)" },
    ".cm-scroller": { fontFamily: 'ui-monospace, "DejaVu Sans Mono", monospace' },
    ".cm-placeholder": { color: "var(--quiet)" },
    ".cm-tooltip": {
        backgroundColor: "var(--card)",
        color: "var(--text)",
        border: "1px solid var(--edge)",
    },
    ".cm-tooltip-autocomplete ul li[aria-selected]": {
        backgroundColor: "var(--accent)",
        color: "var(--on-accent)",
    },
    ".cm-completionDetail": { color: "inherit", fontStyle: "normal" },
    "& .cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground":
        { backgroundColor: "var(--info-back)" },
    // By itself it is a picture in the style sheet, which the page's policy does not permit.
    ".cm-lintRange-error": {
        backgroundImage: "none",
        textDecoration: "underline wavy var(--bad)",
    },
    "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--info-back)" },
});

/** What is typed over a selection. The browser would keep the look of what it replaces in a style of its
 * own, which the page's policy does not permit. Brackets and quotes go around a selection. */
const replacing = EditorView.domEventHandlers({
    beforeinput: (event, view) => {
        const { data, inputType } = event;
        const plain = inputType === "insertText" && data !== null && !/^["'([{]$/.test(data);
        if (!plain || event.isComposing || view.state.selection.main.empty) return false;
        view.dispatch(view.state.replaceSelection(data), {
            userEvent: "input.type",
            scrollIntoView: true,
        });
        return true;
    },
});

export interface Editor {
    destroy: () => void;
}

export interface Options {
    parent: HTMLElement;
    label: string;
    text: string;
    vocabulary: Vocabulary;
    changed: (text: string) => void;
    /** What the gateway says of a text: null when it is good. */
    check: (text: string) => Promise<string | null>;
}

export function open(options: Options): Editor {
    const root = options.parent.shadowRoot ?? options.parent.attachShadow({ mode: "open" });
    const completions = [
        ...options.vocabulary.fields.map((field) => ({
            label: field.name,
            type: "variable",
            detail: field.type,
            info: aboutField(field.name) ?? `A ${field.type} of the ${field.lifetime}`,
        })),
        ...options.vocabulary.functions.map((one) => ({
            label: one.name,
            type: "function",
            detail: one.signature.slice(one.name.length),
        })),
        ...["and", "or", "not", "in", "eq", "ne", "contains", "matches", "wildcard"].map(
            (label) => ({ label, type: "keyword" }),
        ),
    ];
    const complete = (context: CompletionContext): CompletionResult | null => {
        const word = context.matchBefore(/[\w.]+/);
        if (word === null && !context.explicit) return null;
        return { from: word?.from ?? context.pos, options: completions, validFor: /^[\w.]*$/ };
    };
    const check = linter(
        async (view) => {
            const text = view.state.doc.toString();
            if (text.trim() === "") return [];
            const message = await options.check(text);
            if (message === null || view.state.doc.toString() !== text) return [];
            const place = errorPlace(message, text) ?? { from: 0, to: text.length, message };
            return [{ ...place, severity: "error" as const }];
        },
        { delay: 250 },
    );
    const view = new EditorView({
        root,
        parent: root as unknown as Element,
        state: EditorState.create({
            doc: options.text,
            extensions: [
                history(),
                closeBrackets(),
                bracketMatching(),
                language,
                syntaxHighlighting(colours),
                look,
                check,
                autocompletion({ override: [complete] }),
                placeholder("not cf.tls_client_auth.cert_verified"),
                EditorView.lineWrapping,
                replacing,
                EditorView.contentAttributes.of({ "aria-label": options.label }),
                // Tab leaves the editor, as everywhere on the page.
                keymap.of([
                    ...closeBracketsKeymap,
                    ...completionKeymap,
                    ...historyKeymap,
                    ...defaultKeymap,
                ]),
                EditorView.updateListener.of((update) => {
                    if (update.docChanged) options.changed(update.state.doc.toString());
                }),
            ],
        }),
    });
    return {
        destroy: () => view.destroy(),
    };
}
