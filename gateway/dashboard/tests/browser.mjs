// A real Chromium, and what every step of a test may use: pages with accessibility checks and
// pictures, clients of the gateway, and the comparison of requests with the OpenAPI document.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { request } from "node:https";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Widths that pages are looked at with, in CSS pixels: a telephone, and a desk. */
const WIDTHS = [360, 1280];

/** How long a step may wait for something to appear. */
const PATIENCE_MS = 15_000;

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
            /Failed to load resource: (the server responded|net::ERR_(CONNECTION|INCOMPLETE|EMPTY))/.test(
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

/** Looks at a page as it is: no finding of axe, nothing that is too wide; pictures on request. */
export async function inspect(page, name) {
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
    await page.setViewportSize({ width: 1280, height: 900 });
}

/** One request of a real client: its status, or the word of the alert that it got. */
export function ask(host, path, identity = null) {
    const [address, port] = told.address.split(":");
    return new Promise((resolve) => {
        const sent = request({
            host: address,
            port,
            path,
            servername: host,
            headers: { host },
            ca: readFileSync(told.ca),
            agent: false,
            ...(identity === null ? {} : { cert: identity.certificate, key: identity.key }),
        });
        sent.on("response", (response) => {
            response.resume();
            response.on("end", () => resolve(response.statusCode));
        });
        sent.on("error", (error) => resolve(error.code ?? error.message));
        sent.end();
    });
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
