// Certificate Authorities: the managed CAs of each zone, and the uploaded ones with the hosts that
// believe them and how old their revocation lists are.

import { useState } from "preact/hooks";
import type { Session, Zone } from "../api";
import { CLOUDFLARE, OWN, all, call, download, get, may } from "../api";
import { SubmitOrCancel, submitting, TextInput } from "../inputs";
import {
    Badge,
    Dialog,
    Messages,
    Notice,
    save,
    Show,
    Table,
    Time,
    useLoaded,
    useTask,
    Value,
} from "../ui";
import { Confirm } from "./confirm";
import { Pem } from "./pem";
import type { Crls, Ocsp } from "./revocation";
import { Lists, Responder, Revocation } from "./revocation";

interface ManagedCa {
    id: string;
    name: string;
    certificate: string;
    issues: boolean;
    key_type: string | null;
    created_on: string;
    expires_on: string;
}

interface UploadedCa {
    id: string;
    name: string;
    certificates: string;
    expires_on: string;
    issuer: string | null;
    warnings: string[];
}

export function Authorities({ session, zones }: { session: Session; zones: Zone[] }) {
    return (
        <>
            <h1 tabIndex={-1}>Certificate Authorities</h1>
            {zones.map((zone) => (
                <Managed key={zone.id} zone={zone} canChange={may(session, "all")} />
            ))}
            {session.zones === null && <Uploaded canChange={may(session, "all")} />}
        </>
    );
}

function Managed({ zone, canChange }: { zone: Zone; canChange: boolean }) {
    const path = `${OWN}/zones/${zone.id}/authorities`;
    const cas = useLoaded(() => get<ManagedCa[]>(path), [zone.id], { about: ["CA"] });
    const [retires, setRetires] = useState<ManagedCa | null>(null);
    const [rolls, setRolls] = useState(false);
    const task = useTask();
    const roll = () =>
        task.run(async () => {
            await call("POST", path);
            setRolls(false);
            cas.reload();
        });
    const list = async (ca: ManagedCa) => {
        const content = await download(`${path}/${ca.id}/crl`);
        save(`${zone.name}.crl`, content, "application/pkix-crl");
    };
    return (
        <section class="card">
            <div class="title">
                <h2>Managed CAs of {zone.name}</h2>
                {canChange && (
                    <div class="actions">
                        <button type="button" onClick={() => setRolls(true)}>
                            Make a new one
                        </button>
                    </div>
                )}
            </div>
            {task.error !== null && !rolls && <Notice kind="error">{task.error}</Notice>}
            <Show of={cas} what="CAs">
                {(found) =>
                    found.length === 0 ? (
                        <p class="quiet">None: no client certificate can be issued.</p>
                    ) : (
                        <Table
                            label={`Managed CAs of ${zone.name}`}
                            head={["Name", "State", "Key", "Ends", "Files", ...(canChange ? ["Change"] : [])]}
                        >
                            {found.map((ca) => (
                                <tr key={ca.id}>
                                    <th scope="row">
                                        <Value text={ca.name} />
                                    </th>
                                    <td>
                                        {ca.issues ? (
                                            <Badge kind="good">issues</Badge>
                                        ) : (
                                            <Badge kind="plain">still accepted</Badge>
                                        )}
                                    </td>
                                    <td>{ca.key_type ?? "–"}</td>
                                    <td>
                                        <Time at={ca.expires_on} />
                                    </td>
                                    <td>
                                        <button
                                            type="button"
                                            aria-label={`Download the certificate of ${ca.id}`}
                                            onClick={() => save(`${zone.name}-ca.pem`, ca.certificate)}
                                        >
                                            Certificate
                                        </button>{" "}
                                        <button
                                            type="button"
                                            aria-label={`Download the revocation list of ${ca.id}`}
                                            onClick={() => task.run(() => list(ca))}
                                        >
                                            Revocation list
                                        </button>
                                    </td>
                                    {canChange && (
                                        <td>
                                            <button
                                                type="button"
                                                class="danger"
                                                aria-label={`Retire ${ca.id}`}
                                                onClick={() => setRetires(ca)}
                                            >
                                                Retire
                                            </button>
                                        </td>
                                    )}
                                </tr>
                            ))}
                        </Table>
                    )
                }
            </Show>
            {rolls && (
                <Dialog title={`A new managed CA for ${zone.name}?`} close={() => setRolls(false)}>
                    <form onSubmit={submitting(roll)}>
                        <p>
                            It issues from now on. The older ones are still accepted, until they are
                            retired.
                        </p>
                        {task.error !== null && <Notice kind="error">{task.error}</Notice>}
                        <SubmitOrCancel cancel={() => setRolls(false)} disabled={task.busy}>
                            Make it
                        </SubmitOrCancel>
                    </form>
                </Dialog>
            )}
            {retires !== null && (
                <Confirm
                    title="Retire the CA?"
                    button="Retire it"
                    path={`${path}/${retires.id}`}
                    close={() => setRetires(null)}
                    done={() => {
                        setRetires(null);
                        cas.reload();
                    }}
                >
                    <p>
                        <Value text={retires.name} />: its clients are refused from now on, and its key
                        is gone.
                    </p>
                </Confirm>
            )}
        </section>
    );
}

interface Known {
    ca: UploadedCa;
    hosts: string[];
    crls: Crls | null;
    ocsp: Ocsp | null;
}

async function loadUploaded(): Promise<{ account: string; known: Known[] }> {
    const [account] = await get<{ id: string }[]>(`${CLOUDFLARE}/accounts`);
    const id = account?.id ?? "";
    const path = `${CLOUDFLARE}/accounts/${id}/mtls_certificates`;
    const cas = await all<UploadedCa>(path);
    const known = await Promise.all(
        cas.slice(0, 50).map(async (ca) => {
            const of = `${OWN}/certificate_authorities/${ca.id}`;
            const [hosts, crls, ocsp] = await Promise.all([
                get<{ service: string }[]>(`${path}/${ca.id}/associations`),
                get<Crls>(`${of}/crls`).catch(() => null),
                get<Ocsp>(`${of}/ocsp`).catch(() => null),
            ]);
            return { ca, hosts: hosts.map((host) => host.service), crls, ocsp };
        }),
    );
    return { account: id, known };
}

function Uploaded({ canChange }: { canChange: boolean }) {
    const loaded = useLoaded(loadUploaded, [], { about: ["CA", "host"] });
    const [uploads, setUploads] = useState(false);
    const [deletes, setDeletes] = useState<UploadedCa | null>(null);
    const [opened, setOpened] = useState<UploadedCa | null>(null);
    const [taken, setTaken] = useState<string | null>(null);
    return (
        <section class="card">
            <div class="title">
                <h2>Uploaded CAs</h2>
                {canChange && (
                    <div class="actions">
                        <button
                            type="button"
                            disabled={loaded.data === null}
                            onClick={() => setUploads(true)}
                        >
                            Upload a CA
                        </button>
                    </div>
                )}
            </div>
            {taken !== null && <Notice kind="good">{taken}</Notice>}
            {opened !== null && (
                <Revocation
                    id={opened.id}
                    name={opened.name}
                    close={() => setOpened(null)}
                    done={() => {
                        setOpened(null);
                        loaded.reload();
                    }}
                />
            )}
            <Show of={loaded} what="CAs">
                {({ account, known }) => (
                    <>
                        {known.length === 0 ? (
                            <p class="quiet">
                                None. CAs that are run elsewhere are uploaded, and then believed by the
                                hosts that are associated with them.
                            </p>
                        ) : (
                            <Table
                                label="Uploaded CAs"
                                head={[
                                    "Name",
                                    "Believed by",
                                    "Ends",
                                    "Revocation lists",
                                    "OCSP",
                                    ...(canChange ? ["Change"] : []),
                                ]}
                            >
                                {known.map(({ ca, hosts, crls, ocsp }) => (
                                    <tr key={ca.id}>
                                        <th scope="row">
                                            <Value text={ca.name === "" ? (ca.issuer ?? ca.id) : ca.name} />
                                            <Messages of={ca.warnings} />
                                        </th>
                                        <td>{hosts.length === 0 ? "no host" : hosts.join(", ")}</td>
                                        <td>
                                            <Time at={ca.expires_on} />
                                        </td>
                                        <td>{crls !== null && <Lists of={crls} />}</td>
                                        <td>{ocsp !== null && <Responder of={ocsp} />}</td>
                                        {canChange && (
                                            <td>
                                                <button
                                                    type="button"
                                                    aria-label={`Revocation of ${ca.name}`}
                                                    onClick={() => setOpened(ca)}
                                                >
                                                    Revocation
                                                </button>{" "}
                                                <button
                                                    type="button"
                                                    class="danger"
                                                    aria-label={`Delete ${ca.name}`}
                                                    onClick={() => setDeletes(ca)}
                                                >
                                                    Delete
                                                </button>
                                            </td>
                                        )}
                                    </tr>
                                ))}
                            </Table>
                        )}
                        {uploads && (
                            <Upload
                                account={account}
                                close={() => setUploads(false)}
                                done={(ca) => {
                                    setUploads(false);
                                    setTaken(said(ca));
                                    loaded.reload();
                                }}
                            />
                        )}
                        {deletes !== null && (
                            <Confirm
                                title="Delete the CA?"
                                button="Delete it"
                                path={`${CLOUDFLARE}/accounts/${account}/mtls_certificates/${deletes.id}`}
                                close={() => setDeletes(null)}
                                done={() => {
                                    setDeletes(null);
                                    loaded.reload();
                                }}
                            >
                                <p>
                                    <Value text={deletes.name} />: no host may be associated with it any
                                    more.
                                </p>
                            </Confirm>
                        )}
                    </>
                )}
            </Show>
        </section>
    );
}

/** What was taken of a bundle. */
function said(ca: UploadedCa): string {
    const count = ca.certificates.split("-----BEGIN CERTIFICATE-----").length - 1;
    const certificates = count === 1 ? "one certificate was" : `${count} certificates were`;
    return `${ca.name}: ${certificates} taken. No host believes it yet.`;
}

function Upload(props: { account: string; close: () => void; done: (ca: UploadedCa) => void }) {
    const [name, setName] = useState("");
    const [pem, setPem] = useState("");
    const task = useTask();
    const upload = () =>
        task.run(async () => {
            const path = `${CLOUDFLARE}/accounts/${props.account}/mtls_certificates`;
            const body = { ca: true, name, certificates: pem };
            props.done((await call<UploadedCa>("POST", path, body)).result);
        });
    return (
        <Dialog title="Upload a CA" close={props.close} wide>
            <form onSubmit={submitting(upload)}>
                <TextInput label="Name" value={name} set={setName} required />
                <Pem
                    label="Certificates"
                    hint="In PEM, all that are accepted together. Paste them, or drop the file. No key."
                    value={pem}
                    set={setPem}
                />
                {task.error !== null && <Notice kind="error">{task.error}</Notice>}
                <SubmitOrCancel cancel={props.close} disabled={task.busy}>
                    Upload
                </SubmitOrCancel>
            </form>
        </Dialog>
    );
}
