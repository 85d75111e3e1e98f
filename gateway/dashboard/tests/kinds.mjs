// Every kind of rule beside custom rules, made with its form in a real browser, tried by real clients,
// changed, switched, moved, deleted and brought back. `tests/it/dashboard.rs` starts the gateway and this.

import assert from "node:assert/strict";
import { allInspected, answer, ask, compare, inspect, open, step, told, visit } from "./browser.mjs";

const HOST = "api.example.test";

const browser = await open();
try {
    const { page, seen } = await visit(browser);
    const heading = (name) => page.getByRole("heading", { level: 1, name }).waitFor();
    const button = (name) => page.getByRole("button", { name, exact: true });
    const editor = page.getByRole("textbox", { name: "Expression" });
    const kind = async (name) => {
        const kinds = page.getByRole("navigation", { name: "Kinds of rules" });
        await kinds.getByRole("link", { name, exact: true }).click();
        await heading(name);
    };
    const create = async (name) => {
        await page.getByRole("link", { name: "Create rule" }).click();
        await heading("Create rule");
        await page.getByLabel("Rule name").fill(name);
    };
    const toEditor = async (text) => {
        await editor.or(button("Edit expression")).first().waitFor();
        if (await button("Edit expression").isVisible()) await button("Edit expression").click();
        // As a person does; `fill` would be too fast for the editor to know what is selected.
        await editor.press("ControlOrMeta+a");
        await page.keyboard.insertText(text);
    };
    const deploy = async (list) => {
        await button("Deploy").click();
        await heading(list);
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
    const rulesOf = (phase) => api("GET", `/postern/v1/zones/${told.zone}/rules?phase=${phase}`);

    await step("the kinds of rules are beside each other, and empty ones say so", async () => {
        await page.goto(told.link);
        await heading("Overview");
        await page.getByRole("link", { name: "Custom rules" }).click();
        await heading("Custom rules");
        for (const name of [
            "Redirects",
            "Rate limits",
            "Origin rules",
            "Request headers",
            "Response headers",
        ]) {
            await kind(name);
            await page.getByText(/^No .* yet/).waitFor();
        }
        await inspect(page, "rules-empty");
    });

    await step("Redirects: the form, what the gateway says of it, and a client that is sent on", async () => {
        await kind("Redirects");
        await create("moved");
        await toEditor('http.request.uri.path eq "/moved"');
        await page.getByLabel("Target", { exact: true }).fill("//elsewhere.test/");
        await page.getByText("neither an http:// or https:// URL").first().waitFor();
        await page.getByLabel("Target", { exact: true }).fill("https://elsewhere.test/");
        await page.getByText("neither an http:// or https:// URL").waitFor({ state: "detached" });
        await page.getByLabel("Status").selectOption("302");
        await page.getByLabel("Preserve query string").check();
        await inspect(page, "redirect");
        await deploy("Redirects");
        await page.getByText("302 to https://elsewhere.test/, with the query").waitFor();
        const sent = await answer(HOST, "/moved?a=1");
        assert.equal(sent.status, 302);
        assert.equal(sent.headers.location, "https://elsewhere.test/?a=1");
        await page.getByRole("link", { name: "Edit moved" }).click();
        await heading("Edit rule");
        // The wrench opens the builder: rows can show this expression.
        await page.getByLabel("Expression Preview").getByText("/moved").waitFor();
        await page.getByLabel("Target is").selectOption("expression");
        await page.getByLabel("Target", { exact: true }).fill('concat("https://x.test", http.request.uri.path)');
        await deploy("Redirects");
        const made = await answer(HOST, "/moved");
        assert.equal(made.headers.location, "https://x.test/moved");
    });

    await step("a redirect is switched off and on, deleted, and brought back", async () => {
        await page.getByRole("switch", { name: "Enabled: moved" }).click();
        await page.getByText("moved is off").waitFor();
        assert.equal(await ask(HOST, "/moved"), 200);
        await page.getByRole("switch", { name: "Enabled: moved" }).click();
        await page.getByText("moved is on").waitFor();
        await button("Delete moved").click();
        await page.getByText("moved was deleted").waitFor();
        assert.equal(await ask(HOST, "/moved"), 200);
        await button("Undo").click();
        await page.getByText("moved is back").waitFor();
        assert.equal(await ask(HOST, "/moved"), 302);
        await inspect(page, "redirects");
    });

    await step("Rate limits: whom to count, how many, and the answer of its own", async () => {
        await kind("Rate limits");
        await create("few");
        await toEditor('starts_with(http.request.uri.path, "/few")');
        await page.getByLabel("Requests", { exact: true }).fill("2");
        await page.getByLabel("Period").selectOption("3600");
        await page.getByLabel("For how many seconds").fill("90");
        await page.getByLabel("With a response of its own").check();
        await page.getByLabel("Response code").fill("418");
        await page.getByLabel("Response type").selectOption("text/plain");
        await page.getByLabel("Response body").fill("that is enough");
        await inspect(page, "rate-limit");
        await deploy("Rate limits");
        await page.getByText("more than 2 requests in 3600 s, with the same ip.src, for 90 s").waitFor();
        assert.equal(await ask(HOST, "/few"), 200);
        assert.equal(await ask(HOST, "/few"), 200);
        const refused = await answer(HOST, "/few");
        assert.equal(refused.status, 418);
        assert.equal(refused.body, "that is enough");
        // As a draft it does nothing, and the order is changed by keyboard.
        await create("draft");
        await page.getByLabel("All requests").check();
        await page.getByLabel("Choose action").selectOption("log");
        await button("Save as Draft").click();
        await heading("Rate limits");
        await page.getByText("draft: off").waitFor();
        await button("Move draft up").focus();
        await page.keyboard.press("Enter");
        await page.getByText("draft is number 1 now").waitFor();
        const [first] = await rulesOf("http_ratelimit");
        assert.deepEqual([first.description, first.enabled, first.expression], ["draft", false, "true"]);
        await inspect(page, "rate-limits");
    });

    await step("Request headers: set, computed and removed on the way to the origin", async () => {
        await kind("Request headers");
        await create("tell the origin");
        await page.getByLabel("All requests").waitFor();
        const row = (number) => page.getByRole("group", { name: `Header ${number}` });
        await row(1).getByLabel("Header", { exact: true }).fill("x-place");
        await row(1).getByLabel("Value", { exact: true }).fill("here");
        await button("One header more").click();
        await row(2).getByLabel("Header", { exact: true }).fill("X-PLACE");
        await page.getByText("x-place is there twice").waitFor();
        assert.ok(await button("Deploy").isDisabled());
        await row(2).getByLabel("Header", { exact: true }).fill("x-path");
        await row(2).getByLabel("Value is").selectOption("expression");
        await row(2).getByLabel("Value", { exact: true }).fill("http.request.uri.pth");
        await page.getByText("http.request.uri.pth").first().waitFor();
        await page.getByRole("status").getByText("was meant").or(page.getByText("unknown")).first().waitFor();
        await row(2).getByLabel("Value", { exact: true }).fill("http.request.uri.path");
        await button("One header more").click();
        await row(3).getByLabel("Do").selectOption("remove");
        await row(3).getByLabel("Header", { exact: true }).fill("x-secret");
        await inspect(page, "request-header");
        await deploy("Request headers");
        await page.getByText("sets x-path to what http.request.uri.path makes; sets x-place to “here”; removes x-secret").waitFor();
        const got = JSON.parse((await answer(HOST, "/tell", null, { "x-secret": "s" })).body);
        const text = JSON.stringify(got.headers);
        assert.ok(text.includes("x-place") && text.includes("/tell") && !text.includes("x-secret"), text);
        await inspect(page, "request-headers");
    });

    await step("Response headers: what the client gets", async () => {
        await kind("Response headers");
        await create("strict");
        await page.getByLabel("Header", { exact: true }).fill("strict-transport-security");
        await page.getByLabel("Value", { exact: true }).fill("max-age=300");
        await inspect(page, "response-header");
        await deploy("Response headers");
        const got = await answer(HOST, "/");
        assert.equal(got.headers["strict-transport-security"], "max-age=300");
        await inspect(page, "response-headers");
    });

    await step("Origin rules: a part of the requests goes to another origin", async () => {
        await kind("Origin rules");
        await create("second");
        await toEditor('starts_with(http.request.uri.path, "/v2/")');
        await button("Deploy").click();
        // Nothing was said yet of where to.
        await page.getByText("expected at least one of").first().waitFor();
        const second = new URL(told.second);
        await page.getByLabel("Host (optional)").fill(second.hostname);
        await page.getByLabel("Port (optional)").fill(second.port);
        await inspect(page, "origin-rule");
        await deploy("Origin rules");
        await page.getByText(`to ${second.hostname}, at port ${second.port}`).waitFor();
        assert.equal((await answer(HOST, "/v2/x")).body, "second");
        assert.notEqual((await answer(HOST, "/v1/x")).body, "second");
        await button("Duplicate second").click();
        await page.getByText("A copy of second is below it").waitFor();
        await inspect(page, "origin-rules");
        await page.getByRole("link", { name: "Edit second", exact: true }).click();
        await heading("Edit rule");
        assert.equal(await page.getByLabel("Port (optional)").inputValue(), second.port);
        await page.getByLabel("Host header (optional)").fill("second.test");
    });

    await step("another person changes the same rule: the difference is shown, nothing overwritten", async () => {
        const [rule] = await rulesOf("http_request_origin");
        const path = `/client/v4/zones/${told.zone}/rulesets/${rule.ruleset_id}/rules/${rule.id}`;
        await api("PATCH", path, { description: "second, by another" });
        await button("Deploy").click();
        await page.getByText("Another person has changed this rule").waitFor();
        await page.getByText("theirs: second, by another").waitFor();
        await page.getByText("yours: second", { exact: true }).waitFor();
        await inspect(page, "rule-changed-meanwhile");
        await button("Go on with mine").click();
        await deploy("Origin rules");
        const [now] = await rulesOf("http_request_origin");
        assert.equal(now.description, "second");
        assert.equal(now.action_parameters.host_header, "second.test");
        // Back to where there was no such part: what is taken out goes.
        await page.getByRole("link", { name: "Edit second", exact: true }).click();
        await page.getByLabel("Host header (optional)").fill("");
        await deploy("Origin rules");
        const [less] = await rulesOf("http_request_origin");
        assert.equal(less.action_parameters.host_header, undefined);
    });

    await step("custom rules: an answer of its own, and skip", async () => {
        await kind("Custom rules");
        await create("teapot");
        await toEditor('http.request.uri.path eq "/tea"');
        await page.getByLabel("With a response of its own").check();
        await page.getByLabel("Response code").fill("418");
        await page.getByLabel("Response body").fill("short and stout");
        await inspect(page, "block-response");
        await deploy("Custom rules");
        const tea = await answer(HOST, "/tea");
        assert.deepEqual([tea.status, tea.body], [418, "short and stout"]);
        await create("around");
        await toEditor('http.request.uri.query eq "pass"');
        await page.getByLabel("Choose action").selectOption("skip");
        await page.getByLabel("The rate limits").check();
        await inspect(page, "skip");
        await deploy("Custom rules");
        await page.getByText("skips all custom rules below, rate limits").waitFor();
        await button("Move around up").click();
        await page.getByText("around is number 1 now").waitFor();
        assert.equal(await ask(HOST, "/tea?pass"), 200);
        await page.getByRole("link", { name: "Edit teapot" }).click();
        await page.getByLabel("With a response of its own").uncheck();
        await deploy("Custom rules");
        assert.equal(await ask(HOST, "/tea"), 403);
    });

    await step("every page was looked at", async () => {
        const kinds = ["redirects", "rate-limits", "origin-rules", "request-headers", "response-headers"];
        allInspected(kinds.flatMap((one) => [`/zones/ZONE/${one}`, `/zones/ZONE/${one}/new`]));
    });

    await step("no other server was asked, and every call is described", async () => {
        await compare(seen);
        assert.deepEqual(seen.complaints, []);
    });
    console.log("all good");
} finally {
    await browser.close();
}
