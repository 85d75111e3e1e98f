// A zone with 100,000 client certificates: shown in pages, found, revoked and restored by the page.

import assert from "node:assert/strict";
import { compare, inspect, measured, open, step, told, visit } from "./browser.mjs";

const browser = await open();
try {
    const { page, seen } = await visit(browser);
    const click = await measured(page);
    const button = (name) => page.getByRole("button", { name, exact: true });
    const named = (number) => button(`device-${number}`);
    const rows = page.getByRole("region", { name: "Client certificates" }).locator("tbody tr");
    const api = async (path) => {
        const sent = await fetch(`${told.url}${path}`, {
            headers: { authorization: `Bearer ${told.tokens.read}` },
        });
        return (await sent.json()).result;
    };

    await step("100,000 certificates are shown in pages", async () => {
        await page.goto(told.link);
        await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
        await click("the list of 100,000 certificates", async () => {
            await page.getByRole("link", { name: "Client Certificates" }).first().click();
            await page.getByText("(100,000 in all)").waitFor();
            await named(99_999).waitFor();
        });
        assert.equal(await rows.count(), 50);
        await inspect(page, "certificates-100000");
        await click("the next page", async () => {
            await button("Next").click();
            await named(99_949).waitFor();
        });
        await click("the last page", async () => {
            await button("Last").click();
            await named(0).waitFor();
        });
        await click("page 1,000 by its number", async () => {
            await page.getByLabel("Page", { exact: true }).fill("1000");
            await page.keyboard.press("Enter");
            await named(50_049).waitFor();
        });
        assert.equal(await rows.count(), 50);
    });

    await step("they are found by name, serial number and fingerprint, and by what became of them", async () => {
        const path = `/client/v4/zones/${told.zone}/client_certificates`;
        const [wanted] = await api(`${path}?common_name=device-77777`);
        const find = async (what, text) => {
            await page.getByLabel("Look for").selectOption({ label: what });
            await click(`found by ${what}`, async () => {
                await page.getByLabel("that is exactly").fill(text);
                await page.keyboard.press("Enter");
                await named(77_777).waitFor();
                await named(50_049).waitFor({ state: "detached" });
            });
            assert.equal(await rows.count(), 1);
            await button("Show all").click();
            await named(99_999).waitFor();
        };
        await find("Name", "device-77777");
        await find("Serial number", wanted.serial_number.toUpperCase());
        await find("Fingerprint (SHA-256)", wanted.fingerprint_sha256.replace(/..(?=.)/g, "$&:"));
        await click("revoked ones", async () => {
            await page.getByLabel("Status").selectOption("revoked");
            await page.getByText("(1,000 in all)").waitFor();
            await named(99_900).waitFor();
        });
        await click("revoked ones that end within 30 days", async () => {
            await page.getByLabel("Ends").selectOption("30");
            await page.getByText("No certificate is like that").waitFor();
        });
        await button("Show all").click();
        await page.getByText("(100,000 in all)").waitFor();
    });

    await step("fifty are revoked in one change, and restored", async () => {
        await click("a page is chosen", async () => {
            await page.getByLabel("Choose all on this page").check();
            await page.getByText("50 certificates chosen").waitFor();
        });
        await button("Revoke 50").click();
        const dialog = page.getByRole("dialog");
        await dialog.getByText("and 40 more").waitFor();
        await dialog.getByLabel("Reason").selectOption("superseded");
        await inspect(page, "revoke-many");
        const before = (await api("/postern/v1/audit?per_page=1"))[0].revision;
        await click("fifty revoked", async () => {
            await dialog.getByRole("button", { name: "Revoke 50" }).click();
            await page.getByText("Revoked 50 certificates").waitFor();
        });
        const [{ revision }] = await api("/postern/v1/audit?per_page=1");
        assert.equal(revision, before + 1);
        await page.getByLabel("Status").selectOption("revoked");
        await page.getByText("(1,050 in all)").waitFor();
        await named(99_999).waitFor();
        await page.getByLabel("Choose all on this page").check();
        await click("fifty restored", async () => {
            await button("Restore 50").click();
            await page.getByText("Restored 50 certificates").waitFor();
        });
        await page.getByText("(1,000 in all)").waitFor();
    });

    await step("no other server was asked, and every call is described", async () => {
        await compare(seen);
        assert.deepEqual(seen.complaints, []);
    });
    console.log("all good");
} finally {
    await browser.close();
}
