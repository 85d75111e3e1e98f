// One event: what the log knows of it, in words, and what can be done about it.

import { useState } from "preact/hooks";
import type { ClientCertificate, GatewayEvent, LogRecord, Reason, Session, Zone } from "../api";
import { CLOUDFLARE, OWN, call, get, may } from "../api";
import { Check } from "../inputs";
import { go } from "../router";
import { begin, quoted } from "../rules";
import { Badge, Copy, Dialog, Notice, Time, useLoaded, useTask, Value, Words } from "../ui";
import { WORDS, reasonOf } from "./events";

/** What reasons say of the words of an event. */
function explained(event: GatewayEvent, reasons: Reason[]): Reason[] {
    const { record } = event;
    const isRequest = record.method !== undefined;
    const word = reasonOf(event);
    const of = reasons.filter(
        (one) =>
            one.word === word &&
            (isRequest
                ? one.of === "answer" && (one.status === null || one.status === String(record.status))
                : one.of !== "answer"),
    );
    const cert = record.client_cert;
    const ofCert = reasons.filter(
        (one) =>
            one.of === "client certificate" &&
            one.word === cert?.reason &&
            one.word !== word &&
            one.word !== "verified",
    );
    return [...of.slice(0, isRequest ? 3 : 1), ...ofCert];
}

/** Parts of an event that a rule can ask for, as expressions. */
function parts(record: LogRecord): [string, string][] {
    const cert = record.client_cert;
    const address = record.client?.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
    const found: [string, string | false | undefined][] = [
        ["the host", record.host !== undefined && `http.host eq ${quoted(record.host)}`],
        ["the path", record.path !== undefined && `http.request.uri.path eq ${quoted(record.path)}`],
        [
            "the method",
            record.method !== undefined && `http.request.method eq ${quoted(record.method)}`,
        ],
        ["the client's address", address !== undefined && `ip.src eq ${address}`],
        [
            "the certificate",
            cert?.fingerprint_sha256 !== undefined &&
                `cf.tls_client_auth.cert_fingerprint_sha256 eq ${quoted(cert.fingerprint_sha256)}`,
        ],
        [
            "that no certificate verified",
            cert !== undefined && !cert.verified && "not cf.tls_client_auth.cert_verified",
        ],
    ];
    return found.filter((one): one is [string, string] => typeof one[1] === "string");
}

/** Every member of a record, by its path. */
function members(of: unknown, at = ""): [string, string][] {
    if (Array.isArray(of)) return [[at, of.map(String).join(", ")]];
    if (typeof of !== "object" || of === null) return [[at, String(of)]];
    return Object.entries(of).flatMap(([name, value]) =>
        members(value, at === "" ? name : `${at}.${name}`),
    );
}

export function EventDialog(props: {
    event: GatewayEvent;
    reasons: Reason[];
    zone: Zone | null;
    session: Session;
    close: () => void;
}) {
    const { event, reasons, zone, session, close } = props;
    const { record } = event;
    const [kind, word] = WORDS[event.kind] ?? ["plain", event.kind];
    const words = explained(event, reasons);
    return (
        <Dialog title="What happened" close={close} wide>
            <p>
                <Badge kind={kind}>{word}</Badge> <Time at={record.time} precise />
                {event.stands_for > 1 &&
                    ` · stands for ${event.stands_for.toLocaleString()} of its kind`}
            </p>
            {words.map((one) => (
                <Notice kind="info">
                    <p>
                        <code>{one.word}</code>: <Words text={one.means} />
                    </p>
                    <p>
                        <strong>What to do:</strong> <Words text={one.mend} />
                    </p>
                </Notice>
            ))}
            {record.rule !== undefined && (
                <p>
                    Decided by the rule{" "}
                    {zone === null ? (
                        <Value text={record.rule.id} code />
                    ) : (
                        <a href={`#/zones/${encodeURIComponent(zone.name)}/rules/${record.rule.id}`}>
                            <Value text={record.rule.id} code />
                        </a>
                    )}{" "}
                    ({record.rule.action}).
                </p>
            )}
            {zone !== null && may(session, "rules") && (
                <RuleOf record={record} zone={zone} close={close} />
            )}
            {zone !== null && may(session, "certificates") && record.client_cert?.serial !== undefined && (
                <Revoke zone={zone} serial={record.client_cert.serial} />
            )}
            <h3>All that is known</h3>
            <dl class="rows">
                {event.country !== null && (
                    <div>
                        <dt>country</dt>
                        <dd>{event.country}</dd>
                    </div>
                )}
                {members(record).map(([name, value]) => (
                    <div>
                        <dt>{name}</dt>
                        <dd>
                            <Value text={value} code />
                        </dd>
                    </div>
                ))}
            </dl>
            <div class="actions">
                <Copy text={JSON.stringify(record)} what="as a line of the log" />
                <button type="button" onClick={close}>
                    Close
                </button>
            </div>
        </Dialog>
    );
}

function RuleOf({ record, zone, close }: { record: LogRecord; zone: Zone; close: () => void }) {
    const all = parts(record);
    const [chosen, setChosen] = useState<Set<string>>(
        () => new Set(all.slice(0, 2).map(([name]) => name)),
    );
    const expression = all
        .filter(([name]) => chosen.has(name))
        .map(([, text]) => text)
        .join(" and ");
    const toggle = (name: string) => {
        const next = new Set(chosen);
        if (!next.delete(name)) next.add(name);
        setChosen(next);
    };
    return (
        <details>
            <summary>Create a rule from this</summary>
            <fieldset>
                <legend>For requests with the same</legend>
                {all.map(([name]) => (
                    <Check
                        title={name.replace(/^the /, "")}
                        checked={chosen.has(name)}
                        set={() => toggle(name)}
                    />
                ))}
            </fieldset>
            <pre class="code">
                <Value text={expression} code />
            </pre>
            <button
                type="button"
                class="primary"
                disabled={expression === ""}
                onClick={() => {
                    begin({ description: "From an event", expression });
                    close();
                    go("zones", zone.name, "rules", "new");
                }}
            >
                Create a rule from this
            </button>
        </details>
    );
}

/** The certificate of the event, when the zone has issued it. */
function Revoke({ zone, serial }: { zone: Zone; serial: string }) {
    const certificates = `${CLOUDFLARE}/zones/${zone.id}/client_certificates`;
    const found = useLoaded(async () => {
        const query = new URLSearchParams({ serial_number: serial, status: "all" });
        return (await get<ClientCertificate[]>(`${certificates}?${query}`))[0] ?? null;
    }, [serial], { about: ["client certificate"] });
    const task = useTask();
    const [done, setDone] = useState(false);
    const certificate = found.data;
    if (certificate === null) return null;
    const revoke = () =>
        task.run(async () => {
            await call("POST", `${OWN}/zones/${zone.id}/client_certificates/revocations`, {
                certificates: [certificate.id],
            });
            setDone(true);
        });
    if (certificate.status === "revoked" || done) {
        return (
            <Notice kind={done ? "good" : "info"}>
                The certificate of <Value text={certificate.common_name} /> is revoked.
            </Notice>
        );
    }
    return (
        <details>
            <summary>Revoke this certificate</summary>
            {task.error !== null && <Notice kind="error">{task.error}</Notice>}
            <p>
                <Value text={certificate.common_name} />, until <Time at={certificate.expires_on} />.
                Its connections are closed within a second. It can be restored.
            </p>
            <button type="button" class="danger" disabled={task.busy} onClick={revoke}>
                Revoke it
            </button>
        </details>
    );
}
