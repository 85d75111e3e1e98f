// The frame around all pages: signing in, the navigation, and which page is shown.

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Session, Zone } from "./api";
import { CLOUDFLARE, all, session as loadSession, signIn, signOut, whenSessionEnds } from "./api";
import { Choose } from "./inputs";
import type { Change } from "./live";
import { start, useLive } from "./live";
import { AuditLog } from "./pages/audit";
import { Authorities } from "./pages/authorities";
import { ClientCertificates } from "./pages/client-certificates";
import { Events } from "./pages/events";
import { FleetPage } from "./pages/fleet";
import { Latency } from "./pages/latency";
import { MtlsRulePage } from "./pages/mtls-rule";
import { Overview } from "./pages/overview";
import { RulePage } from "./pages/rule";
import { Rules } from "./pages/rules";
import { ServerCertificates } from "./pages/server-certificates";
import { Settings } from "./pages/settings";
import { SignIn } from "./pages/sign-in";
import { TestPage } from "./pages/test";
import { Tokens } from "./pages/tokens";
import { link, takeCode, usePath } from "./router";
import { KINDS } from "./rules";
import { message, Show, Time, useLoaded, Value } from "./ui";

function Dashboard() {
    const [session, setSession] = useState<Session | null | undefined>(undefined);
    const [why, setWhy] = useState<string | null>(null);
    useEffect(() => {
        whenSessionEnds((reason) => {
            setSession(null);
            setWhy(reason);
        });
        const code = takeCode();
        const begin = code === null ? loadSession() : signIn({ code });
        begin.then(setSession, (error: unknown) => {
            setWhy(message(error));
            setSession(null);
        });
    }, []);
    if (session === undefined) {
        return (
            <p class="quiet center" role="status">
                Signing in…
            </p>
        );
    }
    if (session === null) {
        const signedIn = (begun: Session) => {
            setWhy(null);
            setSession(begun);
        };
        return <SignIn why={why} signedIn={signedIn} />;
    }
    const leave = () => {
        signOut().then(
            () => {
                setWhy(null);
                setSession(null);
            },
            (error: unknown) => {
                setWhy(message(error));
                setSession(null);
            },
        );
    };
    return <Frame session={session} leave={leave} />;
}

function Frame({ session, leave }: { session: Session; leave: () => void }) {
    const path = usePath();
    useEffect(() => start(session), [session.id]);
    const zones = useLoaded<Zone[]>(
        async () => session.zones ?? (await all<Zone>(`${CLOUDFLARE}/zones`)),
        [session],
        { about: ["zone"] },
    );
    useEffect(() => {
        document.title = `${titleOf(path)} · Postern`;
        zones.reload();
        const heading = document.querySelector<HTMLElement>("h1");
        heading?.focus();
        scrollTo(0, 0);
    }, [path.join("/")]);
    return (
        <>
            <a class="skip" href="#main" onClick={skip}>
                Skip to the content
            </a>
            <header>
                <a class="brand" href={link()}>
                    Postern
                </a>
                <div class="who">
                    <details>
                        <summary title={session.signed_in_as}>{named(session.signed_in_as)}</summary>
                        <div class="menu">
                            <p>
                                May: {session.scopes.join(", ")}
                                {session.zones !== null &&
                                    `, in ${session.zones.map((zone) => zone.name).join(", ")}`}
                            </p>
                            <p>
                                The session ends <Time at={session.ends_on} />, or after{" "}
                                {Math.round(session.idle_seconds / 60)} minutes without use.
                            </p>
                            <button type="button" onClick={leave}>
                                Sign out
                            </button>
                        </div>
                    </details>
                </div>
            </header>
            <div class="body">
                <Navigation path={path} zones={zones.data ?? []} tenant={session.zones !== null} />
                <main id="main" tabIndex={-1}>
                    <Changed me={session.signed_in_as} />
                    <Show of={zones} what="zones">
                        {(found) => <Page path={path} zones={found} session={session} />}
                    </Show>
                </main>
            </div>
        </>
    );
}

/** How long it is said that another person has changed something. */
const SAID_MS = 20_000;

/** What others have changed just now: the page shows it by itself. */
function Changed({ me }: { me: string }) {
    const [change, set] = useState<Change | null>(null);
    useLive({
        change: (told) => {
            if (told.actor !== undefined && told.actor !== me) set(told);
        },
    });
    useEffect(() => {
        if (change === null) return;
        const timer = setTimeout(() => set(null), SAID_MS);
        return () => clearTimeout(timer);
    }, [change]);
    // That a ruleset has another version is what a change of its rules comes with.
    const told = (change?.changes ?? []).filter((one) => !one.noun.startsWith("ruleset"));
    const [first, ...more] = told.length > 0 ? told : (change?.changes ?? []);
    const others = more.length + (change?.omitted ?? 0);
    return (
        <div class="changed" role="status">
            {change !== null && first !== undefined && (
                <p class="notice info">
                    <Value text={named(change.actor ?? "")} /> has changed {first.noun}{" "}
                    <Value text={shortened(first.key)} />
                    {others > 0 && ` and ${others.toLocaleString()} more`}; what is shown here is up to
                    date. <a href={link("audit-log")}>Audit log</a>
                </p>
            )}
        </div>
    );
}

/** A token by its name rather than its id. */
function named(actor: string): string {
    const token = /^token \S+ \((.*)\)$/.exec(actor);
    return token === null ? actor : `token ${token[1]}`;
}

/** An id by its beginning; names are as they are. */
function shortened(key: string): string {
    return /^[0-9a-f-]{32,36}$/.test(key) ? `${key.slice(0, 8)}…` : key;
}

function skip(event: Event): void {
    event.preventDefault();
    document.getElementById("main")?.focus();
}

/** The pages of a zone, by the last part of their address, in the order of the menu. */
const OF_ZONE: [string, string][] = [
    ["client-certificates", "Client Certificates"],
    ["rules", "Custom rules"],
    ["test", "Test"],
    ["events", "Events"],
    ["latency", "Latency"],
    ["server-certificates", "Server certificates"],
];

/** The pages that are of no zone. Tokens of some zones have only that of CAs. */
const OF_GATEWAY: [string, string][] = [
    ["events", "Events"],
    ["authorities", "Certificate Authorities"],
    ["fleet", "Fleet"],
    ["audit-log", "Audit log"],
    ["tokens", "Tokens"],
    ["settings", "Settings"],
];

/** Zones whose pages are all in the menu; of more, one is chosen. */
const ZONES_IN_MENU_MAX = 3;

function Navigation(props: { path: string[]; zones: Zone[]; tenant: boolean }) {
    const { path, zones } = props;
    const [first, name, page] = path;
    const [opened, setOpened] = useState(false);
    const [chosen, setChosen] = useState<string | null>(null);
    // What is opened goes when one has gone somewhere.
    useEffect(() => {
        setOpened(false);
        setChosen(null);
    }, [path.join("/")]);
    const here = (is: boolean) => (is ? "page" : undefined);
    const many = zones.length > ZONES_IN_MENU_MAX;
    const wanted = chosen ?? (first === "zones" ? name : undefined);
    const one = zones.find((zone) => zone.name === wanted) ?? zones[0];
    const shown = many && one !== undefined ? [one] : zones;
    return (
        <nav aria-label="Main" class={opened ? "opened" : ""}>
            <button
                type="button"
                class="menu-button"
                aria-expanded={opened}
                onClick={() => setOpened(!opened)}
            >
                <span aria-hidden="true">☰</span> Menu
            </button>
            <div class="entries">
                <a href={link()} aria-current={here(first === undefined)}>
                    Overview
                </a>
                {many && one !== undefined && (
                    <Choose
                        label="Zone"
                        value={one.name}
                        set={setChosen}
                        of={zones.map((zone) => [zone.name, zone.name])}
                    />
                )}
                {shown.map((zone) => (
                    <section>
                        <h2>{zone.name}</h2>
                        {OF_ZONE.map(([segment, title]) => (
                            <a
                                href={link("zones", zone.name, segment)}
                                aria-current={here(name === zone.name && isAt(segment, page))}
                            >
                                {title}
                            </a>
                        ))}
                    </section>
                ))}
                <section>
                    <h2>Gateway</h2>
                    {OF_GATEWAY.filter(([segment]) => !props.tenant || segment === "authorities").map(
                        ([segment, title]) => (
                            <a href={link(segment)} aria-current={here(first === segment)}>
                                {title}
                            </a>
                        ),
                    )}
                </section>
            </div>
        </nav>
    );
}

/** What the browser calls a page: in its tabs, its history, and for those who hear it. */
function titleOf(path: string[]): string {
    const [first, name, page, rest] = path;
    const of = (entries: [string, string][], segment: string | undefined) =>
        entries.find(([one]) => one === segment)?.[1];
    if (first === undefined) return "Overview";
    if (first !== "zones") return of(OF_GATEWAY, first) ?? "Not here";
    const kinds = KINDS.map((kind): [string, string] => [kind.segment, kind.title]);
    const list = of(kinds, page) ?? of(OF_ZONE, page) ?? "Not here";
    if (rest === "create-mtls-rule") return `Create a mTLS rule · ${name}`;
    if (rest === undefined) return `${list} · ${name}`;
    return `${rest === "new" ? "Create rule" : "Edit rule"} · ${list} · ${name}`;
}

/** Whether a page is shown below this entry of the menu: all kinds of rules have one. */
function isAt(segment: string, page: string | undefined): boolean {
    const isRules = segment === "rules" && KINDS.some((one) => one.segment === page);
    return page === segment || isRules;
}

function Page(props: { path: string[]; zones: Zone[]; session: Session }) {
    const { path, zones, session } = props;
    const [first, name, page, rest] = path;
    if (first === undefined) return <Overview session={session} zones={zones} />;
    if (name === undefined) {
        if (first === "authorities") return <Authorities session={session} zones={zones} />;
        if (first === "events" && session.zones === null) {
            return <Events zones={zones} session={session} />;
        }
        if (first === "fleet" && session.zones === null) return <FleetPage />;
        if (first === "audit-log") return <AuditLog />;
        if (first === "tokens") return <Tokens session={session} zones={zones} />;
        if (first === "settings") return <Settings session={session} />;
    }
    const zone = zones.find((one) => one.name === name);
    if (first === "zones" && zone !== undefined) {
        if (page === "client-certificates" && rest === undefined) {
            return <ClientCertificates key={zone.id} zone={zone} session={session} />;
        }
        if (page === "client-certificates" && rest === "create-mtls-rule") {
            return <MtlsRulePage key={zone.id} zone={zone} session={session} />;
        }
        if (page === "events" && rest === undefined) {
            return <Events key={zone.id} zone={zone} zones={zones} session={session} />;
        }
        if (page === "latency" && rest === undefined) {
            return <Latency key={zone.id} zone={zone} tenant={session.zones !== null} />;
        }
        if (page === "test" && rest === undefined) return <TestPage key={zone.id} zone={zone} />;
        if (page === "server-certificates" && rest === undefined) {
            return <ServerCertificates key={zone.id} zone={zone} session={session} />;
        }
        const kind = KINDS.find((one) => one.segment === page);
        if (kind !== undefined && rest === undefined) {
            return <Rules key={`${zone.id} ${page}`} zone={zone} session={session} kind={kind} />;
        }
        if (kind !== undefined && rest !== undefined) {
            const key = `${zone.id} ${page} ${rest}`;
            return <RulePage key={key} zone={zone} session={session} kind={kind} id={rest} />;
        }
    }
    return (
        <>
            <h1 tabIndex={-1}>Not here</h1>
            <p>
                There is no such page, or the zone is gone. <a href={link()}>To the overview</a>
            </p>
        </>
    );
}

const root = document.getElementById("app");
if (root !== null) render(<Dashboard />, root);
