// A zone with 100,000 rules, and a gateway that restarts under the page.

import assert from "node:assert/strict";
import { once } from "node:events";
import { compare, inspect, open, step, told, visit } from "./browser.mjs";

/** From the click to the first rules, on a machine that runs other tests as well. */
const SHOWN_WITHIN_MS = 10_000;

const browser = await open();
try {
    const { page, seen } = await visit(browser);
    const heading = (name) => page.getByRole("heading", { level: 1, name }).waitFor();

    await step("100,000 rules are shown in pages, and found", async () => {
        await page.goto(told.link);
        await heading("Overview");
        const begun = Date.now();
        await page.getByRole("link", { name: "Custom rules" }).click();
        await page.getByText("of 100,000 rules").waitFor();
        await page.getByText("rule number 0", { exact: true }).waitFor();
        const took = Date.now() - begun;
        assert.ok(took < SHOWN_WITHIN_MS, `${took} ms`);
        assert.equal(await page.locator(".rules > li").count(), 50);
        await page.getByRole("button", { name: "Next" }).click();
        await page.getByText("rule number 50", { exact: true }).waitFor();
        await page.getByLabel("Find in names and expressions").fill("number 99999");
        await page.getByText("1 of 100,000 rules").waitFor();
        await inspect(page, "rules-100000");
        console.error(`the first of 100,000 rules were shown after ${took} ms`);
    });

    await step("a gateway that restarts: the page says that the session has ended", async () => {
        console.log("restart");
        await once(process.stdin, "data");
        process.stdin.destroy();
        // By itself: the stream of events asks again.
        await page.getByText("The session has ended: sign in again").waitFor();
        await page.getByLabel("Token").fill(told.tokens.read);
        await page.keyboard.press("Enter");
        await heading("Custom rules");
        await page.getByRole("link", { name: "Overview" }).click();
        await heading("Overview");
        await page.getByText("api.example.test").first().waitFor();
    });

    await step("no other server was asked, and every call is described", async () => {
        await compare(seen);
        assert.deepEqual(seen.complaints, []);
    });
    console.log("all good");
} finally {
    await browser.close();
}
