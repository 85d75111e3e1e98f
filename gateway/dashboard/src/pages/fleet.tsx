// The fleet: how this edge stands to it, what holds on this edge alone, and the other edges.

import type { Fleet, FleetEdge, FleetState, HeldAlone, InForce } from "../api";
import { OWN, get } from "../api";
import { Badge, Notice, Show, Table, Time, useAgain, useLoaded, Value, Words } from "../ui";

const BADGES: Record<FleetState, "good" | "bad" | "warn" | "plain"> = {
    off: "plain",
    alone: "warn",
    current: "good",
    behind: "warn",
    away: "warn",
    stuck: "bad",
};

export function FleetBadge({ state }: { state: string }) {
    return <Badge kind={BADGES[state as FleetState] ?? "plain"}>{state}</Badge>;
}

/** Edges in the table: the command line shows all. */
const EDGES_SHOWN = 200;

export function FleetPage() {
    const fleet = useLoaded(() => get<Fleet>(`${OWN}/fleet`), [], { about: [] });
    useAgain(fleet.reload);
    return (
        <>
            <h1 tabIndex={-1}>Fleet</h1>
            <Show of={fleet} what="the fleet">
                {(now) => (now.state === "off" ? <Without why={now.why} /> : <Member fleet={now} />)}
            </Show>
        </>
    );
}

function Without({ why }: { why: string | null }) {
    return (
        <Notice kind="info">
            This gateway is alone: <Words text={why ?? ""} />. Gateways of a fleet have the same zones,
            hosts, rules and certificates: a change on any of them is in force on all.
        </Notice>
    );
}

function Member({ fleet }: { fleet: Fleet }) {
    return (
        <>
            <Amiss fleet={fleet} />
            <Standing fleet={fleet} />
            {fleet.alone.length > 0 && <Held of={fleet.alone} />}
            {fleet.state !== "alone" && <Edges fleet={fleet} />}
        </>
    );
}

/** What keeps this edge from having what the others have, and what to do. */
function Amiss({ fleet }: { fleet: Fleet }) {
    const why = <Words text={fleet.why ?? ""} />;
    if (fleet.state === "alone") return <NotJoined fleet={fleet} />;
    if (fleet.state === "away") {
        return (
            <Notice kind="warning">
                This edge is cut off from its fleet: {why}. What it has stays in force, and changes are
                refused. Meanwhile <code>postern cert revoke --local</code> and{" "}
                <code>postern deny add --local</code> hold on this edge alone.
            </Notice>
        );
    }
    if (fleet.state !== "stuck") return null;
    return (
        <Notice kind="error">
            <strong>This edge does not go on.</strong> {why}
        </Notice>
    );
}

function NotJoined({ fleet: { name, founded, edges_error } }: { fleet: Fleet }) {
    return (
        <Notice kind="warning">
            This gateway is not in the fleet <Value text={name ?? ""} /> yet.{" "}
            {founded !== null ? (
                <>
                    <code>postern fleet join</code> joins it.
                    {!founded.key_fits && " Its key file has to be the fleet's before."}
                    {!founded.format_fits && " The fleet's stores have another format than this version's."}
                </>
            ) : edges_error === null ? (
                <>
                    <code>postern fleet init</code> founds it with what this gateway has.
                </>
            ) : (
                <>
                    etcd cannot be asked: <Words text={edges_error} />
                </>
            )}
        </Notice>
    );
}

function age(seconds: number): string {
    const [minutes, hours] = [Math.floor(seconds / 60), Math.floor(seconds / 3_600)];
    if (minutes < 1) return `${Math.round(seconds)} s ago`;
    return hours < 1 ? `${minutes} min ago` : `${hours} h ${minutes % 60} min ago`;
}

function inForce(times: InForce | null): string {
    if (times === null || times.changes === 0) return "–";
    return `${times.p50_ms} ms, ${times.p99_ms} ms`;
}

function behind(revision: number, head: number): string {
    const lag = Math.max(0, head - revision);
    return revision.toLocaleString() + (lag > 0 ? `, ${lag.toLocaleString()} behind` : "");
}

function Standing({ fleet }: { fleet: Fleet }) {
    return (
        <section class="card" aria-label="This edge">
            <h2>This edge</h2>
            <dl class="facts">
                <div>
                    <dt>Fleet</dt>
                    <dd>{fleet.name ?? "–"}</dd>
                </div>
                <div>
                    <dt>Edge</dt>
                    <dd>{fleet.edge ?? "–"}</dd>
                </div>
                <div>
                    <dt>State</dt>
                    <dd>
                        <FleetBadge state={fleet.state} />
                    </dd>
                </div>
                <div>
                    <dt>Revision</dt>
                    <dd>{behind(fleet.revision, fleet.head ?? fleet.revision)}</dd>
                </div>
                {fleet.state !== "alone" && (
                    <>
                        <div>
                            <dt>Had all that there was</dt>
                            <dd>{age(fleet.age_seconds)}</dd>
                        </div>
                        <div>
                            <dt>Changes in force after p50, p99</dt>
                            <dd>{inForce(fleet.in_force)}</dd>
                        </div>
                        <div>
                            <dt>Leads</dt>
                            <dd>{fleet.leader ?? <Badge kind="warn">nobody</Badge>}</dd>
                        </div>
                    </>
                )}
                <div>
                    <dt>etcd</dt>
                    <dd>{fleet.etcd.length === 0 ? "–" : fleet.etcd.join(", ")}</dd>
                </div>
            </dl>
            {fleet.state !== "alone" && (
                <p class="hint">Rate limits and limits of connections are counted on each edge.</p>
            )}
        </section>
    );
}

function instant(seconds: number): string {
    return new Date(seconds * 1_000).toISOString();
}

function Held({ of }: { of: HeldAlone[] }) {
    return (
        <section class="card" aria-label="On this edge alone">
            <h2>On this edge alone</h2>
            <p>
                The other edges believe these certificates still. They become changes of the fleet once
                this edge has all that etcd has.
            </p>
            <Table label="Held on this edge alone" head={["Serial number", "What", "Since", "By"]}>
                {of.map(({ at, actor, what }) => (
                    <tr key={at}>
                        <th scope="row">
                            <Value
                                code
                                text={what.revoked?.serial ?? what.denied?.denied.serial_number ?? "–"}
                            />
                        </th>
                        <td>{what.revoked === undefined ? "denied" : "revoked"}</td>
                        <td>
                            <Time at={instant(at / 1_000_000)} precise />
                        </td>
                        <td>
                            <Value text={actor} />
                        </td>
                    </tr>
                ))}
            </Table>
        </section>
    );
}

function Edges({ fleet }: { fleet: Fleet }) {
    const { edges } = fleet;
    const shown = edges?.slice(0, EDGES_SHOWN) ?? [];
    const more = (edges?.length ?? 0) - shown.length;
    return (
        <section class="card" aria-label="Edges">
            <h2>Edges</h2>
            {edges === null ? (
                <p class="quiet">
                    They cannot be shown: <Words text={fleet.edges_error ?? ""} />
                </p>
            ) : (
                <Table
                    label="Edges of the fleet"
                    head={["Edge", "State", "Revision", "In force p50, p99", "Last heard of", "Version"]}
                >
                    {shown.map((edge) => (
                        <Row key={edge.name} edge={edge} fleet={fleet} />
                    ))}
                </Table>
            )}
            {more > 0 && (
                <p class="quiet">
                    {more.toLocaleString()} further edges are not shown;{" "}
                    <code>postern fleet status</code> shows all.
                </p>
            )}
            {shown.some((edge) => !edge.alive) && (
                <p class="hint">
                    <code>postern fleet forget EDGE</code> forgets one that is gone for good.
                </p>
            )}
        </section>
    );
}

function Row({ edge, fleet }: { edge: FleetEdge; fleet: Fleet }) {
    const own = edge.name === fleet.edge;
    // What others say of themselves is some seconds old.
    const revision = own ? fleet.revision : edge.revision;
    return (
        <tr>
            <th scope="row">
                {edge.name}
                {own && " (this one)"} {edge.leads && <Badge kind="plain">leads</Badge>}
            </th>
            <td>
                {edge.alive ? (
                    <FleetBadge state={own ? fleet.state : (edge.state ?? "unknown")} />
                ) : (
                    <Badge kind="bad">not heard of</Badge>
                )}
            </td>
            <td>{revision === null ? "–" : behind(revision, fleet.head ?? fleet.revision)}</td>
            <td>{inForce(own ? fleet.in_force : edge.in_force)}</td>
            <td>{edge.alive ? "just now" : <Time at={instant(edge.at)} />}</td>
            <td>{edge.version ?? "–"}</td>
        </tr>
    );
}
