// Signing in with a token, for those who do not come by a link.

import { useEffect, useState } from "preact/hooks";
import type { Session } from "../api";
import { signIn } from "../api";
import { submitting, TextInput } from "../inputs";
import { Notice, useTask } from "../ui";

export function SignIn(props: { why: string | null; signedIn: (session: Session) => void }) {
    const [token, setToken] = useState("");
    const task = useTask();
    useEffect(() => {
        document.title = "Sign in · Postern";
    }, []);
    const enter = () => task.run(async () => props.signedIn(await signIn({ token })));
    return (
        <main class="door">
            <h1>Postern</h1>
            {props.why !== null && task.error === null && (
                <Notice kind="warning">{props.why}</Notice>
            )}
            {task.error !== null && <Notice kind="error">{task.error}</Notice>}
            <form class="card" onSubmit={submitting(enter)}>
                <h2>Sign in</h2>
                <TextInput
                    label="Token"
                    type="password"
                    value={token}
                    set={setToken}
                    required
                    autofocus
                    hint={
                        <>
                            <code>postern token create NAME --scope all</code> makes one. It is not
                            kept by this page.
                        </>
                    }
                />
                <button type="submit" class="primary" disabled={task.busy}>
                    Sign in
                </button>
            </form>
            <p class="quiet">
                On the gateway's machine, <code>postern dashboard</code> prints a link that signs in
                without a token.
            </p>
        </main>
    );
}
