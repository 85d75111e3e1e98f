// The documents' steps, in their order, in a real browser; and at the end real clients are refused
// and let in. `tests/it/dashboard.rs` starts the gateway and this.

import assert from "node:assert/strict";
import { ask, compare, inspect, open, step, told, visit } from "./browser.mjs";

const HOST = "api.example.test";

const browser = await open();
try {
    const { page, seen } = await visit(browser);
    const heading = (name) => page.getByRole("heading", { level: 1, name }).waitFor();
    const button = (name) => page.getByRole("button", { name, exact: true });

    await step("the door is shown to those who are not signed in", async () => {
        await page.goto(told.url);
        await page.getByLabel("Token").waitFor();
        await inspect(page, "sign-in");
        await page.getByLabel("Token").fill("postern_wrong");
        await page.keyboard.press("Enter");
        await page.getByRole("alert").getByText("unknown, or has expired").waitFor();
    });

    await step("the link signs in, once, and leaves no trace in the address", async () => {
        await page.goto("about:blank");
        await page.goto(told.link);
        await heading("Overview");
        assert.ok(!page.url().includes("sign-in"), page.url());
        await page.getByText(HOST).first().waitFor();
        await inspect(page, "overview");
        const other = await visit(browser);
        await other.page.goto(told.link);
        await other.page.getByText("The link was used already").waitFor();
        await other.context.close();
    });

    await step("Client Certificates: the card Hosts, Edit, a name, Enter, Save", async () => {
        await page.getByRole("link", { name: "Client Certificates" }).first().click();
        await heading("Client Certificates");
        await page.getByText("No client certificates yet").waitFor();
        await inspect(page, "client-certificates-empty");
        await button("Edit").click();
        const name = page.getByLabel("Hosts that ask for a client certificate");
        await name.fill("new.example.test");
        await page.keyboard.press("Enter");
        await page.getByText("is not a host of this zone yet").waitFor();
        assert.ok(await button("Save").isDisabled(), "only hosts that exist");
        await inspect(page, "hosts-edit");
        await page.getByRole("button", { name: "Remove new.example.test" }).click();
        await name.fill(HOST);
        await page.keyboard.press("Enter");
        await button("Save").click();
        await page.getByRole("rowheader", { name: HOST }).waitFor();
        await page.getByText("come in").waitFor();
    });

    await step("a host that is not there is created on the way", async () => {
        await button("Edit").click();
        await page.getByLabel("Hosts that ask for a client certificate").fill("new.example.test");
        await page.keyboard.press("Enter");
        await page.getByLabel("Origin: where permitted requests go").fill(told.origin);
        await button("Create new.example.test").click();
        await page.getByText("is not a host of this zone yet").waitFor({ state: "detached" });
        await button("Save").click();
        await page.getByRole("rowheader", { name: "new.example.test" }).waitFor();
    });

    const identities = {};
    const create = async (name, way) => {
        await button("Create Certificate").click();
        await page.getByLabel(way).check();
        await page.getByLabel("Name of the client").fill(name);
        if (name === "phone") await inspect(page, "create-certificate");
        await button("Create").click();
        await page.getByText("The certificate was created").waitFor();
        const text = async (what) => await page.getByLabel(what, { exact: true }).innerText();
        const certificate = await text("Certificate");
        const key = await text("Private key");
        assert.match(certificate, /-----BEGIN CERTIFICATE-----/);
        assert.match(key, /-----BEGIN (EC )?PRIVATE KEY-----/);
        identities[name] = { certificate, key };
    };
    await step("Create Certificate: a key of this browser, shown once", async () => {
        await create("phone", "Make a key in this browser");
        await inspect(page, "certificate-created");
        await button("Done").click();
        await page.getByText("The key was not saved").waitFor();
        const [download] = await Promise.all([
            page.waitForEvent("download"),
            button("Download client.key").click(),
        ]);
        assert.equal(download.suggestedFilename(), "client.key");
        await button("Done").click();
        await page.getByRole("dialog").waitFor({ state: "detached" });
        await page.getByRole("button", { name: "phone", exact: true }).waitFor();
    });
    await step("Create Certificate: by the gateway", async () => {
        await create("sensor", "Let the gateway make the key");
        await button("Download client.key").click();
        await button("Done").click();
        await page.getByRole("button", { name: "sensor", exact: true }).waitFor();
    });
    await step("Create Certificate: with an own CSR", async () => {
        await button("Create Certificate").click();
        await page.getByLabel("Use my own CSR").check();
        await page.getByLabel("Certificate signing request (CSR)").fill("nonsense");
        await button("Create").click();
        await page.getByRole("alert").waitFor();
        await page.getByLabel("Certificate signing request (CSR)").fill(told.csr);
        await button("Create").click();
        await page.getByText("The certificate was created").waitFor();
        await button("Done").click();
        await page.getByRole("button", { name: "own-device", exact: true }).waitFor();
    });

    await step("without a rule everyone comes in", async () => {
        assert.equal(await ask(HOST, "/admin"), 200);
        assert.equal(await ask(HOST, "/admin", identities.phone), 200);
    });

    await step("Create a mTLS rule: filled in, with its preview, as a draft", async () => {
        await page.getByRole("link", { name: "Create a mTLS rule" }).first().click();
        await heading("Create a mTLS rule");
        const preview = page.getByLabel("Expression Preview");
        await preview.getByText("cert_revoked").waitFor();
        const text = await preview.innerText();
        assert.ok(text.includes(HOST) && text.includes("new.example.test"), text);
        await page.getByRole("button", { name: "Remove new.example.test" }).click();
        await page.getByLabel("URI paths").fill("/admin");
        await page.keyboard.press("Enter");
        await preview.getByText('"/admin"').waitFor();
        await inspect(page, "create-mtls-rule");
        await button("Save as Draft").click();
        await page.getByText("The draft is saved").waitFor();
        assert.equal(await ask(HOST, "/admin"), 200, "a draft does nothing");
    });
    await step("Deploy: the rule holds at once", async () => {
        await button("Create another").click();
        await page.getByLabel("Rule name").fill("Admins have certificates");
        await button("Deploy").click();
        await page.getByText("The rule is deployed").waitFor();
        assert.equal(await ask(HOST, "/admin"), 403);
        assert.equal(await ask(HOST, "/admin", identities.phone), 200);
        assert.equal(await ask(HOST, "/admin", identities.sensor), 200);
        assert.equal(await ask(HOST, "/"), 200, "another path");
        assert.equal(await ask("new.example.test", "/admin"), 200, "a host that was removed");
    });

    await step("Revoke, with a reason: its client is refused", async () => {
        await button("To the client certificates").click();
        await heading("Client Certificates");
        await page.getByText("are blocked by a rule").first().waitFor();
        await inspect(page, "client-certificates");
        await button("Revoke phone").click();
        await page.getByLabel("Reason").selectOption("keyCompromise");
        await inspect(page, "revoke");
        await button("Revoke it").click();
        await page.getByText("Revoked 1 certificate").waitFor();
        assert.equal(await ask(HOST, "/admin", identities.phone), 403);
        assert.equal(await ask(HOST, "/admin", identities.sensor), 200);
    });
    await step("Restore: it comes in again", async () => {
        await button("Restore phone").click();
        await page.getByText("Restored 1 certificate").waitFor();
        assert.equal(await ask(HOST, "/admin", identities.phone), 200);
    });
    await step("many at once, and the filters", async () => {
        await page.getByLabel("Choose phone").check();
        await page.getByLabel("Choose own-device").check();
        await button("Revoke 2").click();
        await button("Revoke 2").last().click();
        await page.getByText("Revoked 2 certificates").waitFor();
        await page.getByLabel("Status").selectOption("active");
        await button("Revoke sensor").waitFor();
        await button("Restore phone").waitFor({ state: "detached" });
        await page.getByLabel("that is exactly").fill("nobody");
        await page.keyboard.press("Enter");
        await page.getByText("No certificate is like that").waitFor();
        await button("Show all").click();
        await button("Restore phone").waitFor();
    });

    await step("what strangers have named is shown as text", async () => {
        const made = await fetch(`${told.url}/postern/v1/zones/${told.zone}/client_certificates`, {
            method: "POST",
            headers: { authorization: `Bearer ${told.tokens.all}` },
            body: JSON.stringify({
                common_name: "<img src=x onerror=alert(1)>\u202e moc.lapyap",
                organization: '"><script>alert(2)</script>',
                validity_days: 1,
            }),
        });
        assert.equal(made.status, 200, await made.text());
        await page.reload();
        const row = page.getByRole("row").filter({ hasText: "<img src=x" });
        await row.getByRole("button").first().click();
        await page.getByRole("dialog").getByText("\u27e8U+202E\u27e9").first().waitFor();
        await inspect(page, "hostile-certificate");
        await page.keyboard.press("Escape");
        await page.getByRole("dialog").waitFor({ state: "detached" });
    });

    await step("by keyboard alone: the dialog is opened, closed, and the focus comes back", async () => {
        await button("Create Certificate").focus();
        await page.keyboard.press("Enter");
        await page.getByRole("dialog").waitFor();
        await page.keyboard.press("Escape");
        await page.getByRole("dialog").waitFor({ state: "detached" });
        const focused = await page.evaluate(() => document.activeElement?.textContent);
        assert.equal(focused, "Create Certificate");
    });

    await step("signing out ends the session", async () => {
        await page.locator(".who summary").click();
        await button("Sign out").click();
        await page.getByLabel("Token").waitFor();
        await page.reload();
        await page.getByLabel("Token").waitFor();
    });

    await step("a read-only token is offered nothing that changes", async () => {
        await page.getByLabel("Token").fill(told.tokens.read);
        await page.keyboard.press("Enter");
        // One is where one was.
        await heading("Client Certificates");
        await page.getByText("This token only reads").waitFor();
        await page.getByRole("button", { name: "sensor", exact: true }).waitFor();
        for (const name of ["Edit", "Create Certificate", "Revoke sensor"]) {
            assert.equal(await button(name).count(), 0, name);
        }
        assert.equal(await page.getByRole("link", { name: "Create a mTLS rule" }).count(), 0);
        await inspect(page, "read-only");
    });

    await step("a session that has ended says so, and asks to sign in", async () => {
        const answer = await fetch(`${told.url}/postern/v1/tokens/${told.tokens.read_id}`, {
            method: "DELETE",
            headers: { authorization: `Bearer ${told.tokens.all}` },
        });
        assert.equal(answer.status, 200);
        await page.getByRole("link", { name: "Overview" }).click();
        await page.getByText("has ended").first().waitFor();
        await page.getByLabel("Token").waitFor();
    });

    await step("a token of one zone sees that zone", async () => {
        await page.getByLabel("Token").fill(told.tokens.zone);
        await page.keyboard.press("Enter");
        await heading("Overview");
        await page.getByRole("link", { name: "Client Certificates" }).first().click();
        await page.getByRole("button", { name: "sensor", exact: true }).waitFor();
        await button("Revoke sensor").waitFor();
    });

    await step("no other server was asked, and every call is described", async () => {
        told.tokens.read = told.tokens.all;
        await compare(seen);
        assert.deepEqual(seen.complaints, []);
    });
    console.log("all good");
} finally {
    await browser.close();
}
