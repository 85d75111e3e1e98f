// Server certificates of a zone: what hosts present, when it ends, uploading another one.

import { useState } from "preact/hooks";
import type { Host, Session, Zone } from "../api";
import { CLOUDFLARE, OWN, all, call, may } from "../api";
import { SubmitOrCancel, submitting } from "../inputs";
import {
    Badge,
    daysUntil,
    Dialog,
    Messages,
    Notice,
    Show,
    Table,
    Time,
    useLoaded,
    useTask,
    Value,
} from "../ui";
import { Confirm } from "./confirm";
import { Pem } from "./pem";

interface ServerCertificate {
    id: string;
    hosts: string[];
    issuer: string;
    key_type: string | null;
    status: "active" | "expired";
    expires_on: string;
    source: "uploaded" | "development" | "acme";
    warnings: string[];
    presented_by: string[];
}

/** Hosts without a certificate that are named. */
const BARE_SHOWN = 10;

export function ServerCertificates({ zone, session }: { zone: Zone; session: Session }) {
    const path = `${CLOUDFLARE}/zones/${zone.id}/custom_certificates`;
    const certificates = useLoaded(() => all<ServerCertificate>(path), [zone.id], {
        about: ["server certificate", "host"],
    });
    const hosts = useLoaded(() => all<Host>(`${OWN}/zones/${zone.id}/hosts`), [zone.id], {
        about: ["server certificate", "host"],
    });
    const bare = (hosts.data ?? []).filter((host) => !host.served).map((host) => host.name);
    const [uploads, setUploads] = useState(false);
    const [deletes, setDeletes] = useState<ServerCertificate | null>(null);
    const canChange = may(session, "all");
    return (
        <>
            <div class="title">
                <h1 tabIndex={-1}>Server certificates</h1>
                <span class="quiet">{zone.name}</span>
                {canChange && (
                    <div class="actions">
                        <button type="button" class="primary" onClick={() => setUploads(true)}>
                            Upload a certificate
                        </button>
                    </div>
                )}
            </div>
            {bare.length > 0 && (
                <Notice kind="warning">
                    No certificate covers {bare.slice(0, BARE_SHOWN).join(", ")}
                    {bare.length > BARE_SHOWN && ` and ${bare.length - BARE_SHOWN} more hosts`}: not
                    served.
                </Notice>
            )}
            <section class="card">
                <Show of={certificates} what="certificates">
                    {(found) =>
                        found.length === 0 ? (
                            <p class="quiet">
                                None yet. A host is served when there is a certificate for its name.
                            </p>
                        ) : (
                            <Table
                                label="Server certificates"
                                head={[
                                    "For",
                                    "Presented by",
                                    "Issuer",
                                    "Key",
                                    "Ends",
                                    ...(canChange ? ["Change"] : []),
                                ]}
                            >
                                {found.map((one) => (
                                    <tr key={one.id}>
                                        <th scope="row">
                                            {one.hosts.join(", ")}
                                            {one.source === "development" && (
                                                <>
                                                    {" "}
                                                    <Badge kind="warn">for development</Badge>
                                                </>
                                            )}
                                            <Messages of={one.warnings} />
                                        </th>
                                        <td>
                                            {one.presented_by.length === 0
                                                ? "no host"
                                                : one.presented_by.join(", ")}
                                        </td>
                                        <td>
                                            <Value text={one.issuer} />
                                        </td>
                                        <td>{one.key_type ?? "–"}</td>
                                        <td>
                                            <Time at={one.expires_on} />{" "}
                                            {daysUntil(one.expires_on) < 0 ? (
                                                <Badge kind="bad">expired</Badge>
                                            ) : (
                                                daysUntil(one.expires_on) < 30 && (
                                                    <Badge kind="warn">ends soon</Badge>
                                                )
                                            )}
                                        </td>
                                        {canChange && (
                                            <td>
                                                <button
                                                    type="button"
                                                    class="danger"
                                                    aria-label={`Delete that for ${one.hosts.join(", ")}`}
                                                    onClick={() => setDeletes(one)}
                                                >
                                                    Delete
                                                </button>
                                            </td>
                                        )}
                                    </tr>
                                ))}
                            </Table>
                        )
                    }
                </Show>
            </section>
            {uploads && (
                <Upload
                    path={path}
                    close={() => setUploads(false)}
                    done={() => {
                        setUploads(false);
                        certificates.reload();
                    }}
                />
            )}
            {deletes !== null && (
                <Confirm
                    title="Delete the server certificate?"
                    button="Delete it"
                    path={`${path}/${deletes.id}`}
                    close={() => setDeletes(null)}
                    done={() => {
                        setDeletes(null);
                        certificates.reload();
                    }}
                >
                    <p>The certificate for {deletes.hosts.join(", ")}, with its key.</p>
                    {deletes.presented_by.length > 0 && (
                        <Notice kind="warning">
                            {deletes.presented_by.join(", ")} presents it now: without another
                            certificate for the name it is not served any more.
                        </Notice>
                    )}
                </Confirm>
            )}
        </>
    );
}

function Upload(props: { path: string; close: () => void; done: () => void }) {
    const [certificate, setCertificate] = useState("");
    const [key, setKey] = useState("");
    const task = useTask();
    const upload = () =>
        task.run(async () => {
            await call("POST", props.path, { certificate, private_key: key });
            props.done();
        });
    return (
        <Dialog title="Upload a server certificate" close={props.close} wide>
            <form onSubmit={submitting(upload)}>
                <Pem
                    label="Certificate"
                    hint="In PEM with its chain, leaf first. Paste it, or drop the file."
                    value={certificate}
                    set={setCertificate}
                />
                <Pem
                    label="Private key"
                    hint="In PEM. It is kept sealed, and never shown again."
                    value={key}
                    set={setKey}
                />
                {task.error !== null && <Notice kind="error">{task.error}</Notice>}
                <SubmitOrCancel cancel={props.close} disabled={task.busy}>
                    Upload
                </SubmitOrCancel>
            </form>
        </Dialog>
    );
}
