// Create a mTLS rule: the form is filled in, so that Deploy alone protects every host that asks for
// certificates. The Expression Preview is what the gateway would make of it.

import { useEffect, useState } from "preact/hooks";
import type { Lint, MtlsRule, MtlsRuleWrite, Session, Zone } from "../api";
import { CLOUDFLARE, OWN, call, get, may } from "../api";
import { Check, Chips, Choose, submitting, TextInput } from "../inputs";
import { go, link } from "../router";
import { begin } from "../rules";
import { message, Notice, Show, useLoaded, useTask, Words } from "../ui";

/** After the last change and before the preview is asked for. */
const PREVIEW_PAUSE_MS = 200;

const ACTIONS = [
    ["block", "Block"],
    ["log", "Log"],
] as const;

export function MtlsRulePage({ zone, session }: { zone: Zone; session: Session }) {
    const hosts = useLoaded(async () => {
        const path = `${CLOUDFLARE}/zones/${zone.id}/certificate_authorities/hostname_associations`;
        return (await get<{ hostnames: string[] }>(path)).hostnames;
    }, [zone.id]);
    return (
        <>
            <p class="crumbs">
                <a href={link("zones", zone.name, "client-certificates")}>Client Certificates</a>
            </p>
            <div class="title">
                <h1 tabIndex={-1}>Create a mTLS rule</h1>
                <span class="quiet">{zone.name}</span>
            </div>
            {may(session, "rules") ? (
                <Show of={hosts} what="hosts">
                    {(found) => <RuleForm key={zone.id} zone={zone} hosts={found} />}
                </Show>
            ) : (
                <Notice kind="info">
                    This token cannot change rules: sign in with one of the scope <code>rules</code>.
                </Notice>
            )}
        </>
    );
}

function RuleForm({ zone, hosts }: { zone: Zone; hosts: string[] }) {
    const [rule, setRule] = useState<MtlsRuleWrite>({
        name: "mTLS rule",
        hosts,
        paths: [],
        check_revoked: true,
        action: "block",
        enabled: true,
    });
    const [preview, setPreview] = useState<MtlsRule | null>(null);
    const [wrong, setWrong] = useState<string | null>(null);
    const [done, setDone] = useState<MtlsRule | null>(null);
    const task = useTask();
    const path = `${OWN}/zones/${zone.id}/mtls_rules`;
    const change = (part: Partial<MtlsRuleWrite>) => setRule({ ...rule, ...part });

    useEffect(() => {
        let current = true;
        const timer = setTimeout(() => {
            call<MtlsRule>("POST", `${path}?dry_run=true`, rule).then(
                ({ result }) => {
                    if (!current) return;
                    setPreview(result);
                    setWrong(null);
                },
                (error: unknown) => {
                    if (current) setWrong(message(error));
                },
            );
        }, PREVIEW_PAUSE_MS);
        return () => {
            current = false;
            clearTimeout(timer);
        };
    }, [JSON.stringify(rule)]);

    const finish = (enabled: boolean) =>
        task.run(async () => {
            setDone((await call<MtlsRule>("POST", path, { ...rule, enabled })).result);
        });

    if (done !== null) {
        return (
            <section class="card">
                <Notice kind="good">
                    {done.enabled
                        ? `The rule is deployed, as number ${done.position} of the zone's custom rules. It holds for every request from now on.`
                        : `The draft is saved, as number ${done.position} of the zone's custom rules. It does nothing until it is enabled.`}
                </Notice>
                <pre class="code" tabIndex={0} aria-label="The rule's expression">
                    {done.expression}
                </pre>
                <div class="actions start">
                    <button
                        type="button"
                        class="primary"
                        onClick={() => go("zones", zone.name, "rules")}
                    >
                        To the custom rules
                    </button>
                    <button
                        type="button"
                        onClick={() => go("zones", zone.name, "client-certificates")}
                    >
                        To the client certificates
                    </button>
                    <button type="button" onClick={() => setDone(null)}>
                        Create another
                    </button>
                </div>
            </section>
        );
    }
    const removed = hosts.filter((name) => !rule.hosts.includes(name));
    return (
        <form class="card" onSubmit={submitting(() => finish(true))}>
            {hosts.length === 0 && (
                <Notice kind="warning">
                    No host of this zone asks for client certificates, so the rule would block
                    everyone. Enable mTLS first:{" "}
                    <a href={link("zones", zone.name, "client-certificates")}>
                        Client Certificates, card Hosts, Edit
                    </a>
                    .
                </Notice>
            )}
            <TextInput
                label="Rule name"
                value={rule.name}
                set={(name) => change({ name })}
                required
            />
            <h2>When incoming requests match</h2>
            <Chips
                label="API hosts"
                hint={
                    rule.hosts.length === 0
                        ? "Without a host, the rule is for all hosts of the zone."
                        : "All hosts with mTLS are listed. An X removes one."
                }
                values={rule.hosts}
                set={(chosen) => change({ hosts: chosen })}
                known={hosts}
                clean={(text) => text.trim().toLowerCase().replace(/\.$/, "")}
            />
            {removed.length > 0 && (
                <p class="quiet">
                    Not in the rule: {removed.join(", ")}{" "}
                    <button type="button" class="link" onClick={() => change({ hosts })}>
                        list all again
                    </button>
                </p>
            )}
            <Chips
                label="URI paths"
                hint={
                    rule.paths.length === 0
                        ? "Enter the path to protect, such as /admin, and press Enter. Without one, all paths are protected."
                        : "Exactly these paths. Each begins with /."
                }
                values={rule.paths}
                set={(paths) => change({ paths })}
                placeholder="/admin"
            />
            <Check
                title="Check for revoked certificates"
                hint="Without it, a client whose certificate was revoked still comes in."
                checked={rule.check_revoked}
                set={(checked) => change({ check_revoked: checked })}
            />
            <h2>Then take action</h2>
            <Choose
                label="Choose action"
                hint={
                    rule.action === "log"
                        ? "Log first, look at what it would have blocked, and then block."
                        : "Only requests with a valid client certificate get through."
                }
                value={rule.action}
                set={(action) => change({ action: action === "log" ? "log" : "block" })}
                of={ACTIONS}
            />
            <h2 id="preview">Expression Preview</h2>
            <pre class="code" tabIndex={0} aria-labelledby="preview" aria-live="polite">
                {preview?.expression ?? "…"}
            </pre>
            {wrong !== null && <Notice kind="error">{wrong}</Notice>}
            {preview?.lints.map((lint) => (
                <Notice kind="warning">
                    <Words text={lint.message} />
                    <Correction
                        lint={lint}
                        check={() => change({ check_revoked: true })}
                        rewrite={(expression) => {
                            const { name: description, action } = rule;
                            begin({ description, action, expression });
                            go("zones", zone.name, "rules", "new");
                        }}
                    />
                </Notice>
            ))}
            {task.error !== null && task.error !== wrong && (
                <Notice kind="error">{task.error}</Notice>
            )}
            <div class="actions">
                <a class="button" href={link("zones", zone.name, "client-certificates")}>
                    Cancel
                </a>
                <button
                    type="button"
                    disabled={task.busy || wrong !== null}
                    onClick={() => finish(false)}
                >
                    Save as Draft
                </button>
                <button type="submit" class="primary" disabled={task.busy || wrong !== null}>
                    Deploy
                </button>
            </div>
        </form>
    );
}

/** What one click makes of a rule that is odd: in this form where that can say it. */
function Correction(props: {
    lint: Lint;
    check: () => void;
    rewrite: (expression: string) => void;
}) {
    const { lint } = props;
    if (lint.kind === "revoked_passes") {
        return (
            <p>
                <button type="button" onClick={props.check}>
                    Check for revoked certificates
                </button>
            </p>
        );
    }
    const { suggestion } = lint;
    if (suggestion === null) return null;
    return (
        <p>
            <button type="button" onClick={() => props.rewrite(suggestion)}>
                Go on with the correction as an expression
            </button>{" "}
            <code>{suggestion}</code>
        </p>
    );
}
