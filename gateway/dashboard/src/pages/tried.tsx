// A custom rule, as it is written, tried on the newest requests before it acts.

import { useState } from "preact/hooks";
import type { GatewayEvent, Zone } from "../api";
import { OWN, call, get } from "../api";
import type { Written } from "../rules";
import { Notice, useTask, Value } from "../ui";

/** Requests that it is tried on, at most. */
const REQUESTS_MAX = 1_000;

/** Requests that are listed. */
const LISTED_MAX = 5;

interface Tested {
    outcome: string;
    rule?: { draft: boolean } | null;
    request?: { method: string; host: string; path: string };
}

interface Found {
    requests: number;
    blocked: Tested[];
    unknown: number;
}

export function Tried(props: { zone: Zone; rule: Written; id: string | null; disabled: boolean }) {
    const { zone, rule, id } = props;
    const [found, setFound] = useState<{ of: string; found: Found } | null>(null);
    const task = useTask();
    const run = () =>
        task.run(async () => {
            const recent = `${OWN}/zones/${zone.id}/events/requests?limit=${REQUESTS_MAX}`;
            const records = (await get<GatewayEvent[]>(recent)).map((one) => JSON.stringify(one.record));
            if (records.length === 0) {
                throw new Error("There were no requests yet since the gateway started.");
            }
            // What only logs is asked what it would block: that is what one wants to know.
            const { expression, description } = rule;
            const draft = {
                ...(id === null ? {} : { id }),
                expression,
                description,
                action: "block",
                enabled: true,
            };
            const path = `${OWN}/zones/${zone.id}/rule_tests`;
            const { result } = await call<{ tested: Tested[] }>("POST", path, { records, draft });
            setFound({
                of: expression,
                found: {
                    requests: result.tested.length,
                    blocked: result.tested.filter(
                        (one) => one.outcome === "block" && one.rule?.draft === true,
                    ),
                    unknown: result.tested.filter((one) => one.outcome === "unknown").length,
                },
            });
        });
    return (
        <>
            <div class="actions start">
                <button type="button" disabled={task.busy || props.disabled} onClick={run}>
                    {task.busy ? "Trying…" : "Try it on the newest requests"}
                </button>
            </div>
            {task.error !== null && <Notice kind="error">{task.error}</Notice>}
            {found !== null && found.of === rule.expression && <Outcome of={found.found} />}
        </>
    );
}

function Outcome({ of }: { of: Found }) {
    const { blocked, requests, unknown } = of;
    return (
        <Notice kind={blocked.length > 0 ? "warning" : "info"}>
            Would have blocked {blocked.length.toLocaleString()} of {requests.toLocaleString()}
            {blocked.length > 0 && ": "}
            {blocked.slice(0, LISTED_MAX).map(({ request }, at) => (
                <>
                    {at > 0 && ", "}
                    <Value
                        text={
                            request === undefined
                                ? "a request"
                                : `${request.method} ${request.host}${request.path}`.slice(0, 100)
                        }
                        code
                    />
                </>
            ))}
            {blocked.length > LISTED_MAX &&
                ` and ${(blocked.length - LISTED_MAX).toLocaleString()} more`}
            .
            {unknown > 0 &&
                ` Of ${unknown.toLocaleString()} it depends on what the log does not say of them.`}
        </Notice>
    );
}
