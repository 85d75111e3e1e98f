// Origins: where requests go, how the addresses are, and what is said of times, limits and TLS. Nothing is
// changed here: `postern origin` and `postern host` do.

import type { Host, Origin, OriginAddress, ShownCertificate, Zone, ZoneOrigin } from "../api";
import { OWN, all } from "../api";
import { Badge, daysUntil, Show, Table, Time, useLoaded, Value } from "../ui";

/** Addresses of an origin that are listed. */
const ADDRESSES_SHOWN = 4;
/** Days before its end at which a certificate is marked. */
const SOON_DAYS = 30;

function time(ms: number): string {
    return ms < 1000 ? `${ms} ms` : `${ms / 1000} s`;
}

function times({ timeouts }: Origin): string | null {
    if (timeouts === undefined) return null;
    const { connect_ms, try_ms, whole_ms } = timeouts;
    const parts = [
        connect_ms === undefined ? null : `${time(connect_ms)} to connect`,
        try_ms === undefined ? null : `${time(try_ms)} for a try`,
        whole_ms === undefined ? null : `${time(whole_ms)} in all`,
    ];
    const said = parts.filter((part) => part !== null);
    return said.length === 0 ? null : said.join(", ");
}

function limits({ limits }: Origin): string | null {
    if (limits === undefined) return null;
    const { requests, connections, queue, queue_ms } = limits;
    const parts = [
        requests === undefined ? null : `${requests} requests`,
        connections === undefined ? null : `${connections} connections`,
    ];
    const said = parts.filter((part) => part !== null);
    const waits = queue === 0 ? "nobody waits" : `${queue ?? 100} wait for ${time(queue_ms ?? 5000)} at most`;
    return said.length === 0 ? null : `${said.join(" and ")} at once, ${waits}`;
}

function tls(origin: Origin): string | null {
    const parts = [
        origin.tls_min_version === undefined ? null : `TLS ${origin.tls_min_version} or newer`,
        origin.server_name === undefined ? null : `for the name ${origin.server_name}`,
        origin.ca_pem === undefined ? null : "by CAs of its own",
    ];
    const said = parts.filter((part) => part !== null);
    return said.length === 0 ? null : said.join(", ");
}

function Shown({ shown }: { shown: ShownCertificate }) {
    const days = daysUntil(shown.expires_on);
    const name = shown.common_name === "" ? shown.organization : shown.common_name;
    return (
        <span title={`issued by ${shown.issuer}, SHA-256 ${shown.fingerprint_sha256}`}>
            is shown <Value text={name} />, {days < 0 ? "which has ended " : "which ends "}
            <Time at={shown.expires_on} />
            {days < 0 && <Badge kind="bad">expired</Badge>}
            {days >= 0 && days < SOON_DAYS && <Badge kind="warn">ends soon</Badge>}
        </span>
    );
}

/** What is said of an origin beside its addresses; nothing where nothing is. */
function Said({ origin, shown }: { origin: Origin; shown: ShownCertificate | null }) {
    const proxy = origin.proxy_protocol === undefined ? null : `PROXY protocol ${origin.proxy_protocol}`;
    const said = [times(origin), limits(origin), tls(origin), proxy].filter((one) => one !== null);
    if (said.length === 0 && shown === null) return null;
    return (
        <span class="quiet words">
            {said.map((one) => (
                <>
                    <br />
                    {one}
                </>
            ))}
            {shown !== null && (
                <>
                    <br />
                    <Shown shown={shown} />
                </>
            )}
        </span>
    );
}

function Addresses({ origin, now }: { origin: Origin; now: OriginAddress[] }) {
    const { url, addresses } = origin;
    const urls = addresses?.map((one) => one.url) ?? (url === undefined ? [] : [url]);
    const amiss = now.filter((one) => one.state !== "good");
    return (
        <>
            {urls.slice(0, ADDRESSES_SHOWN).map((one) => (
                <Value text={one} />
            ))}
            {urls.length > ADDRESSES_SHOWN && ` and ${urls.length - ADDRESSES_SHOWN} more`}
            {amiss.slice(0, ADDRESSES_SHOWN).map((one) => (
                <span title={one.health_error ?? undefined}>
                    {" "}
                    <Badge kind={one.state === "starting" ? "warn" : "bad"}>
                        {urls.length === 1 ? one.state : `${one.state}: ${one.url}`}
                    </Badge>
                </span>
            ))}
        </>
    );
}

/** Where a host's requests go, and which addresses get none at the moment. */
export function Where({ host }: { host: Host }) {
    const { name } = host.origin;
    return (
        <>
            {name !== undefined && (
                <>
                    the zone's origin <Value text={name} />
                </>
            )}
            <Addresses origin={host.origin} now={host.addresses} />
            <Said origin={host.origin} shown={host.origin_client_certificate} />
        </>
    );
}

/** The origins of a zone, which its hosts and rules share; nothing where there are none. */
export function ZoneOrigins({ zone }: { zone: Zone }) {
    const origins = useLoaded(() => all<ZoneOrigin>(`${OWN}/zones/${zone.id}/origins`), [zone.id], {
        about: ["origin", "host"],
    });
    return (
        <Show of={origins} what="origins">
            {(found) =>
                found.length === 0 ? (
                    <></>
                ) : (
                    <Table label={`Origins of ${zone.name}`} head={["Origin", "Where, and how", "Used by"]}>
                        {found.map((one) => (
                            <tr>
                                <th scope="row">{one.name}</th>
                                <td>
                                    <Addresses origin={one.origin} now={one.addresses} />
                                    <Said origin={one.origin} shown={one.client_certificate} />
                                </td>
                                <td class="words">
                                    {one.used_by.length === 0 ? "nothing" : one.used_by.join(", ")}
                                </td>
                            </tr>
                        ))}
                    </Table>
                )
            }
        </Show>
    );
}
