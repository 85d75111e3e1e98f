// Client Certificates of a zone: the hosts that ask for them, the list, revoking and restoring.

import { useEffect, useState } from "preact/hooks";
import type { ClientCertificate, PageInfo, Session, Zone } from "../api";
import { CLOUDFLARE, OWN, call, may } from "../api";
import { Check, Choose, SubmitOrCancel, submitting, TextInput } from "../inputs";
import { link, useInAddress } from "../router";
import {
    Badge,
    daysUntil,
    Dialog,
    harmless,
    Notice,
    Pages,
    save,
    Show,
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

const STATUS = [
    ["all", "All"],
    ["active", "Active"],
    ["revoked", "Revoked"],
] as const;

/** Within how many days they end. */
const ENDS = [
    ["", "Any time"],
    ["1", "Within a day"],
    ["7", "Within 7 days"],
    ["30", "Within 30 days"],
    ["90", "Within 90 days"],
] as const;

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
    const [restored, setRestored] = useState<string | null>(null);
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
                    if (them.length > 1) setRestored(`Restoring ${done + 1} of ${them.length}…`);
                    await call("PATCH", `${path}/${one.id}`, { reactivate: true });
                    done += 1;
                }
            } finally {
                setRestored(null);
                list.reload();
                if (done > 0) say(`Restored ${counted(done)}.`);
                setChosen(new Map());
            }
        });
    const onPage = list.data?.certificates ?? [];
    const isWhole = onPage.length > 0 && onPage.every((one) => chosen.has(one.id));
    const togglePage = () => {
        const next = new Map(chosen);
        for (const one of onPage) {
            if (isWhole) next.delete(one.id);
            else next.set(one.id, one);
        }
        setChosen(next);
    };
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
                            {restored ?? `Restore ${revoked.length}`}
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
                            <>
                                {canChange && (
                                    <Check
                                        title="Choose all on this page"
                                        checked={isWhole}
                                        set={togglePage}
                                    />
                                )}
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
                            </>
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
                    zone={zone}
                    of={revokes}
                    close={() => setRevokes(null)}
                    done={() => {
                        const count = counted(revokes.length);
                        setRevokes(null);
                        setChosen(new Map());
                        say(`Revoked ${count}. Live connections are closed within a second.`);
                        list.reload();
                    }}
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
            <Choose
                label="Status"
                value={filter.status}
                set={(status) => set({ ...filter, text, status })}
                of={STATUS}
            />
            <Choose
                label="Ends"
                value={filter.days}
                set={(days) => set({ ...filter, text, days })}
                of={ENDS}
            />
            <Choose
                label="Look for"
                value={filter.find}
                set={(find) => set({ ...filter, text, find })}
                of={Object.entries(FIND)}
            />
            <TextInput label="that is exactly" type="search" value={text} set={setText} />
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
    zone: Zone;
    of: ClientCertificate[];
    close: () => void;
    done: () => void;
}) {
    const { zone, of } = props;
    const [reason, setReason] = useState("unspecified");
    const task = useTask();
    const revoke = () =>
        task.run(async () => {
            // One change: all are revoked, or none.
            await call("POST", `${OWN}/zones/${zone.id}/client_certificates/revocations`, {
                certificates: of.map((one) => one.id),
                reason,
            });
            props.done();
        });
    return (
        <Dialog title={`Revoke ${counted(of.length)}?`} close={props.close}>
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
                    Rules with <code>cf.tls_client_auth.cert_revoked</code> refuse{" "}
                    {of.length === 1 ? "its" : "their"} requests from now on. Revoked certificates can be
                    restored.
                </p>
                <Choose label="Reason" value={reason} set={setReason} of={REASONS} />
                {task.error !== null && <Notice kind="error">{task.error}</Notice>}
                <SubmitOrCancel cancel={props.close} disabled={task.busy} danger>
                    {task.busy
                        ? "Revoking…"
                        : `Revoke ${of.length === 1 ? "it" : of.length.toLocaleString()}`}
                </SubmitOrCancel>
            </form>
        </Dialog>
    );
}
