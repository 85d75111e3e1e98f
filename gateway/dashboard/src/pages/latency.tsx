// Latency: how long each stage took in the last hour, for one host or for all; percentiles over time,
// and the histogram. Changes of rules are marked.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Host, Latency as Series, LatencyStage, Zone } from "../api";
import { OWN, all, get } from "../api";
import type { Mark } from "../chart";
import { bars, duration, overTime } from "../chart";
import { Choose } from "../inputs";
import { useInAddress } from "../router";
import { Notice, Show, Table, useLoaded } from "../ui";

const STAGES: [string, string, string][] = [
    ["total", "Whole requests", "From the complete head of a request to the last byte of its answer."],
    ["handshake_full", "Full handshakes", "From the complete ClientHello to the end of a full handshake."],
    ["handshake_resumed", "Resumed handshakes", "The same of those that resume a session."],
    ["client_hello", "ClientHello", "From the accepted connection to the complete ClientHello."],
    ["accept_wait", "Waiting to be accepted", "From the accepted connection to its first turn on a worker."],
    ["rules", "Rules", "Evaluating the rules for one request."],
    ["origin_connect", "Connecting to the origin", "A new connection to the origin, its TLS handshake included."],
    ["origin_first_byte", "The origin's first byte", "From the request sent to the head of the origin's answer."],
    ["certificate_lost", "Closing after revocation", "From a change of trust to the end of a live connection that rested on it."],
];

const LINES = [
    ["p50", "--good"],
    ["p90", "--warn"],
    ["p99", "--bad"],
] as const;

/** As often as the gateway adds a step. */
const STEP_MS = 10_000;

/** Minutes that are shown. */
const SPANS = [5, 15, 60];

interface Changed {
    at: string;
    changes: { noun: string; key: string }[];
}

async function marks(tenant: boolean, since: number): Promise<Mark[]> {
    if (tenant) return [];
    const from = new Date(since).toISOString();
    const query = new URLSearchParams({ since: from, noun: "rule", per_page: "100" });
    const changes = await get<Changed[]>(`${OWN}/audit?${query}`);
    return changes.map((one) => ({
        at: new Date(one.at).getTime() / 1000,
        label: one.changes.map((change) => change.noun).join(", "),
    }));
}

export function Latency({ zone, tenant }: { zone: Zone; tenant: boolean }) {
    const hosts = useLoaded(() => all<Host>(`${OWN}/zones/${zone.id}/hosts`), [zone.id], {
        about: ["host"],
    });
    const [shown, show] = useInAddress({ host: "", stage: "total", minutes: "60" });
    const { host, stage } = shown;
    const minutes = Number(shown.minutes);
    const loaded = useLoaded(async () => {
        const query = new URLSearchParams({ minutes: String(minutes) });
        if (host !== "") query.set("host", host);
        const [series, marked] = await Promise.all([
            get<Series>(`${OWN}/zones/${zone.id}/latency?${query}`),
            marks(tenant, Date.now() - minutes * 60_000),
        ]);
        return { series, marked };
    }, [zone.id, host, minutes], { about: ["rule"] });
    useEffect(() => {
        const timer = setInterval(() => {
            if (document.visibilityState === "visible") loaded.reload();
        }, STEP_MS);
        return () => clearInterval(timer);
    }, [loaded.reload]);
    const [, , about] = STAGES.find(([name]) => name === stage) ?? ["", "", ""];
    return (
        <>
            <div class="title">
                <h1 tabIndex={-1}>Latency</h1>
                <span class="quiet">{zone.name}</span>
            </div>
            <section class="card filters" role="search" aria-label="What is shown">
                <Choose
                    label="Host"
                    value={host}
                    set={(chosen) => show({ host: chosen })}
                    of={[
                        ["", "All hosts of the zone"],
                        ...(hosts.data ?? []).map(({ name }) => [name, name] as const),
                    ]}
                />
                <Choose
                    label="Stage"
                    hint={about}
                    value={stage}
                    set={(chosen) => show({ stage: chosen })}
                    of={STAGES.map(([name, title]) => [name, title])}
                />
                <Choose
                    label="The last"
                    value={String(minutes)}
                    set={(chosen) => show({ minutes: chosen })}
                    of={SPANS.map((span) => [String(span), `${span} minutes`])}
                />
            </section>
            <Show of={loaded} what="latencies">
                {({ series, marked }) => {
                    const found = series.stages[stage];
                    return (
                        <>
                            {found === undefined || found.whole.count === 0 ? (
                                <section class="card">
                                    <p class="quiet">
                                        Nothing was timed in this stage in the last {minutes} minutes.
                                        Steps of ten seconds appear here as requests come.
                                    </p>
                                </section>
                            ) : (
                                <Stage series={series} of={found} marked={marked} />
                            )}
                            <AllStages of={series} choose={(name) => show({ stage: name })} />
                        </>
                    );
                }}
            </Show>
        </>
    );
}

function Stage(props: { series: Series; of: LatencyStage; marked: Mark[] }) {
    const { series, of, marked } = props;
    const { whole } = of;
    return (
        <section class="card" aria-label="The stage">
            <p>
                {whole.count.toLocaleString()} in all. Half stayed below{" "}
                <strong>{duration(whole.p50 ?? 0)}</strong>, nine of ten below{" "}
                <strong>{duration(whole.p90 ?? 0)}</strong>, 99 of 100 below{" "}
                <strong>{duration(whole.p99 ?? 0)}</strong>; the longest took{" "}
                {duration(whole.max ?? 0)}.
            </p>
            <h2>Over time</h2>
            <p class="legend">
                {LINES.map(([name, colour]) => (
                    <span class={`line ${colour.slice(2)}`}>{name}</span>
                ))}
                {marked.length > 0 && <span class="line mark">rules changed</span>}
            </p>
            <Chart
                label={`Percentiles over time: p99 was ${duration(whole.p99 ?? 0)} over the whole time`}
                draw={(into) =>
                    overTime(
                        into,
                        series.at,
                        LINES.map(([name, colour]) => ({ label: name, colour, values: of[name] })),
                        marked,
                    )
                }
                of={JSON.stringify([series.at.at(-1), series.at.length, whole.count, marked.length])}
            />
            <h2>Histogram</h2>
            <Chart
                label="How many took how long"
                draw={(into) => {
                    const { labels, counts } = buckets(of);
                    return bars(into, labels, counts);
                }}
                of={JSON.stringify([whole.count, of.histogram.length])}
            />
            {marked.length > 0 && (
                <Notice kind="info">
                    Rules were changed{" "}
                    {marked.length === 1 ? "once" : `${marked.length.toLocaleString()} times`} in this
                    time: the dashed lines.
                </Notice>
            )}
        </section>
    );
}

/** Every bucket from the first that was hit to the last, in seconds. */
function buckets(of: LatencyStage): { labels: number[]; counts: number[] } {
    const labels: number[] = [];
    const counts: number[] = [];
    for (const { from_ns, to_ns, count } of of.histogram) {
        let last = labels.at(-1);
        // Those between were not hit: a gap is part of the picture.
        while (last !== undefined && last * 1.13 < from_ns / 1e9 && labels.length < 250) {
            last *= 1.125;
            if (last * 1.05 >= from_ns / 1e9) break;
            labels.push(last);
            counts.push(0);
        }
        labels.push((from_ns + to_ns) / 2e9);
        counts.push(count);
    }
    return { labels, counts };
}

function Chart(props: {
    label: string;
    /** Draws, and answers what takes it away. */
    draw: (into: HTMLElement) => Promise<() => void>;
    /** Drawn again when this changes. */
    of: string;
}) {
    const place = useRef<HTMLDivElement>(null);
    const [dark, setDark] = useState(0);
    useEffect(() => {
        const scheme = matchMedia("(prefers-color-scheme: dark)");
        const turned = () => setDark((before) => before + 1);
        scheme.addEventListener("change", turned);
        return () => scheme.removeEventListener("change", turned);
    }, []);
    useEffect(() => {
        const into = place.current;
        if (into === null) return;
        let gone = false;
        let undo: (() => void) | null = null;
        props.draw(into).then(
            (remove) => {
                if (gone) remove();
                else undo = remove;
            },
            () => {
                into.textContent = "The chart cannot be drawn; reload the page.";
            },
        );
        return () => {
            gone = true;
            undo?.();
        };
    }, [props.of, dark]);
    return <div class="chart" role="img" aria-label={props.label} ref={place} />;
}

function AllStages({ of, choose }: { of: Series; choose: (stage: string) => void }) {
    const known = STAGES.filter(([name]) => (of.stages[name]?.whole.count ?? 0) > 0);
    if (known.length === 0) return null;
    const shown = (value: number | null | undefined) =>
        value === null || value === undefined ? "–" : duration(value);
    return (
        <section class="card">
            <h2>All stages</h2>
            <Table label="All stages" head={["Stage", "Count", "p50", "p90", "p99", "Longest"]}>
                {known.map(([name, title]) => {
                    const whole = of.stages[name]?.whole;
                    return (
                        <tr>
                            <th scope="row">
                                <button type="button" class="link" onClick={() => choose(name)}>
                                    {title}
                                </button>
                            </th>
                            <td>{whole?.count.toLocaleString()}</td>
                            <td>{shown(whole?.p50)}</td>
                            <td>{shown(whole?.p90)}</td>
                            <td>{shown(whole?.p99)}</td>
                            <td>{shown(whole?.max)}</td>
                        </tr>
                    );
                })}
            </Table>
        </section>
    );
}
