// How an uploaded CA's revoked clients are known: its lists with their age, its responder, and what is
// done with clients of whom neither says anything.

import { useState } from "preact/hooks";
import { OWN, call, madeBy } from "../api";
import { Chips, Choose, SubmitOrCancel, submitting, TextInput } from "../inputs";
import { Badge, Dialog, Notice, Show, Time, useLoaded, useTask, Value } from "../ui";
import { Meanwhile, differences, isLate } from "./meanwhile";
import { Pem } from "./pem";

export type Policy = "hard" | "soft" | null;

export interface Crls {
    policy: Policy;
    urls: string[];
    file: string | null;
    crls: { issuer: string; this_update: string; next_update: string; entries: number }[];
}

export interface Ocsp {
    url: string | null;
    policy: Policy;
}

interface Known {
    crls: Crls;
    ocsp: Ocsp;
    /** The older of the revisions that were seen. */
    revision: string | null;
}

async function load(path: string): Promise<Known> {
    const crls = await call<Crls>("GET", `${path}/crls`);
    const ocsp = await call<Ocsp>("GET", `${path}/ocsp`);
    return { crls: crls.result, ocsp: ocsp.result, revision: crls.revision };
}

/** The lists with their age. */
export function Lists({ of }: { of: Crls }) {
    if (of.crls.length === 0) {
        return of.policy === "hard" ? (
            <Badge kind="bad">none: its clients are refused</Badge>
        ) : (
            <>none</>
        );
    }
    return (
        <>
            {of.crls.map((one) => (
                <span>
                    {one.entries.toLocaleString()} revoked; of <Time at={one.this_update} />, good until{" "}
                    <Time at={one.next_update} />{" "}
                    {new Date(one.next_update).getTime() < Date.now() && (
                        <Badge kind="bad">has ended</Badge>
                    )}
                </span>
            ))}{" "}
            (policy {of.policy ?? "none"})
        </>
    );
}

export function Responder({ of }: { of: Ocsp }) {
    if (of.url === null) return <>none</>;
    return (
        <>
            <Value text={of.url} /> (policy {of.policy ?? "none"})
        </>
    );
}

const POLICIES: [string, string][] = [
    ["", "Default: hard, once there is one"],
    ["soft", "Soft: served when it says nothing"],
    ["hard", "Hard: refused when it says nothing"],
];

interface Written {
    policy: string;
    urls: string[];
    responder: string;
    asked: string;
}

const written = ({ crls, ocsp }: Known): Written => ({
    policy: crls.policy ?? "",
    urls: crls.urls,
    responder: ocsp.url ?? "",
    asked: ocsp.policy ?? "",
});

const parts = (of: Written): [string, string][] => [
    ["Policy of lists", of.policy],
    ["Lists are fetched from", of.urls.join(", ")],
    ["Responder", of.responder],
    ["Policy of the responder", of.asked],
];

export function Revocation(props: { id: string; name: string; close: () => void; done: () => void }) {
    const path = `${OWN}/certificate_authorities/${props.id}`;
    const known = useLoaded(() => load(path), [path], { about: [], keep: true });
    return (
        <Dialog title={`Revocation: ${props.name}`} close={props.close} wide>
            <Show of={known} what="lists and responder">
                {(found) => (
                    <>
                        <Form path={path} known={found} close={props.close} done={props.done} />
                        <UploadList path={path} done={props.done} />
                    </>
                )}
            </Show>
        </Dialog>
    );
}

function Form(props: { path: string; known: Known; close: () => void; done: () => void }) {
    const { path } = props;
    const [base, setBase] = useState(props.known);
    const [form, setForm] = useState(() => written(props.known));
    const [theirs, setTheirs] = useState<Known | null>(null);
    const task = useTask();
    const change = (part: Partial<Written>) => setForm((before) => ({ ...before, ...part }));
    const save = () =>
        task.run(async () => {
            setTheirs(null);
            const was = written(base);
            const [lists, responder] = [
                form.policy !== was.policy || form.urls.join(" ") !== was.urls.join(" "),
                form.responder !== was.responder || form.asked !== was.asked,
            ];
            try {
                let { revision } = base;
                if (lists) {
                    const body = {
                        policy: form.policy === "" ? null : form.policy,
                        urls: form.urls,
                    };
                    revision = madeBy(await call("PATCH", `${path}/crls`, body, revision));
                }
                if (responder) {
                    const body = {
                        url: form.responder === "" ? null : form.responder,
                        policy: form.asked === "" ? null : form.asked,
                    };
                    await call("PATCH", `${path}/ocsp`, body, revision);
                }
            } catch (error) {
                if (!isLate(error)) throw error;
                setTheirs(await load(path));
                return;
            }
            props.done();
        });
    const settle = (take: boolean) => {
        if (theirs === null) return;
        setBase(theirs);
        if (take) setForm(written(theirs));
        setTheirs(null);
    };
    return (
        <form onSubmit={submitting(save)}>
            {theirs !== null && (
                <Meanwhile
                    what="this"
                    of={differences(parts(written(base)), parts(written(theirs)), parts(form))}
                    take={() => settle(true)}
                    keep={() => settle(false)}
                />
            )}
            <h3>Revocation lists</h3>
            <p>
                <Lists of={base.crls} />
            </p>
            <Choose
                label="When no list speaks for a certificate"
                value={form.policy}
                set={(policy) => change({ policy })}
                of={POLICIES}
            />
            <Chips
                label="Lists are fetched from"
                hint="http:// addresses; a list is signed by itself. Enter one and press Enter."
                values={form.urls}
                set={(urls) => change({ urls })}
                placeholder="http://crl.example.com/ca.crl"
            />
            <h3>Responder (OCSP)</h3>
            <TextInput
                label="Asked about each client"
                value={form.responder}
                set={(responder) => change({ responder })}
                placeholder="http://ocsp.example.com/"
            />
            <Choose
                label="When the responder says nothing"
                value={form.asked}
                set={(asked) => change({ asked })}
                of={POLICIES}
            />
            {task.error !== null && <Notice kind="error">{task.error}</Notice>}
            <SubmitOrCancel cancel={props.close} disabled={task.busy}>
                Save
            </SubmitOrCancel>
        </form>
    );
}

function UploadList(props: { path: string; done: () => void }) {
    const [pem, setPem] = useState("");
    const task = useTask();
    const upload = () =>
        task.run(async () => {
            await call("PUT", `${props.path}/crls`, { crl: pem });
            props.done();
        });
    return (
        <details>
            <summary>Upload a revocation list</summary>
            <form onSubmit={submitting(upload)}>
                <Pem
                    label="Revocation list"
                    hint="In PEM. Paste it, or drop the file. A newer one takes the place of an older."
                    value={pem}
                    set={setPem}
                />
                {task.error !== null && <Notice kind="error">{task.error}</Notice>}
                <div class="actions">
                    <button type="submit" disabled={task.busy}>
                        Upload the list
                    </button>
                </div>
            </form>
        </details>
    );
}
