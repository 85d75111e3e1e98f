// Charts, drawn by uPlot, which is loaded with the first of them. Colours are the page's own.

import type uPlot from "uplot";

export interface Line {
    label: string;
    /** The name of a colour of the style sheet. */
    colour: string;
    values: (number | null)[];
}

/** A moment that is marked, in seconds since the epoch. */
export interface Mark {
    at: number;
    label: string;
}

function colour(name: string): string {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** A latency, for people. */
export function duration(seconds: number): string {
    if (seconds >= 1) return `${seconds.toPrecision(3)} s`;
    if (seconds >= 1e-3) return `${(seconds * 1e3).toPrecision(3)} ms`;
    return `${(seconds * 1e6).toPrecision(3)} µs`;
}

/** A tick of an axis: fewer digits. */
function tick(seconds: number): string {
    if (seconds >= 1) return `${Number(seconds.toPrecision(2))} s`;
    if (seconds >= 1e-3) return `${Number((seconds * 1e3).toPrecision(2))} ms`;
    return `${Number((seconds * 1e6).toPrecision(2))} µs`;
}

const HEIGHT = 260;

function axes(): uPlot.Axis {
    const grid = { stroke: colour("--line"), width: 1 };
    return { stroke: colour("--quiet"), grid, ticks: grid };
}

/** Percentiles over time, on a logarithmic scale, with marks. The answer takes it away. */
export async function overTime(
    into: HTMLElement,
    at: number[],
    lines: Line[],
    marks: Mark[],
): Promise<() => void> {
    const { default: Plot } = await import("uplot");
    const axis = axes();
    const accent = colour("--accent");
    const options: uPlot.Options = {
        width: into.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        scales: { x: { time: true }, y: { distr: 3 } },
        axes: [axis, { ...axis, size: 70, values: (_, ticks) => ticks.map((y) => (y === null ? "" : tick(y))) }],
        series: [
            {},
            ...lines.map((line) => ({
                label: line.label,
                stroke: colour(line.colour),
                width: 2,
                points: { show: false },
                spanGaps: false,
            })),
        ],
        hooks: {
            draw: [
                (plot) => {
                    const { ctx, bbox } = plot;
                    ctx.save();
                    ctx.strokeStyle = accent;
                    ctx.setLineDash([4, 4]);
                    for (const mark of marks) {
                        const x = plot.valToPos(mark.at, "x", true);
                        if (x < bbox.left || x > bbox.left + bbox.width) continue;
                        ctx.beginPath();
                        ctx.moveTo(x, bbox.top);
                        ctx.lineTo(x, bbox.top + bbox.height);
                        ctx.stroke();
                    }
                    ctx.restore();
                },
            ],
        },
    };
    const plot = new Plot(options, [at, ...lines.map((line) => line.values)], into);
    return kept(plot, into);
}

/** How many fell into each bucket. The answer takes it away. */
export async function bars(
    into: HTMLElement,
    labels: number[],
    counts: number[],
): Promise<() => void> {
    const { default: Plot } = await import("uplot");
    const axis = axes();
    const places = labels.map((_, place) => place);
    const options: uPlot.Options = {
        width: into.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        scales: {
            // Half a bar more on both sides.
            x: { time: false, range: (_, first, last) => [first - 0.6, last + 0.6] },
            y: { range: (_, __, most) => [0, most * 1.1] },
        },
        axes: [
            {
                ...axis,
                values: (_, ticks) =>
                    ticks.map((place) => {
                        const value = Number.isInteger(place) ? labels[place] : undefined;
                        return value === undefined ? "" : tick(value);
                    }),
            },
            { ...axis, size: 70 },
        ],
        series: [
            {},
            {
                label: "count",
                fill: colour("--accent"),
                ...barred(Plot.paths.bars?.({ size: [0.9, 60] })),
                points: { show: false },
            },
        ],
    };
    const plot = new Plot(options, [places, counts], into);
    return kept(plot, into);
}

/** As wide as its place, for as long as it is there. */
function kept(plot: uPlot, into: HTMLElement): () => void {
    const watch = new ResizeObserver(() => plot.setSize({ width: into.clientWidth, height: HEIGHT }));
    watch.observe(into);
    return () => {
        watch.disconnect();
        plot.destroy();
    };
}

function barred(paths: uPlot.Series.PathBuilder | undefined): { paths?: uPlot.Series.PathBuilder } {
    return paths === undefined ? {} : { paths };
}
