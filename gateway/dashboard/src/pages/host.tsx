// One host: what it asks of clients, where its requests go, and deleting it.

import { useState } from "preact/hooks";
import type { Host, Mtls } from "../api";
import { OWN, call } from "../api";
import { Check, Choose, SubmitOrCancel, submitting, TextInput } from "../inputs";
import { Dialog, Notice, useTask } from "../ui";
import { Confirm } from "./confirm";
import type { Difference } from "./meanwhile";
import { Meanwhile, differences, isLate } from "./meanwhile";

const MODES: [string, string][] = [
    ["", "Follow the CAs that it is associated with"],
    ["off", "Off: asks for no certificate"],
    ["request", "Request: asks, and rules decide"],
    ["require", "Require: refuses in the handshake"],
];

const REVOKED: [Host["revoked"], string][] = [
    ["rule", "Rules decide"],
    ["close", "The connection is refused"],
];

const VERSIONS: [string, string][] = [
    ["", "The gateway's"],
    ["1.2", "TLS 1.2"],
    ["1.3", "TLS 1.3"],
];

/** What of a host is written. */
interface Written {
    /** Nothing follows the associations. */
    mtls: Mtls | "";
    revoked: Host["revoked"];
    url: string;
    version: string;
    acme: boolean;
}

function written(host: Host): Written {
    return {
        mtls: host.mtls_is_set ? host.mtls : "",
        revoked: host.revoked,
        url: host.origin.url ?? "",
        version: host.tls_min_version ?? "",
        acme: host.acme,
    };
}

function parts(of: Written): [string, string][] {
    return [
        ["mTLS", of.mtls === "" ? "follows the CAs" : of.mtls],
        ["Revoked certificates", of.revoked],
        ["Origin", of.url],
        ["Least TLS version", of.version === "" ? "the gateway's" : of.version],
        ["Certificate from ACME", of.acme ? "yes" : "no"],
    ];
}

/** How it stands with the certificate from ACME. */
function acmeHint(host: Host): string {
    const status = host.acme_status;
    if (status === null) {
        return "It is ordered and renewed by the gateway; until it has come the host presents what there is.";
    }
    return status.error === null ? `It is ${status.state}.` : `It is ${status.state}: ${status.error}`;
}

/** Opened with what was seen; `revision` is that of the configuration then. */
export function HostDialog(props: {
    host: Host;
    revision: string | null;
    close: () => void;
    done: () => void;
}) {
    const { close, done } = props;
    const path = `${OWN}/hosts/${encodeURIComponent(props.host.name)}`;
    const [base, setBase] = useState({ host: written(props.host), revision: props.revision });
    const [host, setHost] = useState(base.host);
    const [theirs, setTheirs] = useState<typeof base | null>(null);
    const [deletes, setDeletes] = useState(false);
    const task = useTask();
    const change = (part: Partial<Written>) => setHost((before) => ({ ...before, ...part }));
    const save = () =>
        task.run(async () => {
            setTheirs(null);
            // What stays as it was is not sent: what others have made of it stays too.
            const { host: was } = base;
            const body = {
                ...(host.mtls === was.mtls ? {} : { mtls: host.mtls === "" ? null : host.mtls }),
                ...(host.revoked === was.revoked ? {} : { revoked: host.revoked }),
                ...(host.url === was.url ? {} : { origin: { url: host.url } }),
                ...(host.version === was.version
                    ? {}
                    : { tls_min_version: host.version === "" ? null : host.version }),
                ...(host.acme === was.acme ? {} : { acme: host.acme }),
            };
            try {
                await call("PATCH", path, body, base.revision);
            } catch (error) {
                if (!isLate(error)) throw error;
                const { result, revision } = await call<Host>("GET", path);
                setTheirs({ host: written(result), revision });
                return;
            }
            done();
        });
    const changed: Difference[] =
        theirs === null ? [] : differences(parts(base.host), parts(theirs.host), parts(host));
    const settle = (take: boolean) => {
        if (theirs === null) return;
        setBase(theirs);
        // What was not touched here is as the other person has it, either way.
        const touched = Object.entries(host).filter(
            ([name, value]) => !take && value !== base.host[name as keyof Written],
        );
        setHost({ ...theirs.host, ...(Object.fromEntries(touched) as Partial<Written>) });
        setTheirs(null);
    };
    if (deletes) {
        return (
            <Confirm
                title={`Delete ${props.host.name}?`}
                button="Delete it"
                path={path}
                close={() => setDeletes(false)}
                done={done}
            >
                <p>
                    <strong>{props.host.name}</strong> is not served any more: its clients are refused
                    from now on.
                </p>
            </Confirm>
        );
    }
    return (
        <Dialog title={`Host ${props.host.name}`} close={close} wide>
            <form onSubmit={submitting(save)}>
                {theirs !== null && (
                    <Meanwhile
                        what="this host"
                        of={changed}
                        take={() => settle(true)}
                        keep={() => settle(false)}
                    />
                )}
                <Choose
                    label="Client certificates (mTLS)"
                    value={host.mtls}
                    set={(mtls) => change({ mtls: mtls as Written["mtls"] })}
                    of={MODES}
                />
                <Choose
                    label="Revoked certificates"
                    value={host.revoked}
                    set={(revoked) => change({ revoked: revoked as Host["revoked"] })}
                    of={REVOKED}
                />
                {props.host.origin.url === undefined ? (
                    <p class="quiet">
                        Permitted requests go to{" "}
                        {props.host.origin.name === undefined
                            ? "several addresses"
                            : `the zone's origin ${props.host.origin.name}`}
                        : <code>postern host set</code> changes that.
                    </p>
                ) : (
                    <TextInput
                        label="Origin: where permitted requests go"
                        value={host.url}
                        set={(url) => change({ url })}
                        required
                    />
                )}
                <Choose
                    label="Least TLS version"
                    value={host.version}
                    set={(version) => change({ version })}
                    of={VERSIONS}
                />
                {!props.host.name.startsWith("*.") && (
                    <Check
                        title="Have the server certificate from the ACME server"
                        hint={acmeHint(props.host)}
                        checked={host.acme}
                        set={(acme) => change({ acme })}
                    />
                )}
                {task.error !== null && <Notice kind="error">{task.error}</Notice>}
                <div class="actions start">
                    <button type="button" class="danger" onClick={() => setDeletes(true)}>
                        Delete this host
                    </button>
                </div>
                <SubmitOrCancel cancel={close} disabled={task.busy}>
                    Save
                </SubmitOrCancel>
            </form>
        </Dialog>
    );
}
