// Client Certificates of a zone: the hosts that ask for them, the list, revoking and restoring.

import { useEffect, useState } from "preact/hooks";
import type { ClientCertificate, PageInfo, Session, Zone } from "../api";
import { CLOUDFLARE, call, may } from "../api";
import { link, useInAddress } from "../router";
import {
    Badge,
    daysUntil,
    Dialog,
    Field,
    harmless,
    Notice,
    Pages,
    save,
    Show,
    SubmitOrCancel,
    submitting,
    Table,
    Time,
    useLoaded,
    useTask,
    Value,
} from "../ui";
import { CreateCertificate } from "./create-certificate";
import { HostsCard } from "./hosts-card";

const PER_PAGE = 50;

/** What one may look for, and the parameter that asks for it. */
const FIND = {
    common_name: "Name",
    serial_number: "Serial number",
    fingerprint_sha256: "Fingerprint (SHA-256)",
    ski: "Subject key identifier",
} as const;

const EVERYTHING = { status: "all", find: "common_name", text: "", days: "" };

/** As it is in the address: `status` is `all`, `active` or `revoked`, `find` a parameter
 * of those above. */
type Filter = typeof EVERYTHING;

function narrows(filter: Filter): boolean {
    return filter.status !== "all" || filter.text !== "" || filter.days !== "";
}

/** Why a certificate is revoked, as RFC 5280 has it: its word, and what people call it. */
const REASONS: [string, string][] = [
    ["unspecified", "Not said"],
    ["keyCompromise", "The key was lost or stolen"],
    ["superseded", "Another one takes its place"],
    ["cessationOfOperation", "The client is no longer in use"],
    ["affiliationChanged", "Its holder has left"],
    ["privilegeWithdrawn", "It may no longer come in"],
    ["certificateHold", "For the time being"],
];

function query(filter: Filter, page: number): string {
    const parameters = new URLSearchParams({
        status: filter.status,
        page: String(page),
        per_page: String(PER_PAGE),
    });
    const text = filter.text.trim();
    const hex = filter.find === "common_name" ? text : text.replace(/[:\s]/g, "").toLowerCase();
    if (hex !== "" && filter.find in FIND) parameters.set(filter.find, hex);
    if (filter.days !== "") parameters.set("expires_within_days", filter.days);
    return parameters.toString();
}

export function ClientCertificates({ zone, session }: { zone: Zone; session: Session }) {
    const [creates, setCreates] = useState(false);
    const [made, setMade] = useState(0);
    const canIssue = may(session, "certificates");
    return (
        <>
            <div class="title">
                <h1 tabIndex={-1}>Client Certificates</h1>
                <span class="quiet">{zone.name}</span>
                <div class="actions">
                    {canIssue && (
                        <button type="button" class="primary" onClick={() => setCreates(true)}>
                            Create Certificate
                        </button>
                    )}
                    {may(session, "rules") && (
                        <a
                            class="button"
                            href={link("zones", zone.name, "client-certificates", "create-mtls-rule")}
                        >
                            Create a mTLS rule
                        </a>
                    )}
                </div>
            </div>
            {!canIssue && (
                <Notice kind="info">
                    This token only reads. To issue and revoke, sign in with one of the scope{" "}
                    <code>certificates</code>.
                </Notice>
            )}
            <HostsCard zone={zone} session={session} />
            <List zone={zone} canChange={canIssue} made={made} />
            {creates && (
                <CreateCertificate
                    zone={zone}
                    close={() => setCreates(false)}
                    created={() => setMade((count) => count + 1)}
                />
            )}
        </>
    );
}

interface Listed {
    certificates: ClientCertificate[];
    info: PageInfo | null;
}

function List(props: { zone: Zone; canChange: boolean; made: number }) {
    const { zone, canChange } = props;
    const [filter, setFilter] = useInAddress(EVERYTHING);
    const [page, setPage] = useState(1);
    const [chosen, setChosen] = useState<Map<string, ClientCertificate>>(new Map());
    const [opened, setOpened] = useState<ClientCertificate | null>(null);
    const [revokes, setRevokes] = useState<ClientCertificate[] | null>(null);
    const [said, say] = useState<string | null>(null);
    const restoring = useTask();
    const path = `${CLOUDFLARE}/zones/${zone.id}/client_certificates`;
    const list = useLoaded<Listed>(async () => {
        const answer = await call<ClientCertificate[]>("GET", `${path}?${query(filter, page)}`);
        return { certificates: answer.result, info: answer.info };
    }, [zone.id, JSON.stringify(filter), page], { about: ["client certificate", "CA"], keep: true });
    useEffect(() => {
        if (props.made > 0) list.reload();
    }, [props.made]);
    const narrow = (next: Filter) => {
        setFilter(next);
        setPage(1);
        setChosen(new Map());
    };
    const toggle = (one: ClientCertificate) => {
        const next = new Map(chosen);
        if (!next.delete(one.id)) next.set(one.id, one);
        setChosen(next);
    };
    const restore = (them: ClientCertificate[]) =>
        restoring.run(async () => {
            let done = 0;
            try {
                for (const one of them) {
                    await call("PATCH", `${path}/${one.id}`, { reactivate: true });
                    done += 1;
                }
            } finally {
                list.reload();
                if (done > 0) say(`Restored ${counted(done)}.`);
                setChosen(new Map());
            }
        });
    const all = [...chosen.values()];
    const active = all.filter((one) => one.status === "active");
    const revoked = all.filter((one) => one.status === "revoked");
    return (
        <section class="card" aria-labelledby="certificates">
            <h2 id="certificates">Certificates</h2>
            <Filters filter={filter} set={narrow} />
            {said !== null && <Notice kind="good">{said}</Notice>}
            {restoring.error !== null && <Notice kind="error">{restoring.error}</Notice>}
            {all.length > 0 && (
                <div class="bar" role="group" aria-label="With those that are chosen">
                    <span>{counted(all.length)} chosen</span>
                    {active.length > 0 && (
                        <button type="button" class="danger" onClick={() => setRevokes(active)}>
                            Revoke {active.length}
                        </button>
                    )}
                    {revoked.length > 0 && (
                        <button
                            type="button"
                            disabled={restoring.busy}
                            onClick={() => restore(revoked)}
                        >
                            Restore {revoked.length}
                        </button>
                    )}
                    <button type="button" onClick={() => setChosen(new Map())}>
                        Choose none
                    </button>
                </div>
            )}
            <Show of={list} what="certificates">
                {({ certificates, info }) => (
                    <>
                        {certificates.length === 0 ? (
                            <Empty filtered={narrows(filter)} canChange={canChange} />
                        ) : (
                            <Table
                                label="Client certificates"
                                head={[
                                    ...(canChange ? ["Choose"] : []),
                                    "Name",
                                    "Status",
                                    "Ends",
                                    "Issued",
                                    "Serial number",
                                    ...(canChange ? ["Change"] : []),
                                ]}
                            >
                                {certificates.map((one) => (
                                    <tr key={one.id}>
                                        {canChange && (
                                            <td>
                                                <input
                                                    type="checkbox"
                                                    aria-label={`Choose ${called(one)}`}
                                                    checked={chosen.has(one.id)}
                                                    onChange={() => toggle(one)}
                                                />
                                            </td>
                                        )}
                                        <th scope="row">
                                            <button
                                                type="button"
                                                class="link"
                                                onClick={() => setOpened(one)}
                                            >
                                                <Name of={one} />
                                            </button>
                                        </th>
                                        <td>
                                            <State of={one} />
                                        </td>
                                        <td>
                                            <Time at={one.expires_on} />
                                        </td>
                                        <td>
                                            <Time at={one.issued_on} />
                                        </td>
                                        <td class="code">{one.serial_number.slice(0, 8)}…</td>
                                        {canChange && (
                                            <td>
                                                {one.status === "active" ? (
                                                    <button
                                                        type="button"
                                                        class="danger"
                                                        aria-label={`Revoke ${called(one)}`}
                                                        onClick={() => setRevokes([one])}
                                                    >
                                                        Revoke
                                                    </button>
                                                ) : (
                                                    <button
                                                        type="button"
                                                        aria-label={`Restore ${called(one)}`}
                                                        disabled={restoring.busy}
                                                        onClick={() => restore([one])}
                                                    >
                                                        Restore
                                                    </button>
                                                )}
                                            </td>
                                        )}
                                    </tr>
                                ))}
                            </Table>
                        )}
                        {info !== null && (
                            <Pages
                                page={page}
                                pages={info.total_pages}
                                total={info.total_count}
                                go={setPage}
                            />
                        )}
                    </>
                )}
            </Show>
            {opened !== null && <Details of={opened} close={() => setOpened(null)} />}
            {revokes !== null && (
                <Revoke
                    path={path}
                    of={revokes}
                    close={() => setRevokes(null)}
                    done={(count) => {
                        setRevokes(null);
                        setChosen(new Map());
                        say(`Revoked ${counted(count)}. Live connections are closed within a second.`);
                        list.reload();
                    }}
                    changed={list.reload}
                />
            )}
        </section>
    );
}

function counted(count: number): string {
    return `${count.toLocaleString()} ${count === 1 ? "certificate" : "certificates"}`;
}

function called(one: ClientCertificate): string {
    const name = one.common_name === "" ? one.serial_number : one.common_name;
    return harmless(name).slice(0, 80);
}

function Name({ of }: { of: ClientCertificate }) {
    return of.common_name === "" ? <>(no common name)</> : <bdi>{called(of)}</bdi>;
}

function State({ of }: { of: ClientCertificate }) {
    if (of.status === "revoked") return <Badge kind="bad">revoked</Badge>;
    const days = daysUntil(of.expires_on);
    if (days < 0) return <Badge kind="bad">expired</Badge>;
    return days < 30 ? <Badge kind="warn">ends soon</Badge> : <Badge kind="good">active</Badge>;
}

function Empty({ filtered, canChange }: { filtered: boolean; canChange: boolean }) {
    if (filtered) return <p class="quiet">No certificate is like that.</p>;
    return (
        <p class="quiet">
            No client certificates yet.{" "}
            {canChange && (
                <>
                    <strong>Create Certificate</strong> makes the first one: its key is made in this
                    browser and never leaves it.
                </>
            )}
        </p>
    );
}

function Filters({ filter, set }: { filter: Filter; set: (filter: Filter) => void }) {
    const [text, setText] = useState(filter.text);
    useEffect(() => setText(filter.text), [filter.text]);
    const search = () => set({ ...filter, text });
    return (
        <form class="filters" role="search" onSubmit={submitting(search)}>
            <Field label="Status">
                {(id) => (
                    <select
                        id={id}
                        value={filter.status}
                        onChange={(event) => {
                            set({ ...filter, text, status: event.currentTarget.value });
                        }}
                    >
                        <option value="all">All</option>
                        <option value="active">Active</option>
                        <option value="revoked">Revoked</option>
                    </select>
                )}
            </Field>
            <Field label="Ends">
                {(id) => (
                    <select
                        id={id}
                        value={filter.days}
                        onChange={(event) =>
                            set({ ...filter, text, days: event.currentTarget.value })
                        }
                    >
                        <option value="">Any time</option>
                        <option value="1">Within a day</option>
                        <option value="7">Within 7 days</option>
                        <option value="30">Within 30 days</option>
                        <option value="90">Within 90 days</option>
                    </select>
                )}
            </Field>
            <Field label="Look for">
                {(id) => (
                    <select
                        id={id}
                        value={filter.find}
                        onChange={(event) => {
                            set({ ...filter, text, find: event.currentTarget.value });
                        }}
                    >
                        {Object.entries(FIND).map(([value, title]) => (
                            <option value={value}>{title}</option>
                        ))}
                    </select>
                )}
            </Field>
            <Field label="that is exactly">
                {(id) => (
                    <input
                        id={id}
                        type="search"
                        value={text}
                        spellcheck={false}
                        autocomplete="off"
                        onInput={(event) => setText(event.currentTarget.value)}
                    />
                )}
            </Field>
            <button type="submit">Find</button>
            {narrows(filter) && (
                <button type="button" onClick={() => set(EVERYTHING)}>
                    Show all
                </button>
            )}
        </form>
    );
}

function Details({ of, close }: { of: ClientCertificate; close: () => void }) {
    const rows: [string, string][] = [
        ["Common name", of.common_name],
        ["Organization", of.organization],
        ["Issued by", of.certificate_authority.name],
        ["Serial number", of.serial_number],
        ["Fingerprint (SHA-256)", of.fingerprint_sha256],
        ["Subject key identifier", of.ski],
    ];
    return (
        <Dialog title="Client certificate" close={close} wide>
            <dl class="rows">
                {rows.map(([name, value]) => (
                    <div>
                        <dt>{name}</dt>
                        <dd>{value === "" ? "–" : <Value text={value} />}</dd>
                    </div>
                ))}
                <div>
                    <dt>Valid</dt>
                    <dd>
                        <Time at={of.issued_on} /> to <Time at={of.expires_on} />
                    </dd>
                </div>
                <div>
                    <dt>Key</dt>
                    <dd>
                        {of.csr === "" ? "made by the gateway" : "made elsewhere (CSR)"}; it is not
                        kept here
                    </dd>
                </div>
            </dl>
            <pre class="pem" tabIndex={0} aria-label="The certificate in PEM">
                {of.certificate}
            </pre>
            <button type="button" onClick={() => save("client.pem", of.certificate)}>
                Download the certificate
            </button>
        </Dialog>
    );
}

function Revoke(props: {
    path: string;
    of: ClientCertificate[];
    close: () => void;
    done: (count: number) => void;
    changed: () => void;
}) {
    const { of } = props;
    const [reason, setReason] = useState("unspecified");
    const [count, setCount] = useState(0);
    const task = useTask();
    const revoke = () =>
        task.run(async () => {
            // What is revoked already stays so when a later one fails; the list shows which.
            for (const one of of.slice(count)) {
                await call("DELETE", `${props.path}/${one.id}?reason=${reason}`);
                setCount((before) => before + 1);
            }
            props.done(of.length);
        });
    const close = () => {
        if (count > 0) props.changed();
        props.close();
    };
    return (
        <Dialog title={`Revoke ${counted(of.length)}?`} close={close}>
            <form onSubmit={submitting(revoke)}>
                <ul class="short">
                    {of.slice(0, 10).map((one) => (
                        <li>
                            <Name of={one} />
                        </li>
                    ))}
                    {of.length > 10 && <li>and {(of.length - 10).toLocaleString()} more</li>}
                </ul>
                <p>
                    Rules with <code>cf.tls_client_auth.cert_revoked</code> refuse its requests from
                    now on. A revoked certificate can be restored.
                </p>
                <Field label="Reason">
                    {(id) => (
                        <select
                            id={id}
                            value={reason}
                            onChange={(event) => setReason(event.currentTarget.value)}
                        >
                            {REASONS.map(([value, title]) => (
                                <option value={value}>{title}</option>
                            ))}
                        </select>
                    )}
                </Field>
                {task.error !== null && (
                    <Notice kind="error">
                        {count > 0 && `${counted(count)} of ${of.length} revoked. `}
                        {task.error}
                    </Notice>
                )}
                <SubmitOrCancel cancel={close} disabled={task.busy} danger>
                    {task.busy && of.length > 1
                    ? `Revoking ${count + 1} of ${of.length}…`
                    : `Revoke ${of.length === 1 ? "it" : of.length}`}
                </SubmitOrCancel>
            </form>
        </Dialog>
    );
}
