// Versions of a zone's custom rules: what each changed, and going back to one.

import { useState } from "preact/hooks";
import type { Rule, Zone } from "../api";
import { CLOUDFLARE, OWN, call, get } from "../api";
import { Choose } from "../inputs";
import type { Head } from "../rules";
import { Dialog, Notice, Show, Time, useLoaded, useTask, Value } from "../ui";

interface Differences {
    from: string;
    to: string;
    rules: {
        kind: "added" | "removed" | "changed" | "moved";
        moved: boolean;
        before: { position: number; rule: Rule } | null;
        after: { position: number; rule: Rule } | null;
    }[];
}

export function Versions(props: {
    zone: Zone;
    ruleset: Head;
    canChange: boolean;
    close: () => void;
    restored: () => void;
}) {
    const { zone, ruleset } = props;
    const own = `${OWN}/zones/${zone.id}/rulesets/${ruleset.id}`;
    const versions = useLoaded(async () => {
        const path = `${CLOUDFLARE}/zones/${zone.id}/rulesets/${ruleset.id}/versions`;
        const all = await get<Head[]>(path);
        return all.sort((a, b) => Number(b.version) - Number(a.version));
    }, [ruleset.id, ruleset.version], { about: [] });
    const [chosen, setChosen] = useState<string | null>(null);
    const task = useTask();
    const restore = (version: string) =>
        task.run(async () => {
            await call("POST", `${own}/versions/${version}/restore`);
            props.restored();
        });
    return (
        <Dialog title="Versions" close={props.close} wide>
            <Show of={versions} what="versions">
                {(all) => {
                    const older = all.filter((one) => one.version !== ruleset.version);
                    const version = chosen ?? older[0]?.version;
                    if (version === undefined) {
                        return <p class="quiet">This is the first version; there is no older one.</p>;
                    }
                    return (
                        <>
                            <Choose
                                label="Compare now with"
                                value={version}
                                set={setChosen}
                                of={older.map((one) => [
                                    one.version,
                                    `version ${one.version}, ${new Date(one.last_updated).toLocaleString()}`,
                                ])}
                            />
                            <Changes own={own} from={version} to={ruleset.version} />
                            {task.error !== null && <Notice kind="error">{task.error}</Notice>}
                            {props.canChange && (
                                <div class="actions">
                                    <button
                                        type="button"
                                        class="primary"
                                        disabled={task.busy}
                                        onClick={() => restore(version)}
                                    >
                                        Restore version {version}
                                    </button>
                                </div>
                            )}
                            <p class="hint">
                                Restoring makes a new version with the rules of the old one; nothing is
                                lost. The newest is of <Time at={all[0]?.last_updated ?? ""} />.
                            </p>
                        </>
                    );
                }}
            </Show>
        </Dialog>
    );
}

const WHAT = { added: "Added", removed: "Removed", changed: "Changed", moved: "Moved" } as const;

function Changes({ own, from, to }: { own: string; from: string; to: string }) {
    const differences = useLoaded(
        () => get<Differences>(`${own}/differences?from=${from}&to=${to}`),
        [own, from, to],
        { about: [] },
    );
    return (
        <Show of={differences} what="differences">
            {({ rules }) =>
                rules.length === 0 ? (
                    <p class="quiet">The rules are the same.</p>
                ) : (
                    <ul class="changes">
                        {rules.slice(0, 100).map((one) => (
                            <li>
                                <strong>{WHAT[one.kind]}</strong>{" "}
                                <Value
                                    text={
                                        one.after?.rule.description ??
                                        one.before?.rule.description ??
                                        ""
                                    }
                                />
                                {one.moved && one.before !== null && one.after !== null && (
                                    <>
                                        {" "}
                                        from number {one.before.position} to {one.after.position}
                                    </>
                                )}
                                {one.before !== null && one.kind !== "moved" && (
                                    <del>
                                        <Line of={one.before.rule} />
                                    </del>
                                )}
                                {one.after !== null && one.kind !== "moved" && (
                                    <ins>
                                        <Line of={one.after.rule} />
                                    </ins>
                                )}
                            </li>
                        ))}
                        {rules.length > 100 && <li>and {rules.length - 100} more</li>}
                    </ul>
                )
            }
        </Show>
    );
}

function Line({ of }: { of: Rule }) {
    return (
        <span class="code">
            {of.enabled ? "" : "(off) "}
            {of.action}: <Value text={of.expression} code /> (<Value text={of.description} code />)
        </span>
    );
}
