// Two people at once, links that are shared, and what else is done beside the documents' steps: zones and
// hosts, keys of every kind, a rule tried before it acts. `tests/it/dashboard.rs` starts the gateway and this.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { build } from "esbuild";
import { ask, compare, inspect, open, step, told, visit } from "./browser.mjs";

const HOST = "api.example.test";

const browser = await open();
try {
    const { context, page, seen } = await visit(browser);
    const heading = (name) => page.getByRole("heading", { level: 1, name }).waitFor();
    const button = (name) => page.getByRole("button", { name, exact: true });
    const dialog = page.getByRole("dialog");
    const visitPage = async (name) => {
        const menu = page.getByRole("navigation", { name: "Main" });
        await menu.getByRole("link", { name, exact: true }).first().click();
        await heading(name);
    };
    const api = async (method, path, body) => {
        const sent = await fetch(`${told.url}${path}`, {
            method,
            headers: { authorization: `Bearer ${told.tokens.all}` },
            ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        });
        const { result, errors } = await sent.json();
        assert.equal(sent.status, 200, JSON.stringify(errors));
        return result;
    };
    const zone = `/client/v4/zones/${told.zone}`;

    await step("a zone is made, and deleted with what is lost named", async () => {
        await page.goto(told.link);
        await heading("Overview");
        await button("Create a zone").click();
        await dialog.getByLabel("Name of the zone").fill("no zone");
        await page.keyboard.press("Enter");
        await dialog.getByRole("alert").waitFor();
        await dialog.getByLabel("Name of the zone").fill("second.test");
        await inspect(page, "create-zone");
        await page.keyboard.press("Enter");
        await page.getByRole("region", { name: "second.test", exact: true }).waitFor();
        await page.getByText("No hosts yet").waitFor();
        await inspect(page, "overview-two-zones");
        await button("Delete second.test").click();
        await dialog.getByText("Lost for good: 1 key of a CA").waitFor();
        await inspect(page, "delete-zone");
        await button("Delete it with everything in it").click();
        await page.getByRole("region", { name: "second.test", exact: true }).waitFor({ state: "detached" });
    });

    await step("a host that another person changes meanwhile is not overwritten", async () => {
        await button(`Edit ${HOST}`).click();
        await dialog.getByLabel("Client certificates (mTLS)").selectOption("require");
        await api("PATCH", `/postern/v1/hosts/${HOST}`, { revoked: "close" });
        await button("Save").click();
        await dialog.getByText("Another person has changed this host").waitFor();
        await dialog.getByText("theirs: close").waitFor();
        await inspect(page, "host-changed-meanwhile");
        assert.equal((await api("GET", `/postern/v1/hosts/${HOST}`)).mtls, "request");
        await button("Go on with mine").click();
        await button("Save").click();
        await dialog.waitFor({ state: "detached" });
        const host = await api("GET", `/postern/v1/hosts/${HOST}`);
        // What was not touched here is as the other person has it.
        assert.deepEqual([host.mtls, host.revoked], ["require", "close"]);
        assert.notEqual(await ask(HOST, "/"), 200);
        await button(`Edit ${HOST}`).click();
        await dialog.getByLabel("Client certificates (mTLS)").selectOption("request");
        await inspect(page, "host");
        await button("Save").click();
        await dialog.waitFor({ state: "detached" });
        assert.equal(await ask(HOST, "/"), 200);
    });

    await step("a host with several addresses, and one with an origin of its zone", async () => {
        const hosts = `/postern/v1/zones/${told.zone}/hosts`;
        const addresses = [{ url: "http://127.0.0.1:9" }, { url: "http://127.0.0.2:9", weight: 2 }];
        await api("POST", `/postern/v1/zones/${told.zone}/origins`, {
            name: "pool",
            origin: {
                addresses,
                timeouts: { try_ms: 2000 },
                limits: { requests: 200, queue: 0 },
                proxy_protocol: "v2",
            },
        });
        await api("POST", hosts, { name: "many.example.test", origin: { addresses } });
        await api("POST", hosts, { name: "pooled.example.test", origin: { name: "pool" } });
        await visitPage("Overview");
        const row = (name) => page.getByRole("row").filter({ hasText: name });
        await row("many.example.test").getByText("http://127.0.0.2:9").first().waitFor();
        await row("pooled.example.test").getByText("the zone's origin pool").waitFor();
        const origins = page.getByRole("region", { name: "Origins of example.test" });
        for (const said of ["2 s for a try", "200 requests at once, nobody waits", "PROXY protocol v2"]) {
            await origins.getByText(said).waitFor();
        }
        await origins.getByText("host pooled.example.test").waitFor();
        await inspect(page, "overview-origins");
        await button("Edit pooled.example.test").click();
        await dialog.getByText("go to the zone's origin pool").waitFor();
        await dialog.getByLabel("Revoked certificates").selectOption("close");
        await button("Save").click();
        await dialog.waitFor({ state: "detached" });
        const pooled = await api("GET", "/postern/v1/hosts/pooled.example.test");
        assert.deepEqual([pooled.revoked, pooled.origin.name], ["close", "pool"]);
        for (const name of ["many.example.test", "pooled.example.test"]) {
            await api("DELETE", `/postern/v1/hosts/${name}`);
        }
    });

    await step("the card Hosts: what another person has changed meanwhile is shown, and kept", async () => {
        for (const name of ["one.example.test", "two.example.test", "three.example.test"]) {
            const origin = { url: "http://127.0.0.1:9" };
            await api("POST", `/postern/v1/zones/${told.zone}/hosts`, { name, origin });
        }
        const associations = `/postern/v1/zones/${told.zone}/hostname_associations`;
        await api("PATCH", associations, { add: [HOST, "one.example.test"] });
        // The page does not hear of what comes now.
        await page.route("**/events/stream", (route) => route.abort());
        await visitPage("Client Certificates");
        await page.reload();
        const card = page.getByRole("region", { name: "Hosts", exact: true });
        await card.getByRole("rowheader", { name: "one.example.test" }).waitFor();
        const edit = async () => {
            await card.getByRole("button", { name: "Edit" }).click();
            await card.getByLabel("Hosts that ask for a client certificate").fill("two.example.test");
            await page.keyboard.press("Enter");
        };
        await edit();
        await api("PATCH", associations, { add: ["three.example.test"], remove: ["one.example.test"] });
        await card.getByRole("button", { name: "Save" }).click();
        await card.getByText("Another person has changed these hosts").waitFor();
        await card.getByText("theirs: three.example.test", { exact: true }).waitFor();
        await card.getByText("theirs: one.example.test", { exact: true }).waitFor();
        await card.getByText(`yours: ${HOST}, three.example.test, two.example.test`).waitFor();
        await inspect(page, "hosts-changed-meanwhile");
        const { hostnames } = await api("GET", `${zone}/certificate_authorities/hostname_associations`);
        assert.deepEqual(hostnames, [HOST, "three.example.test"]);
        await card.getByRole("button", { name: "Go on with mine" }).click();
        await card.getByRole("button", { name: "Save" }).click();
        await card.getByRole("rowheader", { name: "two.example.test" }).waitFor();
        const after = await api("GET", `${zone}/certificate_authorities/hostname_associations`);
        // What was not touched here is as the other person has it.
        assert.deepEqual(after.hostnames, [HOST, "three.example.test", "two.example.test"]);
        // Heard of while one edits, it is shown before anything is sent.
        await page.unroute("**/events/stream");
        await page.reload();
        await card.getByRole("rowheader", { name: "two.example.test" }).waitFor();
        await edit();
        await api("PATCH", associations, { remove: ["three.example.test", "two.example.test"] });
        await card.getByText("Another person has changed these hosts").waitFor();
        await card.getByRole("button", { name: "Take theirs" }).click();
        await card.getByRole("button", { name: "Remove two.example.test" }).waitFor({ state: "detached" });
        await card.getByRole("button", { name: "Cancel" }).click();
        for (const name of ["one.example.test", "two.example.test", "three.example.test"]) {
            await api("DELETE", `/postern/v1/hosts/${name}`);
        }
    });

    await step("Settings: the same", async () => {
        await visitPage("Settings");
        await page.getByLabel("Find in keys").fill("timeout.idle");
        await button("Set timeout.idle").click();
        await page.getByLabel("New value of timeout.idle").fill("33s");
        await api("PUT", "/postern/v1/sysctl/timeout.idle", { value: "44s" });
        await page.keyboard.press("Enter");
        await page.getByText("Another person has changed timeout.idle").waitFor();
        await page.getByText("theirs: 44s").waitFor();
        await inspect(page, "setting-changed-meanwhile");
        assert.equal((await api("GET", "/postern/v1/sysctl/timeout.idle")).value, "44s");
        await button("Go on with mine").click();
        await page.getByLabel("New value of timeout.idle").press("Enter");
        await page.getByText("timeout.idle is 33s now").waitFor();
    });

    await step("Events: the filters are in the address, for others and after reloading", async () => {
        assert.equal(await ask("nobody.test", "/"), "EPROTO");
        assert.equal(await ask("somebody.test", "/"), "EPROTO");
        await page.getByRole("link", { name: "Events", exact: true }).last().click();
        await page.getByText("of all zones").waitFor();
        const rows = page.getByRole("row");
        await rows.filter({ hasText: "somebody.test" }).first().waitFor();
        await page.getByLabel("Kind").selectOption("handshake");
        await page.getByLabel("Host", { exact: true }).fill("somebody");
        await rows.filter({ hasText: "nobody.test" }).first().waitFor({ state: "detached" });
        assert.ok(page.url().endsWith("#/events?kind=handshake&host=somebody"), page.url());
        await page.reload();
        await rows.filter({ hasText: "somebody.test" }).first().waitFor();
        assert.equal(await rows.filter({ hasText: "nobody.test" }).count(), 0);
        const other = await context.newPage();
        await other.goto(page.url());
        await other.getByRole("row").filter({ hasText: "somebody.test" }).first().waitFor();
        assert.equal(await other.getByLabel("Kind").inputValue(), "handshake");
        await other.close();
        await page.getByRole("link", { name: "Events", exact: true }).last().click();
        await rows.filter({ hasText: "nobody.test" }).first().waitFor();
    });

    await step("Latency and Client Certificates: what is chosen is in the address too", async () => {
        await visitPage("Latency");
        await page.getByLabel("Stage", { exact: true }).selectOption("rules");
        await page.reload();
        await heading("Latency");
        assert.equal(await page.getByLabel("Stage", { exact: true }).inputValue(), "rules");
        await visitPage("Client Certificates");
        await page.getByLabel("Status").selectOption("revoked");
        await page.getByText("No certificate is like that").waitFor();
        await page.reload();
        await page.getByText("No certificate is like that").waitFor();
        await button("Show all").click();
    });

    await step("an RSA key of this browser, and a PKCS#12 file that others can read", async () => {
        await button("Create Certificate").click();
        await page.getByLabel("Name of the client").fill("tablet");
        await page.getByLabel("Private key type").selectOption("rsa");
        await page.getByLabel("Password for a PKCS#12 file").fill("a långt password");
        await inspect(page, "create-certificate-rsa");
        await button("Create").click();
        await page.getByText("The certificate was created").waitFor({ timeout: 60_000 });
        const [download] = await Promise.all([
            page.waitForEvent("download"),
            button("Download client.p12").click(),
        ]);
        const path = await download.path();
        const password = ["-passin", "pass:a långt password"];
        const read = execFileSync("openssl", ["pkcs12", "-in", path, "-nodes", ...password]).toString();
        assert.match(read, /friendlyName: tablet/);
        assert.match(read, /-----BEGIN CERTIFICATE-----/);
        const [key] = /-----BEGIN PRIVATE KEY-----[^]+?-----END PRIVATE KEY-----/.exec(read);
        const shown = await page.getByLabel("Private key", { exact: true }).innerText();
        assert.equal(key.trim(), shown.trim());
        const certificate = await page.getByLabel("Certificate", { exact: true }).innerText();
        assert.equal(await ask(HOST, "/", { certificate, key }), 200);
        await button("Done").click();
        await dialog.waitFor({ state: "detached" });
    });

    await step("a mTLS rule that lets revoked ones in is put right with one click", async () => {
        await page.getByRole("link", { name: "Create a mTLS rule" }).first().click();
        await heading("Create a mTLS rule");
        await page.getByRole("checkbox", { name: /^Check for revoked/ }).uncheck();
        await button("Check for revoked certificates").click();
        assert.ok(await page.getByRole("checkbox", { name: /^Check for revoked/ }).isChecked());
        await page.getByLabel("Expression Preview").getByText("cert_revoked").waitFor();
    });

    await step("a rule is tried on the newest requests, logs first, and then blocks", async () => {
        assert.equal(await ask(HOST, "/internal/one"), 200);
        await page.goto(`${told.url}/#/zones/example.test/rules/new`);
        await heading("Create rule");
        await page.getByLabel("Rule name").fill("internal");
        const row = page.getByRole("group", { name: "Row 1 of 1" });
        await row.getByLabel("Field").selectOption("http.request.uri.path");
        await row.getByText("made plain").waitFor();
        await row.getByLabel("Operator").selectOption("starts_with");
        await row.getByLabel("Value").fill("/internal/");
        await page.getByLabel("Expression Preview").getByText("/internal/").waitFor();
        await button("Try it on the newest requests").click();
        await page.getByText(/Would have blocked [1-9]\d* of \d+/).waitFor();
        await page.getByText(`GET ${HOST}/internal/one`).waitFor();
        await inspect(page, "rule-tried");
        await page.getByLabel("Choose action").selectOption("log");
        await button("Deploy").click();
        await heading("Custom rules");
        assert.equal(await ask(HOST, "/internal/two"), 200);
        await button("Block from now on: internal").click();
        await page.getByText("internal blocks now").waitFor();
        assert.equal(await ask(HOST, "/internal/two"), 403);
        await button("Undo").click();
        await page.getByText("internal only logs again").waitFor();
        assert.equal(await ask(HOST, "/internal/two"), 200);
    });

    await step("a change of other things loads nothing again; one of rules, one page of them", async () => {
        // What the page still loads of what was done just now: until it asks for rules no more.
        const ofRules = () => seen.calls.filter(({ path }) => path.endsWith("/rules")).length;
        for (let [before, alike] = [ofRules(), 0]; alike < 2; before = ofRules()) {
            await page.waitForTimeout(3_000);
            alike = ofRules() === before ? alike + 1 : 0;
        }
        const before = seen.calls.length;
        const asked = () => seen.calls.slice(before).filter(({ path }) => path.endsWith("/rules"));
        await api("POST", "/postern/v1/tokens", { name: "of another", scopes: ["read"], days: 1 });
        await page.getByText("has changed token").first().waitFor();
        const [rule] = await api("GET", `/postern/v1/zones/${told.zone}/rules?search=internal`);
        assert.equal(asked().length, 0);
        const path = `${zone}/rulesets/${rule.ruleset_id}/rules/${rule.id}`;
        await api("PATCH", path, { description: "internal, by another" });
        await page.getByText("internal, by another").first().waitFor();
        assert.ok(asked().length >= 1);
        assert.ok(seen.calls.every(({ path, method }) => method !== "GET" || !path.endsWith("/entrypoint")));
    });

    await step("a rule that another has changed is not deleted unseen", async () => {
        const [rule] = await api("GET", `/postern/v1/zones/${told.zone}/rules?search=internal`);
        // The page does not hear of it before the click.
        await page.route("**/events/stream", (route) => route.abort());
        await page.reload();
        await page.getByText("internal, by another").first().waitFor();
        const path = `${zone}/rulesets/${rule.ruleset_id}/rules/${rule.id}`;
        await api("PATCH", path, { expression: "false" });
        await button("Delete internal, by another").click();
        await page.getByRole("alert").getByText("was changed meanwhile").waitFor();
        await page.unroute("**/events/stream");
        await page.reload();
    });

    await step("Test: a request that is picked from the newest ones", async () => {
        await visitPage("Test");
        const pick = page.getByLabel("Like one of the newest requests");
        const label = (await pick.locator("option").allInnerTexts()).find((one) =>
            one.includes("/internal/two"),
        );
        await pick.selectOption({ label });
        assert.equal(await page.getByLabel("Path").inputValue(), "/internal/two");
        await button("Try it").click();
        await page.getByText("The request is").waitFor();
        await inspect(page, "test-picked");
    });

    await step("every field of the language has its documentation", async () => {
        const options = { entryPoints: ["src/fields.ts"], bundle: true, write: false, format: "esm" };
        const [{ contents }] = (await build(options)).outputFiles;
        const source = Buffer.from(contents).toString("base64");
        const { aboutField } = await import(`data:text/javascript;base64,${source}`);
        const { fields } = await api("GET", "/postern/v1/expressions/vocabulary");
        const silent = fields.filter(({ name }) => aboutField(name) === null).map(({ name }) => name);
        assert.deepEqual(silent, []);
    });

    await step("no other server was asked, and every call is described", async () => {
        await compare(seen);
        assert.deepEqual(seen.complaints, []);
    });
    console.log("all good");
} finally {
    await browser.close();
}
