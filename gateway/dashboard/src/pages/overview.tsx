// Overview: the gateway at a glance, its zones with their hosts, and what ends soon.

import type { Host, Session, Status, Zone } from "../api";
import { OWN, all, get } from "../api";
import { link } from "../router";
import { Badge, Notice, Show, Table, Time, Value, daysUntil, useLoaded } from "../ui";

export function Overview({ session, zones }: { session: Session; zones: Zone[] }) {
    return (
        <>
            <h1 tabIndex={-1}>Overview</h1>
            {session.zones === null && <Gateway />}
            {zones.length === 0 && (
                <Notice kind="info">
                    There are no zones yet. On the command line,{" "}
                    <code>postern zone create example.com</code> makes the first.
                </Notice>
            )}
            {zones.map((zone) => (
                <ZoneCard key={zone.id} zone={zone} />
            ))}
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
    const status = useLoaded(() => get<Status>(`${OWN}/status`), []);
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

function ZoneCard({ zone }: { zone: Zone }) {
    const hosts = useLoaded(() => all<Host>(`${OWN}/zones/${zone.id}/hosts`), [zone.id]);
    return (
        <section class="card" aria-label={zone.name}>
            <h2>
                <a href={link("zones", zone.name, "client-certificates")}>{zone.name}</a>
            </h2>
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
                        <Table
                            label={`Hosts of ${zone.name}`}
                            head={["Host", "mTLS", "Origin", "Server certificate"]}
                        >
                            {found.map((host) => (
                                <tr>
                                    <th scope="row">{host.name}</th>
                                    <td title={MODES[host.mtls]}>{host.mtls}</td>
                                    <td>
                                        <Value text={host.origin.url} />
                                    </td>
                                    <td>
                                        {host.server_certificate === null ? (
                                            <Badge kind="bad">none: not served</Badge>
                                        ) : (
                                            <>
                                                ends <Time at={host.server_certificate.expires_on} />
                                            </>
                                        )}
                                    </td>
                                </tr>
                            ))}
                        </Table>
                    )
                }
            </Show>
        </section>
    );
}
