// Asks before something goes for good, and names what goes with it.

import type { ComponentChildren } from "preact";
import { call } from "../api";
import { SubmitOrCancel, submitting } from "../inputs";
import { Dialog, Notice, useLoaded, useTask } from "../ui";
import { isLate } from "./meanwhile";

interface Loss {
    what?: string;
    ca_keys?: number;
    client_certificates?: number;
    server_keys?: number;
}

function words(loss: Loss): string[] {
    const parts: [number | undefined, string, string][] = [
        [loss.ca_keys, "key of a CA", "keys of CAs"],
        [loss.client_certificates, "client certificate", "client certificates"],
        [loss.server_keys, "server certificate with its key", "server certificates with their keys"],
    ];
    return parts.flatMap(([count, one, many]) =>
        count === undefined || count === 0
            ? []
            : [`${count.toLocaleString()} ${count === 1 ? one : many}`],
    );
}

export function Confirm(props: {
    title: string;
    button: string;
    /** The call that does it; tried first. */
    path: string;
    close: () => void;
    done: () => void;
    children: ComponentChildren;
}) {
    const tried = useLoaded(
        () => call<{ lost?: Loss } | null>("DELETE", `${props.path}?dry_run=true`),
        [props.path],
        { about: [] },
    );
    const task = useTask();
    const go = () =>
        task.run(async () => {
            try {
                await call("DELETE", props.path, undefined, tried.data?.revision ?? null);
            } catch (error) {
                // What is lost may be another thing by now: it is looked at again.
                if (isLate(error)) tried.reload();
                throw error;
            }
            props.done();
        });
    const lost = words(tried.data?.result?.lost ?? {});
    return (
        <Dialog title={props.title} close={props.close}>
            <form onSubmit={submitting(go)}>
                {props.children}
                {lost.length > 0 && (
                    <Notice kind="warning">Lost for good: {lost.join(", ")}.</Notice>
                )}
                {tried.error !== null && <Notice kind="error">{tried.error}</Notice>}
                {task.error !== null && <Notice kind="error">{task.error}</Notice>}
                <SubmitOrCancel cancel={props.close} disabled={task.busy || tried.busy || tried.error !== null} danger>
                    {props.button}
                </SubmitOrCancel>
            </form>
        </Dialog>
    );
}
