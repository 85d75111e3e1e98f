// The documents' steps, in their order, in a real browser; and at the end real clients are refused
// and let in. `tests/it/dashboard.rs` starts the gateway and this.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { allInspected, ask, compare, firstView, inspect, open, step, told, visit } from "./browser.mjs";

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

    await step("the first view is small", async () => {
        // Just made: links are good for a minute.
        const [postern, ...words] = told.makes_link;
        const link = execFileSync(postern, words, { encoding: "utf8" }).trim();
        await firstView(browser, link, (other) => other.getByText(HOST).first().waitFor());
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
        await name.fill("api.exampel.test");
        await page.keyboard.press("Enter");
        await page.getByText("names that end in .example.test").waitFor();
        assert.equal(await button("Create api.exampel.test").count(), 0);
        await page.getByRole("button", { name: "Remove api.exampel.test" }).click();
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
    /** One whose names are markup. */
    let hostile = null;
    const downloaded = async (name) => {
        const [download] = await Promise.all([
            page.waitForEvent("download"),
            button(`Download ${name}`).click(),
        ]);
        assert.equal(download.suggestedFilename(), name);
        return await download.path();
    };
    const create = async (name, way, password = "") => {
        await button("Create Certificate").click();
        await page.getByLabel(way).check();
        await page.getByLabel("Name of the client").fill(name);
        await page.getByLabel("Password for a PKCS#12 file").fill(password);
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
        const certificate = readFileSync(await downloaded("client.pem"), "utf8");
        assert.equal(certificate.trim(), identities.phone.certificate.trim());
        // That the certificate is kept is not that the key is.
        await page.getByText("The key was not saved").waitFor();
        const key = readFileSync(await downloaded("client.key"), "utf8");
        assert.equal(key.trim(), identities.phone.key.trim());
        await button("Done").click();
        await page.getByRole("dialog").waitFor({ state: "detached" });
        await page.getByRole("button", { name: "phone", exact: true }).waitFor();
    });
    await step("Create Certificate: by the gateway", async () => {
        await create("sensor", "Let the gateway make the key", "secret word");
        const path = await downloaded("client.p12");
        const password = ["-passin", "pass:secret word"];
        const read = execFileSync("openssl", ["pkcs12", "-in", path, "-nodes", ...password]);
        assert.match(read.toString(), /-----BEGIN CERTIFICATE-----/);
        assert.match(read.toString(), /-----BEGIN PRIVATE KEY-----/);
        await button("Done").click();
        await page.getByRole("button", { name: "sensor", exact: true }).waitFor();
    });
    await step("Create Certificate: with an own CSR", async () => {
        await button("Create Certificate").click();
        await page.getByLabel("Use my own CSR").check();
        await page.getByLabel("Certificate signing request (CSR)", { exact: true }).fill("nonsense");
        await button("Create").click();
        await page.getByRole("alert").waitFor();
        // As a file, as where there is no dropping.
        await page.getByLabel("Or choose its file").setInputFiles({
            name: "device.csr",
            mimeType: "application/pkcs10",
            buffer: Buffer.from(told.csr),
        });
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

    await step("Custom rules: the list, the draft and the rule", async () => {
        await button("To the custom rules").click();
        await heading("Custom rules");
        await page.getByText("Admins have certificates").first().waitFor();
        await page.getByText("draft: off").waitFor();
        await inspect(page, "rules");
        await page.getByRole("switch", { name: "Enabled: Admins have certificates" }).click();
        await page.getByText("Admins have certificates is off").waitFor();
        assert.equal(await ask(HOST, "/admin"), 200);
        await page.getByRole("switch", { name: "Enabled: Admins have certificates" }).click();
        await page.getByText("Admins have certificates is on").waitFor();
        assert.equal(await ask(HOST, "/admin"), 403);
    });
    await step("the order by keyboard and by dragging, and undone", async () => {
        const [draft, admins] = ["mTLS rule", "Admins have certificates"];
        const ordered = async (names) => {
            for (const [place, name] of names.entries()) {
                await page.locator(".rules > li").nth(place).getByText(name).first().waitFor();
            }
        };
        await ordered([draft, admins]);
        await button(`Move ${admins} up`).focus();
        await page.keyboard.press("Enter");
        await page.getByText(`${admins} is number 1 now`).waitFor();
        await ordered([admins, draft]);
        await button("Undo").click();
        await page.getByText(`${admins} is number 2 now`).waitFor();
        await ordered([draft, admins]);
        await page.locator(".rules > li").nth(1).dragTo(page.locator(".rules > li").nth(0));
        await page.getByText(`${admins} is number 1 now`).waitFor();
        await ordered([admins, draft]);
    });
    await step("duplicated, deleted, and back", async () => {
        await button("Duplicate mTLS rule").click();
        await page.getByText("A copy of mTLS rule is below it").waitFor();
        await button("Delete mTLS rule (copy)").click();
        await page.getByText("mTLS rule (copy) was deleted").waitFor();
        await button("Undo").click();
        await page.getByText("mTLS rule (copy) is back").waitFor();
        await button("Delete mTLS rule (copy)").click();
        await page.getByText("mTLS rule (copy) was deleted").waitFor();
    });
    await step("the Expression Builder: rows, And, Or, and the preview", async () => {
        await page.getByRole("link", { name: "Create rule" }).click();
        await heading("Create rule");
        await page.getByLabel("Rule name").fill("No internals");
        const preview = page.getByLabel("Expression Preview");
        await preview.getByText("not cf.tls_client_auth.cert_verified").waitFor();
        await button("And").click();
        const row = page.getByRole("group", { name: "Row 2 of 1" });
        await row.getByLabel("Field").selectOption("http.request.uri.path");
        await row.getByLabel("Operator").selectOption("starts_with");
        await row.getByLabel("Value").fill('/int"ernal');
        await preview.getByText('\\"').waitFor();
        await row.getByLabel("Value").fill("/internal");
        await button("Or").click();
        const other = page.getByRole("group", { name: "Row 1 of 2" });
        await other.getByLabel("Field").selectOption("http.request.method");
        await other.getByLabel("Operator").selectOption("in");
        await other.getByLabel("Values").fill("TRACE");
        await page.keyboard.press("Enter");
        await preview.getByText('{"TRACE"}').waitFor();
        await inspect(page, "builder");
        await button("Edit expression").click();
        const editor = page.getByRole("textbox", { name: "Expression" });
        await editor.waitFor();
        const text = await editor.innerText();
        assert.ok(text.includes("starts_with") && text.includes(" or "), text);
        await button("Use expression builder").click();
        await preview.getByText('{"TRACE"}').waitFor();
        await button("Deploy").click();
        await heading("Custom rules");
        assert.equal(await ask("new.example.test", "/internal/x"), 403);
        assert.equal(await ask("new.example.test", "/"), 200);
    });
    await step("the wrench opens a rule: in the editor, where rows cannot show it", async () => {
        await page.getByRole("link", { name: "Edit Admins have certificates" }).click();
        await heading("Edit rule");
        const editor = page.getByRole("textbox", { name: "Expression" });
        await editor.getByText("cert_revoked").waitFor();
        await page.getByText("The builder cannot show this expression").waitFor();
        await inspect(page, "editor");
    });
    await step("the editor: errors have a place, and words are completed", async () => {
        const editor = page.getByRole("textbox", { name: "Expression" });
        await editor.fill("http.hots eq");
        await page.getByText("Filter parsing error (1:1)").first().waitFor();
        await page.locator(".cm-lintRange-error").first().waitFor();
        assert.ok(await button("Deploy").isDisabled());
        // The proposals: a list that is steered from the editor, which axe does not see.
        await editor.press("Escape");
        await page.locator(".cm-tooltip-autocomplete").waitFor({ state: "detached" });
        await inspect(page, "editor-error");
        await editor.fill("");
        await editor.pressSequentially("http.request.met");
        await page.locator(".cm-tooltip-autocomplete").getByText("http.request.method").click();
        await editor.pressSequentially(' eq "DELETE"');
        await page.getByText("Filter parsing error").first().waitFor({ state: "detached" });
        assert.equal(await editor.innerText(), 'http.request.method eq "DELETE"');
        await button("Use expression builder").click();
        await page.getByLabel("Expression Preview").getByText("DELETE").waitFor();
    });
    await step("another person has changed it meanwhile: nothing is overwritten", async () => {
        const rules = await (
            await fetch(`${told.url}/postern/v1/zones/${told.zone}/mtls_rules`, {
                headers: { authorization: `Bearer ${told.tokens.all}` },
            })
        ).json();
        const rule = rules.result.find((one) => one.name === "Admins have certificates");
        const changed = await fetch(
            `${told.url}/postern/v1/zones/${told.zone}/mtls_rules/${rule.id}`,
            {
                method: "PATCH",
                headers: { authorization: `Bearer ${told.tokens.all}` },
                body: JSON.stringify({ name: "Admins, changed by another" }),
            },
        );
        assert.equal(changed.status, 200);
        await button("Deploy").click();
        await page.getByText("Another person has changed this rule").waitFor();
        await inspect(page, "changed-meanwhile");
        await button("Take theirs").click();
        await page.getByRole("textbox", { name: "Expression" }).getByText("cert_revoked").waitFor();
        assert.equal(
            await page.getByLabel("Rule name").inputValue(),
            "Admins, changed by another",
        );
        await button("Deploy").click();
        await heading("Custom rules");
    });
    await step("versions: what changed, and back", async () => {
        await button("Versions").click();
        await page.getByLabel("Compare now with").selectOption({ index: 1 });
        await page.getByRole("dialog").getByText("Changed").first().waitFor();
        await inspect(page, "versions");
        await page.getByRole("button", { name: /^Restore version/ }).click();
        await page.getByRole("dialog").waitFor({ state: "detached" });
        await page.getByText("No internals").waitFor();
        assert.equal(await ask(HOST, "/admin"), 403);
    });

    await step("Revoke, with a reason: its client is refused", async () => {
        await page.getByRole("link", { name: "Client Certificates" }).first().click();
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
        await page.getByRole("dialog").getByRole("button", { name: "Revoke 2" }).click();
        await page.getByText("Revoked 2 certificates").waitFor();
        await page.getByLabel("Status").selectOption("active");
        await button("Revoke sensor").waitFor();
        await button("Restore phone").waitFor({ state: "detached" });
        await page.getByLabel("that is exactly").fill("nobody");
        await page.keyboard.press("Enter");
        await page.getByText("No certificate is like that").waitFor();
        await button("Show all").click();
        await button("Restore phone").waitFor();
        await page.getByLabel("Choose phone").check();
        await page.getByLabel("Choose own-device").check();
        await button("Restore 2").click();
        await page.getByText("Restored 2 certificates").waitFor();
        await button("Revoke phone").waitFor();
        assert.equal(await ask(HOST, "/admin", identities.phone), 200);
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
        const text = await made.text();
        assert.equal(made.status, 200, text);
        const { result } = JSON.parse(text);
        hostile = { certificate: result.certificate, key: result.private_key };
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
        await page.locator("button:focus", { hasText: "Create Certificate" }).waitFor();
    });

    const visitPage = async (name) => {
        await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name }).first().click();
        await heading(name);
    };
    const api = async (method, path, body) => {
        const answer = await fetch(`${told.url}${path}`, {
            method,
            headers: { authorization: `Bearer ${told.tokens.all}` },
            ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        });
        const { result, errors } = await answer.json();
        assert.equal(answer.status, 200, JSON.stringify(errors));
        return result;
    };
    const event = (text) => page.getByRole("row").filter({ hasText: text }).first();
    await step("Events: what happened is there, and what happens appears by itself", async () => {
        await visitPage("Events");
        await page.getByText("live", { exact: true }).waitFor();
        await event("/admin").getByText("blocked", { exact: true }).waitFor();
        assert.equal(await ask("nobody.test", "/"), "EPROTO");
        await page.getByRole("link", { name: "Events", exact: true }).last().click();
        await page.getByText("of all zones").waitFor();
        await event("unknown_host").waitFor();
        assert.equal(await ask("somebody.test", "/"), "EPROTO");
        await event("somebody.test").waitFor();
        await event("somebody.test").getByRole("button").click();
        await page.getByRole("dialog").getByText("No host for this SNI").waitFor();
        await inspect(page, "event-handshake");
        await page.keyboard.press("Escape");
        await page.getByLabel("Kind").selectOption("handshake");
        await event("/admin").waitFor({ state: "detached" });
        await page.getByLabel("Host", { exact: true }).fill("somebody");
        await event("nobody.test").waitFor({ state: "detached" });
        await page.getByLabel("Country").fill("XX");
        await page.getByText("No event is like that").waitFor();
        await page.getByLabel("Country").fill("");
    });
    await step("an event of a certificate: a rule is made of it, and it is revoked", async () => {
        await visitPage("Events");
        const certificates = `/client/v4/zones/${told.zone}/client_certificates`;
        const [phone] = await api("GET", `${certificates}?common_name=phone&status=all`);
        await api("PATCH", `${certificates}/${phone.id}`, { reactivate: true });
        assert.equal(await ask(HOST, "/admin", identities.phone), 200);
        await page.getByLabel("Kind").selectOption("blocked");
        await page.getByLabel("Certificate").fill("CN=phone");
        await event("/admin").getByRole("button").click();
        const dialog = page.getByRole("dialog");
        await dialog.getByText("Decided by the rule").waitFor();
        await dialog.getByText("Create a rule from this").first().click();
        await dialog.getByLabel("certificate", { exact: true }).check();
        await dialog.getByText("cert_fingerprint_sha256").first().waitFor();
        await dialog.getByText("Revoke this certificate").click();
        await inspect(page, "event");
        await dialog.getByRole("button", { name: "Revoke it" }).click();
        await dialog.getByText("The certificate of phone is revoked").waitFor();
        assert.equal(await ask(HOST, "/admin", identities.phone), 403);
        await dialog.getByRole("button", { name: "Create a rule from this" }).click();
        await heading("Create rule");
        const preview = page.getByLabel("Expression Preview");
        await preview.getByText("cert_fingerprint_sha256").waitFor();
        const name = await page.getByLabel("Rule name").inputValue();
        assert.equal(name, "From an event");
    });
    await step("hostile events are shown as text", async () => {
        await visitPage("Events");
        const path = `/internal/%3Cimg%20src=x%20onerror=alert(1)%3E%E2%80%AE${"a".repeat(10_000)}`;
        assert.equal(await ask("new.example.test", path), 403);
        await event("onerror").getByRole("button", { name: /^Open/ }).click();
        await page.getByRole("dialog").getByRole("button", { name: /^show all/ }).first().click();
        await page.getByRole("dialog").getByText(/a{1500}/).first().waitFor();
        await page.keyboard.press("Escape");
        const certificates = `/client/v4/zones/${told.zone}/client_certificates`;
        const all = await api("GET", `${certificates}?status=active&per_page=50`);
        const { id } = all.find((one) => one.common_name.includes("<img"));
        await api("DELETE", `${certificates}/${id}`);
        assert.equal(await ask(HOST, "/admin", hostile), 403);
        const row = page.getByRole("row").filter({ hasText: "<img src=x" }).first();
        await row.waitFor();
        await inspect(page, "events");
        await row.getByRole("button", { name: /^Open/ }).click();
        await page.getByRole("dialog").getByText("\u27e8U+202E\u27e9").first().waitFor();
        await inspect(page, "hostile-event");
        await page.keyboard.press("Escape");
    });
    await step("Latency: percentiles over time, the histogram, and when rules changed", async () => {
        await visitPage("Latency");
        await page.getByText("in all. Half stayed below").waitFor({ timeout: 30_000 });
        await page.locator(".chart canvas").nth(1).waitFor();
        await page.getByText("Rules were changed").waitFor();
        await page.getByRole("button", { name: "Full handshakes" }).click();
        await page.getByText("From the complete ClientHello to the end of a full").waitFor();
        await inspect(page, "latency");
        await page.getByLabel("Host", { exact: true }).selectOption("new.example.test");
        await page.getByText("in all. Half stayed below").waitFor();
    });
    await step("Overview: what is amiss, and the button that mends it", async () => {
        await page.getByRole("link", { name: "Overview" }).click();
        await heading("Overview");
        const row = page.getByRole("row").filter({ hasText: HOST });
        await row.getByText(/^[1-9]/).first().waitFor();
        await api("PATCH", "/postern/v1/hosts/new.example.test", { mtls: "off" });
        const amiss = page.getByRole("listitem").filter({ hasText: "does not ask for client" });
        await page.reload();
        await amiss.getByText("new.example.test").first().waitFor();
        await inspect(page, "overview-amiss");
        await amiss.getByRole("button", { name: "Mend it: set mtls to request" }).click();
        await amiss.waitFor({ state: "detached" });
        const host = await api("GET", "/postern/v1/hosts/new.example.test");
        assert.equal(host.mtls, "request");
    });
    await step("Overview: what another person has changed meanwhile is not mended over", async () => {
        await api("PATCH", "/postern/v1/hosts/new.example.test", { mtls: "off" });
        const amiss = page.getByRole("listitem").filter({ hasText: "does not ask for client" });
        // The page does not hear of what comes now.
        await page.route("**/events/stream", (route) => route.abort());
        await page.reload();
        await amiss.getByText("new.example.test").first().waitFor();
        await api("PATCH", "/postern/v1/hosts/new.example.test", { revoked: "close" });
        await amiss.getByRole("button", { name: "Mend it: set mtls to request" }).click();
        await amiss.getByRole("alert").getByText("was changed meanwhile").waitFor();
        const host = await api("GET", "/postern/v1/hosts/new.example.test");
        assert.deepEqual([host.mtls, host.revoked], ["off", "close"]);
        // What is there now was looked at, so that it may be mended.
        await amiss.getByRole("button", { name: "Mend it: set mtls to request" }).click();
        await amiss.waitFor({ state: "detached" });
        await page.unroute("**/events/stream");
        await page.reload();
        await heading("Overview");
    });
    await step("what another person changes shows by itself, and is said", async () => {
        await visitPage("Custom rules");
        await page.getByText("No internals").waitFor();
        const phase = "http_request_firewall_custom";
        const entry = `/client/v4/zones/${told.zone}/rulesets/phases/${phase}/entrypoint`;
        const { id, rules } = await api("GET", entry);
        const rule = rules.find((one) => one.description === "No internals");
        const path = `/client/v4/zones/${told.zone}/rulesets/${id}/rules/${rule.id}`;
        await api("PATCH", path, { description: "No internals, said by another" });
        await page.getByText("No internals, said by another").waitFor();
        await page.getByText("has changed").first().waitFor();
        await inspect(page, "changed-by-another");
        await api("PATCH", path, { description: "No internals" });
        await page.getByText("No internals, said by another").waitFor({ state: "detached" });
    });
    await step("Test: which rule acts, and why", async () => {
        await visitPage("Test");
        const outcome = page.getByRole("status").filter({ hasText: "The request is" });
        await page.getByLabel("Host", { exact: true }).fill(HOST);
        await page.getByLabel("Path").fill("/admin");
        await button("Try it").click();
        await outcome.getByText("blocked", { exact: true }).waitFor();
        await outcome.getByText("Admins").first().waitFor();
        await outcome.getByText("http.request.uri.path").first().waitFor();
        await inspect(page, "test");
        await page.getByLabel("Client certificate").selectOption("valid");
        await button("Try it").click();
        await outcome.getByText("permitted", { exact: true }).waitFor();
        await page.getByLabel("With one rule more").check();
        await page.getByRole("textbox", { name: "Expression" }).fill("http.host eq");
        await button("Try it").click();
        await page.getByRole("alert").getByText("Filter parsing error").waitFor();
        await page.getByRole("textbox", { name: "Expression" }).fill(`http.host eq "${HOST}"`);
        await button("Try it").click();
        await outcome.getByText("by the draft").waitFor();
        await page.getByRole("radio", { name: /^The newest requests/ }).check();
        await button("Try it").click();
        await page.getByText(/of [1-9]\d* would be blocked/).waitFor();
        await page.getByText("was: permit").first().waitFor();
        await inspect(page, "test-recent");
        await page.getByLabel("Lines of the access log").first().check();
        await page.getByRole("textbox", { name: "Lines of the access log" }).fill(
            readFileSync(told.log, "utf8"),
        );
        await button("Try it").click();
        await page.getByText(/would be blocked/).waitFor();
        await page.getByText("was: permit").first().waitFor();
        await inspect(page, "test-log");
    });
    await step("Test: headers of strangers are shown as text", async () => {
        await page.getByRole("radio", { name: "A request", exact: true }).check();
        const agent = `<img src=x onerror=alert(1)>\u202e${"b".repeat(10_000)}`;
        await page.getByLabel("Headers (optional)").fill("no colon");
        await button("Try it").click();
        await page.getByRole("alert").getByText("has no name and colon").waitFor();
        await page.getByLabel("Headers (optional)").fill(`User-Agent: ${agent}\nAccept: */*`);
        const editor = page.getByRole("textbox", { name: "Expression" });
        await editor.press("ControlOrMeta+a");
        await page.keyboard.insertText('http.user_agent contains "<img" and not ssl');
        // The proposals, which axe does not see.
        await editor.press("Escape");
        await page.locator(".cm-tooltip-autocomplete").waitFor({ state: "detached" });
        await button("Try it").click();
        const outcome = page.getByRole("status").filter({ hasText: "The request is" });
        await outcome.getByText("<img src=x onerror=alert(1)>\u27e8U+202E\u27e9bbb").first().waitFor();
        // Ten thousand characters do not take the page.
        assert.ok((await outcome.innerText()).length < 3_000);
        await inspect(page, "hostile-test");
        assert.equal(await page.locator("img").count(), 0);
    });
    await step("Server certificates: what hosts present", async () => {
        await visitPage("Server certificates");
        await page.getByRole("cell", { name: HOST }).first().waitFor();
        await button("Upload a certificate").click();
        await page.getByLabel("Certificate", { exact: true }).fill("nonsense");
        await page.getByLabel("Private key", { exact: true }).fill("nonsense");
        await button("Upload").click();
        await page.getByRole("alert").waitFor();
        await inspect(page, "upload-server-certificate");
        await page.keyboard.press("Escape");
        await page.getByRole("dialog").waitFor({ state: "detached" });
        await page.getByRole("button", { name: /^Delete that for/ }).click();
        await page.getByText("it is not served any more").waitFor();
        await button("Cancel").click();
        await page.getByRole("dialog").waitFor({ state: "detached" });
        await inspect(page, "server-certificates");
    });
    const DEEP = "deep.down.example.test";
    await step("a host without a certificate is named, and served when there is one", async () => {
        const hosts = `/postern/v1/zones/${told.zone}/hosts`;
        await api("POST", hosts, { name: DEEP, origin: { url: told.origin } });
        const bare = page.getByText(`No certificate covers ${DEEP}`);
        await bare.waitFor();
        await inspect(page, "server-certificates-none");
        assert.equal(await ask(DEEP, "/"), "EPROTO");
        await button("Upload a certificate").click();
        await page.getByLabel("Certificate", { exact: true }).fill(told.server.chain);
        await page.getByLabel("Private key", { exact: true }).fill(told.server.key);
        await button("Upload").click();
        await page.getByRole("cell", { name: DEEP, exact: true }).waitFor();
        await bare.waitFor({ state: "detached" });
        assert.equal(await ask(DEEP, "/"), 200);
    });
    await step("a host is deleted, and then its certificate", async () => {
        await visitPage("Overview");
        await button(`Edit ${DEEP}`).click();
        await button("Delete this host").click();
        await page.getByRole("dialog").getByText("is not served any more").waitFor();
        await inspect(page, "delete-host");
        await button("Cancel").click();
        await button("Delete this host").click();
        await button("Delete it").click();
        await button(`Edit ${DEEP}`).waitFor({ state: "detached" });
        assert.equal(await ask(DEEP, "/"), "EPROTO");
        await visitPage("Server certificates");
        await button(`Delete that for ${DEEP}`).click();
        await page.getByText("Lost for good: 1 server certificate with its key").waitFor();
        await button("Delete it").click();
        await button(`Delete that for ${DEEP}`).waitFor({ state: "detached" });
    });
    await step("Certificate Authorities: made, retired, uploaded", async () => {
        await visitPage("Certificate Authorities");
        await page.getByText("issues", { exact: true }).waitFor();
        const [download] = await Promise.all([
            page.waitForEvent("download"),
            page.getByRole("button", { name: /^Download the revocation list/ }).click(),
        ]);
        assert.equal(download.suggestedFilename(), "example.test.crl");
        const crl = ["crl", "-inform", "DER", "-noout", "-text", "-in", await download.path()];
        assert.match(execFileSync("openssl", crl).toString(), /Certificate Revocation List/);
        const [authority] = await Promise.all([
            page.waitForEvent("download"),
            page.getByRole("button", { name: /^Download the certificate of/ }).first().click(),
        ]);
        assert.match(readFileSync(await authority.path(), "utf8"), /^-----BEGIN CERTIFICATE-----/);
        await button("Make a new one").click();
        await button("Make it").click();
        await page.getByText("still accepted").waitFor();
        await page.getByRole("button", { name: /^Retire/ }).last().click();
        await page.getByText("its clients are refused from now on").waitFor();
        await inspect(page, "retire");
        await button("Cancel").click();
        await button("Upload a CA").click();
        await page.getByLabel("Name").fill("Partners");
        await page.getByLabel("Certificates", { exact: true }).fill(told.partners);
        await button("Upload").click();
        await page.getByRole("rowheader", { name: "Partners" }).waitFor();
        await page.getByText("Partners: one certificate was taken").waitFor();
        await button("Revocation of Partners").click();
        await page.getByLabel("When no list speaks for a certificate").selectOption("hard");
        await page.getByLabel("Asked about each client").fill("http://ocsp.example.test/");
        await page.getByLabel("When the responder says nothing").selectOption("soft");
        const [{ id }] = await api("GET", "/client/v4/accounts");
        const [partners] = await api("GET", `/client/v4/accounts/${id}/mtls_certificates`);
        const revocation = `/postern/v1/certificate_authorities/${partners.id}`;
        await api("PATCH", `${revocation}/ocsp`, { url: "http://other.example.test/", policy: "hard" });
        await button("Save").click();
        await page.getByText("theirs: http://other.example.test/").waitFor();
        await inspect(page, "revocation");
        await button("Go on with mine").click();
        await button("Save").click();
        await page.getByText("none: its clients are refused").waitFor();
        await page.getByText("http://ocsp.example.test/").waitFor();
        await inspect(page, "authorities");
        await button("Revocation of Partners").click();
        await page.getByText("Upload a revocation list").click();
        await page.getByLabel("Revocation list", { exact: true }).fill("nonsense");
        await button("Upload the list").click();
        await page.getByRole("dialog").getByRole("alert").waitFor();
        await page.getByLabel("Revocation list", { exact: true }).fill(told.list);
        await inspect(page, "upload-revocation-list");
        await button("Upload the list").click();
        await page.getByRole("dialog").waitFor({ state: "detached" });
        await page.getByRole("row").filter({ hasText: "Partners" }).getByText("1 revoked; of").waitFor();
        await inspect(page, "authorities-list");
        await button("Delete Partners").click();
        await button("Delete it").click();
        await page.getByRole("rowheader", { name: "Partners" }).waitFor({ state: "detached" });
    });
    await step("Tokens: made, shown once, deleted", async () => {
        await visitPage("Tokens");
        await button("Create token").click();
        await page.getByLabel("Name").fill("by-page");
        await page.getByLabel("Issue, revoke and restore").check();
        await page.getByLabel("Only in these zones").fill("example.test");
        await page.keyboard.press("Enter");
        await inspect(page, "create-token");
        await button("Create").click();
        const secret = await page.getByLabel("The token", { exact: true }).innerText();
        assert.match(secret, /^postern_/);
        await button("Done").click();
        await page.getByRole("rowheader", { name: "by-page" }).waitFor();
        await inspect(page, "tokens");
        await button("Delete by-page").click();
        await button("Delete it").click();
        await page.getByRole("rowheader", { name: "by-page" }).waitFor({ state: "detached" });
    });
    await step("Settings: a live key is set", async () => {
        await visitPage("Settings");
        await page.getByLabel("Find in keys").fill("timeout.idle");
        await button("Set timeout.idle").click();
        await page.getByLabel("New value of timeout.idle").fill("nonsense");
        await page.keyboard.press("Enter");
        await page.getByRole("alert").waitFor();
        await page.getByLabel("New value of timeout.idle").fill("33s");
        await page.keyboard.press("Enter");
        await page.getByText("timeout.idle is 33s now").waitFor();
        await page.getByLabel("Find in keys").fill("");
        await inspect(page, "settings");
    });
    await step("Audit log: who did it", async () => {
        await visitPage("Audit log");
        await page.getByText("(dashboard)").nth(2).waitFor();
        await page.getByLabel("What kind of thing").fill("token");
        await page.keyboard.press("Enter");
        await page.getByText("removed token").first().click();
        await page.getByText('"by-page"').first().waitFor();
        await inspect(page, "audit-log");
        // What another person does appears by itself.
        const before = seen.calls.filter(({ path }) => path === "/").length;
        await api("POST", "/postern/v1/tokens", { name: "live", scopes: ["read"], days: 1 });
        const newest = page.locator(".log > li").first();
        await newest.getByText("made token").click();
        await newest.getByText('"live"').waitFor();
        assert.equal(seen.calls.filter(({ path }) => path === "/").length, before);
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
        await heading("Audit log");
        await visitPage("Client Certificates");
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
        // By itself: the stream of events asks again.
        await page.getByText("has ended").first().waitFor();
        await page.getByLabel("Token").waitFor();
    });

    await step("a token of one zone sees that zone", async () => {
        await page.getByLabel("Token").fill(told.tokens.zone);
        await page.keyboard.press("Enter");
        // One is where one was.
        await heading("Client Certificates");
        await page.getByRole("button", { name: "sensor", exact: true }).waitFor();
        await button("Revoke sensor").waitFor();
    });

    await step("every page was looked at", async () => {
        const zone = [
            "client-certificates",
            "client-certificates/create-mtls-rule",
            "rules",
            "rules/new",
            "rules/ID",
            "test",
            "events",
            "latency",
            "server-certificates",
        ];
        allInspected([
            "/",
            ...zone.map((one) => `/zones/ZONE/${one}`),
            ..."events authorities audit-log tokens settings".split(" ").map((one) => `/${one}`),
        ]);
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
