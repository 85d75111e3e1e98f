// The card Hosts: which hosts of a zone ask their clients for a certificate of its managed CA.

import { useEffect, useState } from "preact/hooks";
import type { Enforcement, Host, Session, Zone } from "../api";
import { CLOUDFLARE, OWN, all, call, get, may } from "../api";
import { link } from "../router";
import {
    Badge,
    Chips,
    Messages,
    Notice,
    Show,
    SubmitOrCancel,
    submitting,
    Table,
    TextInput,
    useLoaded,
    useTask,
} from "../ui";
import { Meanwhile, isLate } from "./meanwhile";

/** Hosts of which it is asked, one by one, what keeps clients without a certificate out. */
const ASKED_MAX = 50;

interface Known {
    names: string[];
    /** The revision that was seen. */
    revision: string | null;
    hosts: Host[];
    enforced: Map<string, Enforcement>;
}

async function load(zone: Zone): Promise<Known> {
    const [associated, hosts] = await Promise.all([
        call<{ hostnames: string[] }>(
            "GET",
            `${CLOUDFLARE}/zones/${zone.id}/certificate_authorities/hostname_associations`,
        ),
        all<Host>(`${OWN}/zones/${zone.id}/hosts`),
    ]);
    const names = associated.result.hostnames;
    const there = names.filter((name) => hosts.some((host) => host.name === name));
    return {
        names,
        revision: associated.revision,
        hosts,
        enforced: await loadEnforced(there),
    };
}

/** What keeps clients without a certificate out, of the first of these hosts. */
export async function loadEnforced(hosts: string[]): Promise<Map<string, Enforcement>> {
    const asked = hosts.slice(0, ASKED_MAX);
    // A token of some zones may not ask this: then nothing is said of it.
    const found = await Promise.all(
        asked.map((name) =>
            get<Enforcement>(`${OWN}/hosts/${encodeURIComponent(name)}/enforcement`).catch(
                () => null,
            ),
        ),
    );
    const enforced = new Map<string, Enforcement>();
    for (const [place, one] of found.entries()) {
        const name = asked[place];
        if (one !== null && name !== undefined) enforced.set(name, one);
    }
    return enforced;
}

export function HostsCard({ zone, session }: { zone: Zone; session: Session }) {
    const known = useLoaded(() => load(zone), [zone.id], { about: ["host", "CA", "rule", "ruleset"] });
    const [edits, setEdits] = useState(false);
    const [messages, setMessages] = useState<string[]>([]);
    const canEdit = may(session, "all");
    return (
        <section class="card" aria-labelledby="hosts">
            <div class="title">
                <h2 id="hosts">Hosts</h2>
                {canEdit && !edits && (
                    <div class="actions">
                        <button
                            type="button"
                            disabled={known.data === null}
                            onClick={() => setEdits(true)}
                        >
                            Edit
                        </button>
                    </div>
                )}
            </div>
            <p class="quiet">mTLS is enabled for these hosts: they ask clients for a certificate.</p>
            <Messages of={messages} />
            <Show of={known} what="hosts">
                {(found) =>
                    edits ? (
                        <Edit
                            zone={zone}
                            known={found}
                            reload={known.reload}
                            close={() => setEdits(false)}
                            saved={(told) => {
                                setMessages(told);
                                setEdits(false);
                                known.reload();
                            }}
                        />
                    ) : (
                        <Listed zone={zone} known={found} session={session} />
                    )
                }
            </Show>
        </section>
    );
}

function Listed({ zone, known, session }: { zone: Zone; known: Known; session: Session }) {
    if (known.names.length === 0) {
        return (
            <p class="quiet">
                None yet.{" "}
                {may(session, "all") && (
                    <>
                        <strong>Edit</strong> enables mTLS: enter a host's name, press Enter, and
                        Save.
                    </>
                )}
            </p>
        );
    }
    return (
        <Table label="Hosts with mTLS" head={["Host", "mTLS", "Clients without a certificate"]}>
            {known.names.map((name) => {
                const host = known.hosts.find((one) => one.name === name);
                const enforced = known.enforced.get(name);
                return (
                    <tr key={name}>
                        <th scope="row">{name}</th>
                        <td>
                            {host === undefined ? (
                                <Badge kind="bad">the host is gone</Badge>
                            ) : (
                                host.mtls
                            )}
                        </td>
                        <td>
                            {enforced !== undefined && (
                                <Kept
                                    zone={zone}
                                    by={enforced}
                                    canMend={may(session, "rules")}
                                />
                            )}
                        </td>
                    </tr>
                );
            })}
        </Table>
    );
}

export function Kept({ zone, by, canMend }: { zone: Zone; by: Enforcement; canMend: boolean }) {
    const create = canMend && (
        <a href={link("zones", zone.name, "client-certificates", "create-mtls-rule")}>
            Create a mTLS rule
        </a>
    );
    const rule =
        by.rule_id === null ? (
            "a rule"
        ) : (
            <a href={link("zones", zone.name, "rules", by.rule_id)}>a rule</a>
        );
    switch (by.by) {
        case "handshake":
            return <>are refused in the handshake</>;
        case "rule":
            return (
                <>
                    are blocked by {rule}
                    {by.revoked_pass && (
                        <>
                            {" "}
                            <Badge kind="warn">revoked ones pass</Badge>
                        </>
                    )}
                </>
            );
        case "rule_partly":
            return <>are blocked by {rule} for some requests</>;
        case null:
            return (
                <>
                    <Badge kind="warn">come in</Badge> {create}
                </>
            );
    }
}

function Edit(props: {
    zone: Zone;
    known: Known;
    reload: () => void;
    close: () => void;
    saved: (messages: string[]) => void;
}) {
    const { zone, known } = props;
    const [base, setBase] = useState(known);
    const [names, setNames] = useState(known.names);
    const [theirs, setTheirs] = useState<Known | null>(null);
    // A host that was created here meanwhile is newer than what was seen, and no other person's.
    useEffect(() => {
        if (known.names.join() === base.names.join()) setBase(known);
    }, [known]);
    const task = useTask();
    const missing = names.filter((name) => !known.hosts.some((host) => host.name === name));
    const save = () =>
        task.run(async () => {
            setTheirs(null);
            // What changes, and not the whole list: others may have changed it meanwhile.
            const body = {
                add: names.filter((name) => !base.names.includes(name)),
                remove: base.names.filter((name) => !names.includes(name)),
            };
            const path = `${OWN}/zones/${zone.id}/hostname_associations`;
            try {
                props.saved((await call("PATCH", path, body, base.revision)).messages);
            } catch (error) {
                if (!isLate(error)) throw error;
                setTheirs(await load(zone));
            }
        });
    return (
        <>
            <form onSubmit={submitting(save)}>
                {theirs !== null && (
                    <Meanwhile
                        what="these hosts"
                        of={[
                            {
                                name: "Hosts with mTLS",
                                theirs: theirs.names.join(", "),
                                mine: names.join(", "),
                            },
                        ]}
                        take={() => {
                            setBase(theirs);
                            setNames(theirs.names);
                            setTheirs(null);
                        }}
                        keep={() => {
                            setBase(theirs);
                            setTheirs(null);
                        }}
                    />
                )}
                <Chips
                    label="Hosts that ask for a client certificate"
                    hint="Enter the name of a host and press Enter."
                    values={names}
                    set={setNames}
                    known={known.hosts.map((host) => host.name)}
                    clean={(text) => text.trim().toLowerCase().replace(/\.$/, "")}
                    placeholder={`api.${zone.name}`}
                />
                {task.error !== null && <Notice kind="error">{task.error}</Notice>}
                <SubmitOrCancel cancel={props.close} disabled={task.busy || missing.length > 0}>
                    Save
                </SubmitOrCancel>
            </form>
            {missing.map((name) => (
                <CreateHost key={name} zone={zone} name={name} created={props.reload} />
            ))}
        </>
    );
}

function CreateHost(props: { zone: Zone; name: string; created: () => void }) {
    const { zone, name } = props;
    const [url, setUrl] = useState("");
    const [develop, setDevelop] = useState(false);
    const task = useTask();
    const create = () =>
        task.run(async () => {
            await call("POST", `${OWN}/zones/${zone.id}/hosts`, {
                name,
                origin: { url },
                development_certificate: develop,
            });
            props.created();
        });
    return (
        <form class="inset" onSubmit={submitting(create)}>
            <p>
                <strong>{name}</strong> is not a host of this zone yet. Create it, or remove the name
                above.
            </p>
            <TextInput
                label="Origin: where permitted requests go"
                placeholder="http://127.0.0.1:9000"
                value={url}
                set={setUrl}
                required
            />
            <label class="choice">
                <input
                    type="checkbox"
                    checked={develop}
                    onChange={(event) => setDevelop(event.currentTarget.checked)}
                />
                <span>
                    Make a server certificate for development
                    <small>For trying it out. A host without a server certificate is not served.</small>
                </span>
            </label>
            {task.error !== null && <Notice kind="error">{task.error}</Notice>}
            <button type="submit" disabled={task.busy}>
                Create {name}
            </button>
        </form>
    );
}
