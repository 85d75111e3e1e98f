// The card Hosts: which hosts of a zone ask their clients for a certificate of its managed CA.

import { useEffect, useState } from "preact/hooks";
import type { Enforcement, Host, Session, Zone } from "../api";
import { CLOUDFLARE, OWN, all, call, get, may } from "../api";
import { Check, Chips, SubmitOrCancel, submitting, TextInput } from "../inputs";
import { link } from "../router";
import { Badge, Messages, Notice, Show, Table, useLoaded, usePaged, useTask } from "../ui";
import type { Difference } from "./meanwhile";
import { Meanwhile, isLate } from "./meanwhile";

/** Hosts on a page: of each of them it is asked what keeps clients without a certificate out. */
export const HOSTS_PER_PAGE = 50;

interface Known {
    names: string[];
    /** The revision that was seen. */
    revision: string | null;
    hosts: Host[];
}

async function load(zone: Zone): Promise<Known> {
    const [associated, hosts] = await Promise.all([
        call<{ hostnames: string[] }>(
            "GET",
            `${CLOUDFLARE}/zones/${zone.id}/certificate_authorities/hostname_associations`,
        ),
        all<Host>(`${OWN}/zones/${zone.id}/hosts`),
    ]);
    return { names: associated.result.hostnames, revision: associated.revision, hosts };
}

/** What keeps clients without a certificate out of each of these hosts: those of one page. */
export function useEnforced(hosts: string[]): Map<string, Enforcement> {
    const loaded = useLoaded(() => loadEnforced(hosts), [hosts.join(" ")], {
        about: ["host", "CA", "rule", "ruleset"],
        keep: true,
    });
    return loaded.data ?? new Map();
}

async function loadEnforced(hosts: string[]): Promise<Map<string, Enforcement>> {
    // A token of some zones may not ask this: then nothing is said of it.
    const found = await Promise.all(
        hosts.map((name) =>
            get<Enforcement>(`${OWN}/hosts/${encodeURIComponent(name)}/enforcement`).catch(
                () => null,
            ),
        ),
    );
    const enforced = new Map<string, Enforcement>();
    for (const [place, one] of found.entries()) {
        const name = hosts[place];
        if (one !== null && name !== undefined) enforced.set(name, one);
    }
    return enforced;
}

export function HostsCard({ zone, session }: { zone: Zone; session: Session }) {
    const known = useLoaded(() => load(zone), [zone.id], { about: ["host", "CA"] });
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
    const [shown, pages] = usePaged(known.names, HOSTS_PER_PAGE);
    const there = shown.filter((name) => known.hosts.some((host) => host.name === name));
    const of = useEnforced(there);
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
        <>
            <Table label="Hosts with mTLS" head={["Host", "mTLS", "Clients without a certificate"]}>
                {shown.map((name) => {
                    const host = known.hosts.find((one) => one.name === name);
                    const enforced = of.get(name);
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
                            <td class="words">
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
            {pages}
        </>
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
    const differ = (other: Known) => other.names.join() !== base.names.join();
    // A host that was created here meanwhile is newer than what was seen, and no other person's.
    useEffect(() => {
        if (differ(known)) setTheirs(known);
        else setBase(known);
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
                // A name that others have taken away can no longer be taken away, which is refused for
                // itself.
                const now = await load(zone);
                if (!isLate(error) && !differ(now)) throw error;
                setTheirs(now);
            }
        });
    const settle = (take: boolean) => {
        if (theirs === null) return;
        setNames(take ? theirs.names : merged(base.names, theirs.names, names));
        setBase(theirs);
        setTheirs(null);
    };
    return (
        <>
            <form onSubmit={submitting(save)}>
                {theirs !== null && (
                    <Meanwhile
                        what="these hosts"
                        of={meanwhile(base.names, theirs.names, names)}
                        take={() => settle(true)}
                        keep={() => settle(false)}
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
                <SubmitOrCancel
                    cancel={props.close}
                    disabled={task.busy || missing.length > 0 || theirs !== null}
                >
                    Save
                </SubmitOrCancel>
            </form>
            {missing.map((name) =>
                isOf(zone, name) ? (
                    <CreateHost key={name} zone={zone} name={name} created={props.reload} />
                ) : (
                    <Notice key={name} kind="error">
                        <strong>{name}</strong> is not of this zone, whose hosts are {zone.name} itself and
                        names that end in .{zone.name}. Remove the name above, or enter it in its own zone.
                    </Notice>
                ),
            )}
        </>
    );
}

const without = (names: string[], others: string[]) => names.filter((name) => !others.includes(name));

/** What I was about to make of `before`, made of what others have made of it. */
function merged(before: string[], theirs: string[], mine: string[]): string[] {
    const added = without(mine, before);
    const removed = without(before, mine);
    return [...without(theirs, removed), ...without(added, theirs)].sort();
}

function meanwhile(before: string[], theirs: string[], mine: string[]): Difference[] {
    const said: [string, string[]][] = [
        ["Added", without(theirs, before)],
        ["Taken away", without(before, theirs)],
    ];
    const whole = {
        name: "Hosts with mTLS",
        theirs: theirs.join(", "),
        mine: merged(before, theirs, mine).join(", "),
    };
    const parts = said.map(([name, names]) => ({ name, theirs: names.join(", "), mine: names.join(", ") }));
    return [...parts.filter((one) => one.theirs !== ""), whole];
}

/** Whether a name may be one of a zone's hosts. */
function isOf(zone: Zone, name: string): boolean {
    return name === zone.name || name.endsWith(`.${zone.name}`);
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
            <Check
                title="Make a server certificate for development"
                hint="For trying it out. A host without a server certificate is not served."
                checked={develop}
                set={setDevelop}
            />
            {task.error !== null && <Notice kind="error">{task.error}</Notice>}
            <button type="submit" disabled={task.busy}>
                Create {name}
            </button>
        </form>
    );
}
