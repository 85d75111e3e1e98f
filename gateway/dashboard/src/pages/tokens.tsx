// Tokens of the admin API: made, shown once, deleted. A session of the dashboard ends with its token.

import { useState } from "preact/hooks";
import type { Scope, Session, Zone } from "../api";
import { OWN, all, call, may } from "../api";
import { Check, Chips, Choose, SubmitOrCancel, submitting, TextInput } from "../inputs";
import { Badge, Copy, Dialog, Notice, Show, Table, Time, useLoaded, useTask, Value } from "../ui";
import { Confirm } from "./confirm";

interface Token {
    id: string;
    name: string;
    scopes: Scope[];
    zones: string[];
    status: "active" | "expired";
    created_on: string;
    expires_on: string;
    value?: string;
}

const SCOPES: [Scope, string][] = [
    ["read", "Read only"],
    ["certificates", "Issue, revoke and restore client certificates"],
    ["rules", "Change rules and lists"],
    ["all", "Everything, tokens included"],
];

/** What a token may last, in days. */
const DAYS = [1, 7, 30, 90, 365].map(
    (count) => [String(count), `${count} ${count === 1 ? "day" : "days"}`] as const,
);

export function Tokens({ session, zones }: { session: Session; zones: Zone[] }) {
    const tokens = useLoaded(() => all<Token>(`${OWN}/tokens`), [], { about: ["token"] });
    const [creates, setCreates] = useState(false);
    const [deletes, setDeletes] = useState<Token | null>(null);
    const canChange = may(session, "all");
    const named = (ids: string[]) =>
        ids.map((id) => zones.find((zone) => zone.id === id)?.name ?? id).join(", ");
    return (
        <>
            <div class="title">
                <h1 tabIndex={-1}>Tokens</h1>
                {canChange && (
                    <div class="actions">
                        <button type="button" class="primary" onClick={() => setCreates(true)}>
                            Create token
                        </button>
                    </div>
                )}
            </div>
            <section class="card">
                <Show of={tokens} what="tokens">
                    {(found) =>
                        found.length === 0 ? (
                            <p class="quiet">
                                No tokens. One is needed to use the API over TCP, and to sign in here
                                without the command line.
                            </p>
                        ) : (
                            <Table
                                label="Tokens"
                                head={["Name", "May", "Zones", "State", "Ends", ...(canChange ? ["Change"] : [])]}
                            >
                                {found.map((token) => (
                                    <tr key={token.id}>
                                        <th scope="row">
                                            <Value text={token.name} />
                                        </th>
                                        <td>{token.scopes.join(", ")}</td>
                                        <td>{token.zones.length === 0 ? "all" : named(token.zones)}</td>
                                        <td>
                                            <Badge kind={token.status === "active" ? "good" : "bad"}>
                                                {token.status}
                                            </Badge>
                                        </td>
                                        <td>
                                            <Time at={token.expires_on} />
                                        </td>
                                        {canChange && (
                                            <td>
                                                <button
                                                    type="button"
                                                    class="danger"
                                                    aria-label={`Delete ${token.name}`}
                                                    onClick={() => setDeletes(token)}
                                                >
                                                    Delete
                                                </button>
                                            </td>
                                        )}
                                    </tr>
                                ))}
                            </Table>
                        )
                    }
                </Show>
            </section>
            {creates && (
                <Create zones={zones} close={() => setCreates(false)} made={tokens.reload} />
            )}
            {deletes !== null && (
                <Confirm
                    title="Delete the token?"
                    button="Delete it"
                    path={`${OWN}/tokens/${deletes.id}`}
                    close={() => setDeletes(null)}
                    done={() => {
                        setDeletes(null);
                        tokens.reload();
                    }}
                >
                    <p>
                        <Value text={deletes.name} />: its next request is refused, and sessions that
                        were begun with it end.
                    </p>
                </Confirm>
            )}
        </>
    );
}

function Create(props: { zones: Zone[]; close: () => void; made: () => void }) {
    const [name, setName] = useState("");
    const [scopes, setScopes] = useState<Scope[]>(["read"]);
    const [zones, setZones] = useState<string[]>([]);
    const [days, setDays] = useState(90);
    const [made, setMade] = useState<Token | null>(null);
    const task = useTask();
    const unknown = zones.filter((one) => !props.zones.some((zone) => zone.name === one));
    const create = () =>
        task.run(async () => {
            const ids = props.zones.filter((zone) => zones.includes(zone.name));
            const body = { name, scopes, zones: ids.map((zone) => zone.id), days };
            setMade((await call<Token>("POST", `${OWN}/tokens`, body)).result);
            props.made();
        });
    if (made !== null) {
        return (
            <Dialog title="The token was created" close={props.close}>
                <Notice kind="warning">
                    It is shown <strong>this once</strong>, and kept as a digest only.
                </Notice>
                <pre class="code" tabIndex={0} aria-label="The token">
                    {made.value}
                </pre>
                <div class="actions start">
                    <Copy text={made.value ?? ""} what="the token" />
                </div>
                <div class="actions">
                    <button type="button" class="primary" onClick={props.close}>
                        Done
                    </button>
                </div>
            </Dialog>
        );
    }
    return (
        <Dialog title="Create token" close={props.close}>
            <form onSubmit={submitting(create)}>
                <TextInput
                    label="Name"
                    hint="What it is for: the audit log shows it."
                    value={name}
                    set={setName}
                    required
                />
                <fieldset>
                    <legend>It may</legend>
                    {SCOPES.map(([scope, title]) => (
                        <Check
                            title={title}
                            checked={scopes.includes(scope)}
                            set={(checked) =>
                                setScopes(
                                    checked
                                        ? [...scopes, scope]
                                        : scopes.filter((one) => one !== scope),
                                )
                            }
                        />
                    ))}
                </fieldset>
                <Chips
                    label="Only in these zones (optional)"
                    hint={
                        unknown.length > 0
                            ? `There is no zone ${unknown.join(", ")}.`
                            : "Without one, in all of them."
                    }
                    values={zones}
                    set={setZones}
                    known={props.zones.map((zone) => zone.name)}
                />
                <Choose
                    label="Ends after"
                    value={String(days)}
                    set={(chosen) => setDays(Number(chosen))}
                    of={DAYS}
                />
                {task.error !== null && <Notice kind="error">{task.error}</Notice>}
                <SubmitOrCancel cancel={props.close} disabled={task.busy || scopes.length === 0 || unknown.length > 0}>
                    Create
                </SubmitOrCancel>
            </form>
        </Dialog>
    );
}
