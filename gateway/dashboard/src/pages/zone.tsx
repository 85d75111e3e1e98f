// Making a zone, and deleting one with everything in it.

import { useState } from "preact/hooks";
import type { Zone } from "../api";
import { CLOUDFLARE, call } from "../api";
import { SubmitOrCancel, submitting, TextInput } from "../inputs";
import { Dialog, Notice, useTask } from "../ui";
import { Confirm } from "./confirm";

export function CreateZone({ close, done }: { close: () => void; done: () => void }) {
    const [name, setName] = useState("");
    const task = useTask();
    const create = () =>
        task.run(async () => {
            await call("POST", `${CLOUDFLARE}/zones`, { name: name.trim().toLowerCase() });
            done();
        });
    return (
        <Dialog title="Create a zone" close={close}>
            <form onSubmit={submitting(create)}>
                <TextInput
                    label="Name of the zone"
                    hint="A domain: its hosts are the name itself and those below it. It gets a managed CA, which issues client certificates."
                    placeholder="example.com"
                    value={name}
                    set={setName}
                    required
                    autofocus
                />
                {task.error !== null && <Notice kind="error">{task.error}</Notice>}
                <SubmitOrCancel cancel={close} disabled={task.busy}>
                    Create
                </SubmitOrCancel>
            </form>
        </Dialog>
    );
}

export function DeleteZone(props: { zone: Zone; close: () => void; done: () => void }) {
    const { zone, close, done } = props;
    return (
        <Confirm
            title={`Delete ${zone.name}?`}
            button="Delete it with everything in it"
            path={`${CLOUDFLARE}/zones/${zone.id}`}
            close={close}
            done={done}
        >
            <p>
                The zone <strong>{zone.name}</strong> with its hosts, rules, CAs and certificates: its
                clients are refused from now on.
            </p>
        </Confirm>
    );
}
