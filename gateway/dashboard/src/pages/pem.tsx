// Text in PEM, as several forms take it.

import { Field } from "../ui";

/** Text in PEM: pasted, or a file that is dropped on it. */
export function Pem(props: {
    label: string;
    hint: string;
    value: string;
    set: (text: string) => void;
}) {
    return (
        <Field label={props.label} hint={props.hint}>
            {(id, hint) => (
                <textarea
                    id={id}
                    class="code"
                    rows={8}
                    required
                    spellcheck={false}
                    value={props.value}
                    aria-describedby={hint}
                    onInput={(event) => props.set(event.currentTarget.value)}
                    onDragOver={(event) => event.preventDefault()}
                    onDrop={(event) => {
                        event.preventDefault();
                        void event.dataTransfer?.files[0]?.slice(0, 1_000_000).text().then(props.set);
                    }}
                />
            )}
        </Field>
    );
}
