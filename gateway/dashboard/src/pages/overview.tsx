// Overview: the gateway at a glance, its zones with their hosts, and what ends soon.

import { useRef, useState } from "preact/hooks";
import type { Host, Session, Status, Traffic, Zone } from "../api";
import { OWN, all, call, get, may } from "../api";
import { duration } from "../chart";
import { link } from "../router";
import { CUSTOM, changeRule, loadRule } from "../rules";
import { Badge, daysUntil, Notice, Show, Table, Time, useAgain, useLoaded, usePaged, useTask, Value, Words } from "../ui";
import { FleetBadge } from "./fleet";
import { HostDialog } from "./host";
import { HOSTS_PER_PAGE, Kept, useEnforced } from "./hosts-card";
import { isLate } from "./meanwhile";
import { Where, ZoneOrigins } from "./origin";
import { CreateZone, DeleteZone } from "./zone";

/** Zones on a page: the hosts of each are asked for, and examined. */
const ZONES_PER_PAGE = 10;

export function Overview({ session, zones }: { session: Session; zones: Zone[] }) {
    const [makes, setMakes] = useState(false);
    const mayMake = may(session, "all") && session.zones === null;
    const [shown, pages] = usePaged(zones, ZONES_PER_PAGE);
    return (
        <>
            <div class="title">
                <h1 tabIndex={-1}>Overview</h1>
                {mayMake && (
                    <div class="actions">
                        <button type="button" onClick={() => setMakes(true)}>
                            Create a zone
                        </button>
                    </div>
                )}
            </div>
            {makes && <CreateZone close={() => setMakes(false)} done={() => setMakes(false)} />}
            {session.zones === null && <Gateway />}
            {zones.length === 0 && (
                <Notice kind="info">
                    There are no zones yet. <strong>Create a zone</strong> makes the first, and so does{" "}
                    <code>postern zone create example.com</code>.
                </Notice>
            )}
            {shown.map((zone) => (
                <ZoneCard key={zone.id} zone={zone} session={session} />
            ))}
            {pages}
        </>
    );
}

function seconds(value: number | null): string {
    if (value === null) return "–";
    return value < 1 ? `${(value * 1000).toPrecision(3)} ms` : `${value.toPrecision(3)} s`;
}

function uptime(total: number): string {
    const [days, hours, minutes] = [
        Math.floor(total / 86_400),
        Math.floor((total % 86_400) / 3_600),
        Math.floor((total % 3_600) / 60),
    ];
    if (days > 0) return `${days} d ${hours} h`;
    return hours > 0 ? `${hours} h ${minutes} min` : `${minutes} min`;
}

function Gateway() {
    const status = useLoaded(() => get<Status>(`${OWN}/status`), [], {
        about: ["zone", "host", "CA", "server certificate", "client certificate"],
    });
    useAgain(status.reload);
    return (
        <Show of={status} what="the gateway's state">
            {(now) => (
                <section class="card" aria-label="The gateway">
                    <dl class="facts">
                        <div>
                            <dt>State</dt>
                            <dd>
                                {now.draining ? (
                                    <Badge kind="warn">draining</Badge>
                                ) : now.ready ? (
                                    <Badge kind="good">ready</Badge>
                                ) : (
                                    <Badge kind="bad">not ready</Badge>
                                )}
                            </dd>
                        </div>
                        <div>
                            <dt>Version</dt>
                            <dd>{now.version}</dd>
                        </div>
                        <div>
                            <dt>Up for</dt>
                            <dd>{uptime(now.uptime_seconds)}</dd>
                        </div>
                        <div>
                            <dt>Workers</dt>
                            <dd>
                                {now.workers_answering} of {now.workers} answer
                            </dd>
                        </div>
                        <div>
                            <dt>Steering</dt>
                            <dd title={now.steering.reason ?? undefined}>{now.steering.mode}</dd>
                        </div>
                        <div>
                            <dt>Hosts served</dt>
                            <dd>
                                {now.hosts_served} of {now.hosts}
                            </dd>
                        </div>
                        <div>
                            <dt>Requests</dt>
                            <dd>{now.requests_total.toLocaleString()}</dd>
                        </div>
                        <div>
                            <dt>Latency p50, p99</dt>
                            <dd>
                                {seconds(now.latency_seconds.p50)},{" "}
                                {seconds(now.latency_seconds.p99)}
                            </dd>
                        </div>
                        {now.fleet !== null && (
                            <div>
                                <dt>Fleet</dt>
                                <dd>
                                    <a href={link("fleet")}>{now.fleet.name}</a>{" "}
                                    <FleetBadge state={now.fleet.state} />
                                </dd>
                            </div>
                        )}
                    </dl>
                    <Ends of={now.expiring} />
                </section>
            )}
        </Show>
    );
}

function ends(at: string): string {
    const days = daysUntil(at);
    if (days < 0) return "has ended";
    return days === 0 ? "ends within a day" : `ends in ${days} ${days === 1 ? "day" : "days"}`;
}

function Ends({ of }: { of: Status["expiring"] }) {
    const clients = of.client_certificates.within_30_days;
    const count = of.server_certificates.length + of.authorities.length;
    if (count === 0 && clients === 0) {
        return <p class="quiet">No certificate ends within thirty days.</p>;
    }
    return (
        <Notice kind="warning">
            <strong>What ends soon</strong>
            <ul>
                {of.server_certificates.map((one) => (
                    <li>
                        The server certificate of {one.hosts.join(", ")} {ends(one.expires_on)} (
                        <Time at={one.expires_on} />)
                    </li>
                ))}
                {of.authorities.map((one) => (
                    <li>
                        The CA <Value text={one.name} /> {ends(one.expires_on)} (
                        <Time at={one.expires_on} />)
                    </li>
                ))}
                {clients > 0 && (
                    <li>
                        {clients.toLocaleString()} client{" "}
                        {clients === 1 ? "certificate ends" : "certificates end"} within thirty days
                    </li>
                )}
            </ul>
        </Notice>
    );
}

const MODES = {
    off: "asks for no certificate",
    request: "asks, and rules decide",
    require: "refuses in the handshake",
} as const;

/** Minutes that requests and refusals are counted over. */
const MINUTES = 60;

function ZoneCard({ zone, session }: { zone: Zone; session: Session }) {
    const [opened, setOpened] = useState<Host | null>(null);
    const [deletes, setDeletes] = useState(false);
    const canEdit = may(session, "all");
    const revision = useRef<string | null>(null);
    const load = async () => {
        // The revision before the hosts are looked at: what changes meanwhile counts as newer.
        const path = `${OWN}/zones/${zone.id}/hosts`;
        const seen = (await call<Host[]>("GET", `${path}?per_page=1`)).revision;
        const found = await all<Host>(path);
        revision.current = seen;
        return found;
    };
    const hosts = useLoaded(load, [zone.id], {
        about: ["zone", "host", "CA", "server certificate"],
    });
    const traffic = useLoaded(
        () => get<Traffic[]>(`${OWN}/zones/${zone.id}/traffic?minutes=${MINUTES}`),
        [zone.id],
        { about: [] },
    );
    useAgain(traffic.reload);
    const [shown, pages] = usePaged(hosts.data ?? [], HOSTS_PER_PAGE);
    const asking = shown.filter((host) => host.mtls !== "off").map((host) => host.name);
    const enforced = useEnforced(asking);
    const of = new Map(traffic.data?.map((one) => [one.host, one]));
    const count = (value: number | undefined) => (value ?? 0).toLocaleString();
    return (
        <section class="card" aria-label={zone.name}>
            <div class="title">
                <h2>
                    <a href={link("zones", zone.name, "client-certificates")}>{zone.name}</a>
                </h2>
                {canEdit && session.zones === null && (
                    <div class="actions">
                        <button
                            type="button"
                            class="danger"
                            aria-label={`Delete ${zone.name}`}
                            onClick={() => setDeletes(true)}
                        >
                            Delete
                        </button>
                    </div>
                )}
            </div>
            {deletes && (
                <DeleteZone
                    zone={zone}
                    close={() => setDeletes(false)}
                    done={() => setDeletes(false)}
                />
            )}
            {opened !== null && (
                <HostDialog
                    host={opened}
                    revision={revision.current}
                    close={() => setOpened(null)}
                    done={() => {
                        setOpened(null);
                        hosts.reload();
                    }}
                />
            )}
            <Show of={hosts} what="hosts">
                {(found) =>
                    found.length === 0 ? (
                        <p class="quiet">
                            No hosts yet. Create one at{" "}
                            <a href={link("zones", zone.name, "client-certificates")}>
                                Client Certificates
                            </a>
                            , card Hosts.
                        </p>
                    ) : (
                        <>
                            <Table
                                label={`Hosts of ${zone.name}`}
                                head={[
                                    "Host",
                                    "mTLS",
                                    "Clients without a certificate",
                                    "Requests in an hour",
                                    "Refused, blocked",
                                    "p99",
                                    "Origin",
                                    "Server certificate",
                                ]}
                            >
                                {shown.map((host) => {
                                    const did = of.get(host.name);
                                    const by = enforced.get(host.name);
                                    return (
                                        <tr>
                                            <th scope="row">
                                                {canEdit ? (
                                                    <button
                                                        type="button"
                                                        class="link"
                                                        aria-label={`Edit ${host.name}`}
                                                        onClick={() => setOpened(host)}
                                                    >
                                                        {host.name}
                                                    </button>
                                                ) : (
                                                    host.name
                                                )}
                                            </th>
                                            <td title={MODES[host.mtls]}>{host.mtls}</td>
                                            <td class="words">
                                                {host.mtls === "off" ? (
                                                    "come in"
                                                ) : by === undefined ? (
                                                    "–"
                                                ) : (
                                                    <Kept
                                                        zone={zone}
                                                        by={by}
                                                        canMend={may(session, "rules")}
                                                    />
                                                )}
                                            </td>
                                            <td>{count(did?.requests)}</td>
                                            <td>
                                                {count(did?.refused)}, {count(did?.blocked)}
                                            </td>
                                            <td>
                                                {did === undefined || did.p99_seconds === null
                                                    ? "–"
                                                    : duration(did.p99_seconds)}
                                            </td>
                                            <td>
                                                <Where host={host} />
                                            </td>
                                            <td>
                                                {host.server_certificate === null ? (
                                                    <Badge kind="bad">none: not served</Badge>
                                                ) : (
                                                    <>
                                                        ends{" "}
                                                        <Time
                                                            at={host.server_certificate.expires_on}
                                                        />
                                                    </>
                                                )}
                                            </td>
                                        </tr>
                                    );
                                })}
                            </Table>
                            {pages}
                            <ZoneOrigins zone={zone} />
                            <Doctor zone={zone} session={session} />
                        </>
                    )
                }
            </Show>
        </section>
    );
}

type Fix =
    | { kind: "host"; key: string; value: string }
    | { kind: "disable_rule"; rule_id: string }
    | { kind: "expression"; rule_id: string; expression: string };

interface Finding {
    check: string;
    state: "ok" | "doubt" | "bad";
    message: string;
    mend: string | null;
    fix: Fix | null;
}

interface Examined {
    hosts: { host: string; findings: Finding[] }[];
    left_out: number;
}

/** What `postern doctor` finds amiss, with the button that mends it. */
function Doctor({ zone, session }: { zone: Zone; session: Session }) {
    const examined = useLoaded(() => call<Examined>("GET", `${OWN}/zones/${zone.id}/doctor`), [zone.id], {
        about: ["host", "CA", "server certificate", "client certificate", "rule", "ruleset"],
    });
    return (
        <section aria-label={`What is amiss in ${zone.name}`}>
            <h3>What is amiss</h3>
            <Show of={examined} what="what is amiss; origins are asked">
                {({ result: { hosts, left_out }, revision }) => {
                    const odd = hosts.flatMap(({ host, findings }) =>
                        findings
                            .filter((one) => one.state !== "ok")
                            .map((finding) => ({ host, finding })),
                    );
                    return (
                        <>
                            {odd.length === 0 && (
                                <p class="quiet">
                                    Nothing: every host has what mutual TLS needs.
                                </p>
                            )}
                            <ul class="log">
                                {odd.map(({ host, finding }) => (
                                    <li key={`${host} ${finding.check}`}>
                                        <p>
                                            <Badge kind={finding.state === "bad" ? "bad" : "warn"}>
                                                {finding.state}
                                            </Badge>{" "}
                                            <strong>{host}</strong>, {finding.check}:{" "}
                                            <Words text={finding.message} />
                                        </p>
                                        <Mend
                                            zone={zone}
                                            host={host}
                                            finding={finding}
                                            session={session}
                                            seen={revision}
                                            done={examined.reload}
                                        />
                                    </li>
                                ))}
                            </ul>
                            {left_out > 0 && (
                                <p class="quiet">
                                    {left_out.toLocaleString()} further hosts were not examined;{" "}
                                    <code>postern doctor</code> examines all.
                                </p>
                            )}
                        </>
                    );
                }}
            </Show>
        </section>
    );
}

/** Where one mends by hand what one click cannot. */
const PAGES: Record<string, [string[], string]> = {
    rule: [["client-certificates", "create-mtls-rule"], "Create a mTLS rule"],
    "client certificate": [["client-certificates"], "Create a client certificate"],
    "server certificate": [["server-certificates"], "To the server certificates"],
};

function Mend(props: {
    zone: Zone;
    host: string;
    finding: Finding;
    session: Session;
    /** The revision that was examined: nothing newer is overwritten. */
    seen: string | null;
    done: () => void;
}) {
    const { zone, host, finding, session, seen } = props;
    const { fix } = finding;
    const task = useTask();
    const needs = fix?.kind === "host" ? "all" : "rules";
    const apply = async (how: Fix) => {
        if (how.kind === "host") {
            const path = `${OWN}/hosts/${encodeURIComponent(host)}`;
            await call("PATCH", path, { [how.key]: how.value }, seen);
            return;
        }
        const { ruleset } = await loadRule(zone, CUSTOM, how.rule_id);
        if (ruleset === null) throw new Error("The rules are gone; reload the page.");
        const change =
            how.kind === "disable_rule" ? { enabled: false } : { expression: how.expression };
        await changeRule(zone, ruleset, how.rule_id, change, seen);
    };
    const mend = (how: Fix) =>
        task.run(async () => {
            try {
                await apply(how);
            } catch (error) {
                // What is there now is looked at again, so that it may be mended.
                if (isLate(error)) props.done();
                throw error;
            }
            props.done();
        });
    const page = PAGES[finding.check];
    return (
        <>
            {task.error !== null && <Notice kind="error">{task.error}</Notice>}
            <div class="actions start">
                {fix !== null && may(session, needs) && (
                    <button type="button" disabled={task.busy} onClick={() => mend(fix)}>
                        {said(fix)}
                    </button>
                )}
                {fix === null && page !== undefined && (
                    <a class="button" href={link("zones", zone.name, ...page[0])}>
                        {page[1]}
                    </a>
                )}
                {finding.mend !== null && <code class="mend">{finding.mend}</code>}
            </div>
        </>
    );
}

function said(fix: Fix): string {
    if (fix.kind === "host") return `Mend it: set ${fix.key} to ${fix.value}`;
    return fix.kind === "disable_rule"
        ? "Mend it: switch that rule off"
        : `Mend it: make the rule ${fix.expression.slice(0, 80)}`;
}
