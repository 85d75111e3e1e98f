// A zone with 100,000 rules, and a gateway that restarts under the page.

import assert from "node:assert/strict";
import { once } from "node:events";
import { compare, inspect, measured, open, step, told, visit } from "./browser.mjs";

const browser = await open();
try {
    const { page, seen } = await visit(browser);
    const click = await measured(page);
    const heading = (name) => page.getByRole("heading", { level: 1, name }).waitFor();

    await step("100,000 rules are shown in pages, and found", async () => {
        await page.goto(told.link);
        await heading("Overview");
        await click("the list of 100,000 rules", async () => {
            await page.getByRole("link", { name: "Custom rules" }).click();
            await page.getByText("of 100,000 rules").waitFor();
            await page.getByText("rule number 0", { exact: true }).waitFor();
        });
        assert.equal(await page.locator(".rules > li").count(), 50);
        await click("the next page", async () => {
            await page.getByRole("button", { name: "Next" }).click();
            await page.getByText("rule number 50", { exact: true }).waitFor();
        });
        await click("the last page", async () => {
            await page.getByRole("button", { name: "Last" }).click();
            await page.getByText("rule number 99999", { exact: true }).waitFor();
        });
        await click("found by a word", async () => {
            await page.getByLabel("Find in names and expressions").fill("number 77777");
            await page.getByText("1 of 100,000 rules").waitFor();
        });
        await click("switched off", async () => {
            await page.getByRole("switch", { name: "Enabled: rule number 77777" }).click();
            await page.getByText("rule number 77777 is off").waitFor();
        });
        await click("opened with the wrench", async () => {
            await page.getByRole("link", { name: "Edit rule number 77777" }).click();
            await page.getByLabel("Expression Preview").getByText("/77777").waitFor();
        });
        await page.goBack();
        await page.getByText("of 100,000 rules").waitFor();
        await inspect(page, "rules-100000");
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
