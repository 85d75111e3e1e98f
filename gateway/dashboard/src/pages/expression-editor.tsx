// The editor of expressions as a part of a page. Its code comes when it is first shown. Once it is
// there, the text is the editor's: for another one, give it another key.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Editor } from "../editor";
import { loadVocabulary, preview } from "../rules";
import { message, Notice } from "../ui";

export function ExpressionEditor(props: { text: string; set: (text: string) => void }) {
    const parent = useRef<HTMLDivElement>(null);
    const editor = useRef<Editor | null>(null);
    const [wrong, setWrong] = useState<string | null>(null);
    const [ready, setReady] = useState(false);
    const latest = useRef(props.set);
    latest.current = props.set;
    useEffect(() => {
        let here = true;
        Promise.all([import("../editor"), loadVocabulary()]).then(
            ([{ open }, vocabulary]) => {
                if (!here || parent.current === null) return;
                editor.current = open({
                    parent: parent.current,
                    label: "Expression",
                    text: props.text,
                    vocabulary,
                    changed: (text) => latest.current(text),
                    check: async (expression) => {
                        try {
                            await preview({ expression });
                            return null;
                        } catch (error) {
                            return message(error);
                        }
                    },
                });
                setReady(true);
            },
            (error: unknown) => setWrong(message(error)),
        );
        return () => {
            here = false;
            editor.current?.destroy();
        };
    }, []);
    return (
        <>
            {wrong !== null && <Notice kind="error">The editor cannot be shown. {wrong}</Notice>}
            {!ready && wrong === null && (
                <p class="quiet" role="status">
                    Loading the editor…
                </p>
            )}
            <div class="editor" ref={parent} />
            <p class="hint">
                Ctrl+Space proposes fields and functions. Errors are underlined where they are.
            </p>
        </>
    );
}
