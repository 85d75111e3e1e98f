// A report's page in a real browser: `node page.mjs PLAYWRIGHT PAGE [PICTURES]`.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, file, pictures] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(modules);

const url = pathToFileURL(file).href;
const browser = await chromium.launch({
    executablePath: ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync),
    args: [
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ],
});
try {
    for (const [name, width, colorScheme] of [
        ["wide", 1400, "light"],
        ["dark", 1400, "dark"],
        ["narrow", 400, "light"],
    ]) {
        const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme });
        // The first start of a browser on a busy machine takes long.
        context.setDefaultTimeout(180_000);
        const page = await context.newPage();
        const complaints = [];
        page.on("console", (message) => complaints.push(message.text()));
        page.on("pageerror", (error) => complaints.push(String(error)));
        page.on("request", (request) => {
            const wanted = request.url();
            if (wanted !== url && !wanted.startsWith("data:")) complaints.push(`fetched ${wanted}`);
        });
        await page.goto(url);
        assert.deepEqual(complaints, [], name);
        const seen = await page.evaluate(() => {
            const outside = [];
            for (const text of document.querySelectorAll("svg text")) {
                const box = (of) => of.getBoundingClientRect();
                const [own, whole] = [box(text), box(text.ownerSVGElement)];
                const within = own.left >= whole.left - 1 && own.right <= whole.right + 1;
                if (!within || own.width === 0) outside.push(text.textContent);
            }
            const figures = [...document.querySelectorAll("figure")].map((figure) => ({
                heading: figure.querySelector(".heading").textContent,
                curves: figure.querySelectorAll("polyline").length,
                points: figure.querySelectorAll("circle").length,
                colours: new Set(
                    [...figure.querySelectorAll("circle")].map((at) => getComputedStyle(at).fill),
                ).size,
            }));
            return {
                outside,
                figures,
                scrolls: document.documentElement.scrollWidth > innerWidth,
                rows: document.querySelectorAll("tbody tr").length,
                numbers: /NaN|inf|undefined/.test(document.body.textContent),
            };
        });
        assert.deepEqual(seen.outside, [], `${name}: text outside of its picture`);
        assert.ok(!seen.scrolls, `${name}: the page is wider than the window`);
        assert.ok(!seen.numbers, `${name}: figures that are none`);
        const headings = seen.figures.map((figure) => figure.heading);
        for (const wanted of ["CPU a request", "CPU, times the floor", "Latency, 2 at once"]) {
            assert.ok(headings.some((heading) => heading.startsWith(wanted)), `${name}: ${headings}`);
        }
        for (const figure of seen.figures) {
            assert.ok(figure.curves > 0 && figure.points >= figure.curves, JSON.stringify(figure));
            assert.equal(figure.colours, figure.curves, JSON.stringify(figure));
        }
        assert.ok(seen.rows >= 6, `${name}: ${seen.rows} rows`);
        if (pictures) await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
        await context.close();
    }
    console.log("all good");
} finally {
    await browser.close();
}
