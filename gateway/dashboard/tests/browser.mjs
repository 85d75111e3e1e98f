// A real Chromium, and what every step of a test may use: pages with accessibility checks and
// pictures, clients of the gateway, and the comparison of requests with the OpenAPI document.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { inFewColours } from "./png.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Widths that pages are looked at with, in CSS pixels: a telephone, and a desk. */
const WIDTHS = [360, 1280];

/** How long a step may wait for something to appear. */
const PATIENCE_MS = 60_000;

/** What the gateway's test has told: see `tests/it/dashboard.rs`. */
export const told = JSON.parse(process.argv[2] ?? "{}");

/** Where pictures go, when they are wanted. */
const pictures = process.env.POSTERN_TEST_PICTURES;

export async function open() {
    const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);
    const browser = await chromium.launch({
        executablePath,
        args: [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ],
    });
    return browser;
}

/** Calls that a page has made, and what it complained of. */
export async function visit(browser, options = {}) {
    const context = await browser.newContext({
        viewport: { width: 1280, height: 900 },
        acceptDownloads: true,
        ...options,
    });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    const seen = { calls: [], complaints: [] };
    const local = process.env.POSTERN_TEST_DASHBOARD;
    if (local !== undefined) await fromDirectory(page, local);
    page.on("request", (sent) => {
        const url = new URL(sent.url());
        if (!["blob:", "data:"].includes(url.protocol)) {
            seen.calls.push({ method: sent.method(), path: url.pathname, origin: url.origin });
        }
    });
    page.on("console", (line) => {
        // A refused call, and a gateway that restarts, are said by the page in words; the browser
        // says it here as well.
        const refused =
            /Failed to load resource: (the server responded|net::ERR_(CONNECTION|INCOMPLETE|EMPTY|FAILED))/.test(
                line.text(),
            );
        if (["error", "warning"].includes(line.type()) && !refused) {
            seen.complaints.push(line.text());
        }
    });
    page.on("pageerror", (error) => seen.complaints.push(String(error)));
    return { context, page, seen };
}

/** For work on the page: its files as they were last built, with the gateway's own headers. */
async function fromDirectory(page, directory) {
    const types = { html: "text/html", js: "text/javascript", css: "text/css", svg: "image/svg+xml" };
    const ours = ({ pathname }) => pathname === "/" || pathname.startsWith("/dashboard/");
    await page.route(ours, async (route) => {
        const path = new URL(route.request().url()).pathname;
        const name = path === "/" ? "index.html" : path.slice("/dashboard/".length);
        const gateway = await route.fetch({ url: new URL("/", route.request().url()).href }).catch(
            // The page was closed meanwhile.
            () => null,
        );
        if (gateway === null) return;
        const headers = gateway.headers();
        delete headers["content-encoding"];
        delete headers["content-length"];
        const type = types[name.split(".").pop()];
        await route.fulfill({
            status: 200,
            headers: { ...headers, "content-type": `${type}; charset=utf-8` },
            body: readFileSync(join(directory, name)),
        });
    });
}

/** The pictures of the guide, by the names of what is inspected: `POSTERN_TEST_GUIDE=DIRECTORY` has
 * them made. They are small, so that the repository stays so. */
const GUIDE = [
    "hosts-edit",
    "create-certificate",
    "create-mtls-rule",
    "rules",
    "builder",
    "event",
    "latency",
    "overview-amiss",
];
const GUIDE_SIZE = { width: 900, height: 600 };
const GUIDE_BYTES_MAX = 60_000;

async function illustrate(page, name) {
    const directory = process.env.POSTERN_TEST_GUIDE;
    if (directory === undefined || !GUIDE.includes(name)) return;
    mkdirSync(directory, { recursive: true });
    await page.setViewportSize(GUIDE_SIZE);
    await page.evaluate(() => scrollTo(0, 0));
    const path = join(directory, `${name}.png`);
    const bytes = inFewColours(await page.screenshot({ animations: "disabled", caret: "hide" }));
    writeFileSync(path, bytes);
    assert.ok(bytes.length <= GUIDE_BYTES_MAX, `${path} has ${bytes.length} bytes`);
}

/** The pages that were looked at, by their addresses; ids are `ID`, and zones `ZONE`. */
const inspected = new Set();

function address(url) {
    const [path] = new URL(url).hash.replace(/^#/, "").split("?");
    return path.replace(/[0-9a-f]{32}|[0-9a-f-]{36}/, "ID").replace(/^(\/zones\/)[^/]+/, "$1ZONE");
}

/** That each of these pages was looked at, in both schemes and at both widths. */
export function allInspected(pages) {
    assert.deepEqual(
        pages.filter((page) => !inspected.has(page)),
        [],
        `only ${[...inspected].join(", ")}`,
    );
}

/** Looks at a page as it is: no finding of axe, nothing that is too wide; pictures on request. */
export async function inspect(page, name) {
    inspected.add(address(page.url()));
    for (const scheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
        for (const width of WIDTHS) {
            await page.setViewportSize({ width, height: 900 });
            const wide = await page.evaluate(
                () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
            );
            assert.ok(wide <= 0, `${name} at ${width} px is ${wide} px too wide`);
            if (pictures !== undefined) {
                mkdirSync(pictures, { recursive: true });
                const path = join(pictures, `${name}-${width}-${scheme}.png`);
                await page.screenshot({ path, fullPage: true });
            }
            await page.evaluate(`typeof axe === "undefined" && ${AXE}`);
            const found = await page.evaluate(async () => (await axe.run()).violations);
            const shown = found.map((one) => {
                const nodes = one.nodes.map((node) => `  ${node.html}\n  ${node.failureSummary}`);
                return `${one.id}: ${one.help}\n${nodes.join("\n")}`;
            });
            assert.equal(shown.join("\n"), "", `${name}, ${scheme}, ${width} px`);
        }
    }
    await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
    await illustrate(page, name);
    await page.setViewportSize({ width: 1280, height: 900 });
}

/** Elements of a page whose list is long, at most: more would be slow to draw. */
const ELEMENTS_MAX = 4_000;

/** Bytes of an answer that a page reads, at most. */
const ANSWER_BYTES_MAX = 500_000;

/** Measures what clicks cost: how long the main thread was busy in all, and its longest task. It is said
 * and not asserted, since machines differ; asserted is what makes it so, that pages stay small. */
export async function measured(page) {
    await page.addInitScript(() => {
        globalThis.longestTask = 0;
        const see = (list) => {
            for (const { duration } of list.getEntries()) {
                globalThis.longestTask = Math.max(globalThis.longestTask, duration);
            }
        };
        new PerformanceObserver(see).observe({ type: "longtask" });
    });
    const session = await page.context().newCDPSession(page);
    await session.send("Performance.enable");
    const busy = async () => {
        const { metrics } = await session.send("Performance.getMetrics");
        return metrics.find(({ name }) => name === "TaskDuration").value * 1_000;
    };
    return async (what, work) => {
        await page.evaluate(() => {
            globalThis.longestTask = 0;
            performance.clearResourceTimings();
        });
        const [before, begun] = [await busy(), Date.now()];
        await work();
        const took = Date.now() - begun;
        const all = (await busy()) - before;
        const [longest, elements, bytes] = await page.evaluate(() => [
            globalThis.longestTask,
            document.querySelectorAll("*").length,
            performance
                .getEntriesByType("resource")
                .filter(({ name }) => /^\/(client|postern)\//.test(new URL(name).pathname))
                .reduce((most, one) => Math.max(most, one.decodedBodySize), 0),
        ]);
        const task = longest === 0 ? "none over 50 ms" : `${longest.toFixed(0)} ms`;
        console.error(
            `${what}: after ${took} ms; main thread ${all.toFixed(0)} ms, longest task ${task}; ` +
                `${elements} elements, largest answer ${bytes} bytes`,
        );
        assert.ok(elements <= ELEMENTS_MAX, `${what}: ${elements} elements`);
        assert.ok(bytes <= ANSWER_BYTES_MAX, `${what}: an answer of ${bytes} bytes`);
    };
}

/** Bytes of the first view over the wire, at most. */
const FIRST_VIEW_BYTES_MAX = 250_000;

/** What comes over the wire until the first view is there, in a browser that has never been here. */
export async function firstView(browser, link, shown) {
    const { page, context } = await visit(browser);
    const begun = Date.now();
    await page.goto(link);
    await shown(page);
    const took = Date.now() - begun;
    const [bytes, painted] = await page.evaluate(() => {
        const all = [
            ...performance.getEntriesByType("navigation"),
            ...performance.getEntriesByType("resource"),
        ];
        const paint = performance.getEntriesByName("first-contentful-paint")[0];
        return [all.reduce((sum, one) => sum + one.transferSize, 0), paint?.startTime ?? 0];
    });
    console.error(
        `first view: painted after ${painted.toFixed(0)} ms, whole after ${took} ms, ${bytes} bytes`,
    );
    assert.ok(bytes > 0 && bytes <= FIRST_VIEW_BYTES_MAX, `${bytes} bytes`);
    await context.close();
}

/** One request of a real client: its status, headers and body, or the word of the alert that it got. */
export function answer(host, path, identity = null, headers = {}) {
    const [address, port] = told.address.split(":");
    return new Promise((resolve) => {
        const sent = request({
            host: address,
            port,
            path,
            servername: host,
            headers: { host, ...headers },
            ca: readFileSync(told.ca),
            agent: false,
            ...(identity === null ? {} : { cert: identity.certificate, key: identity.key }),
        });
        sent.on("response", (response) => {
            let body = "";
            response.setEncoding("utf8");
            response.on("data", (part) => (body += part));
            response.on("end", () =>
                resolve({ status: response.statusCode, headers: response.headers, body }),
            );
        });
        sent.on("error", (error) => resolve({ status: error.code ?? error.message }));
        sent.end();
    });
}

/** The same, of which only the status is wanted. */
export async function ask(host, path, identity = null) {
    return (await answer(host, path, identity)).status;
}

/** What the client believes of each schema: names of members, and which may be `null`, as
 * `src/api.ts` has them. */
function believed() {
    const source = readFileSync(new URL("../src/api.ts", import.meta.url), "utf8");
    const found = new Map();
    for (const [, name, body] of source.matchAll(/^export interface (\w+) \{\n(.*?)^\}/gms)) {
        const members = body.matchAll(/^    (\w+)(\??): (.*)$/gm);
        found.set(
            name,
            [...members].map(([, member, optional, type]) => ({
                member,
                optional: optional === "?",
                nullable: /\| null;?$/.test(type),
            })),
        );
    }
    return found;
}

/** The schemas that interfaces of the client stand for, where the names differ. */
const SCHEMAS = {
    Host: "Host",
    Origin: "Origin",
    OriginAddress: "OriginAddress",
    ClientCertificate: "ClientCertificate",
    Status: "Status",
    Fleet: "Fleet",
    GatewayEvent: "Event",
    EventCounts: "EventCounts",
    Reason: "Reason",
    Latency: "Latency",
    Traffic: "Traffic",
    Lint: "Lint",
    Enforcement: "Enforcement",
    Session: "DashboardSession",
    Ruleset: "Ruleset",
    Rule: "Rule",
};

/** Every member that the client reads is one that the document promises, and is `null` only where
 * the client knows it. */
export function compareTypes(document) {
    const schemas = document.components.schemas;
    const types = believed();
    const resolve = (schema) => {
        const name = schema.$ref?.split("/").pop();
        return name === undefined ? schema : resolve(schemas[name]);
    };
    for (const [type, name] of Object.entries(SCHEMAS)) {
        const schema = schemas[name];
        assert.ok(schema !== undefined && types.has(type), `${type}: there is no schema ${name}`);
        for (const { member, optional, nullable } of types.get(type)) {
            // What is shown once only is in a schema of its own.
            const once = schemas[`${name}WithKey`];
            const found = schema.properties[member] ?? (optional ? once?.properties[member] : undefined);
            assert.ok(found !== undefined, `${type}.${member} is not in the schema ${name}`);
            const required = schema.required?.includes(member) ?? false;
            assert.ok(required || optional || nullable, `${type}.${member} may be left out`);
            const whole = resolve(found);
            const maybe =
                [whole.type].flat().includes("null") ||
                (whole.anyOf ?? []).some((one) => [resolve(one).type].flat().includes("null"));
            assert.ok(!maybe || nullable || optional, `${type}.${member} may be null`);
        }
    }
}

/** Every call was to the gateway, and is in its own description. */
export async function compare(seen) {
    const answer = await fetch(`${told.url}/client/v4/openapi.json`, {
        headers: { authorization: `Bearer ${told.tokens.read}` },
    });
    const document = await answer.json();
    const known = Object.entries(document.paths).map(([path, methods]) => {
        const pattern = path.replace(/[.]/g, "\\.").replace(/\{[^}]+\}/g, "[^/]+");
        return [new RegExp(`^${pattern}$`), Object.keys(methods).map((m) => m.toUpperCase())];
    });
    compareTypes(document);
    assert.ok(seen.calls.length > 0);
    for (const { method, path, origin } of seen.calls) {
        assert.equal(origin, told.url, `${method} ${path} went elsewhere`);
        const found = known.some(([pattern, methods]) => {
            return pattern.test(path) && methods.includes(method);
        });
        assert.ok(found, `${method} ${path} is not in the OpenAPI document`);
    }
}

export async function step(name, work) {
    try {
        await work();
    } catch (error) {
        console.error(`at: ${name}`);
        throw error;
    }
}
