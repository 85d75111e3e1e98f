// The page of the fleet, of a gateway that is one of two edges: as it is, with an edge that has died, with etcd
// away and a certificate that is revoked on this edge alone, after that, and with an older etcd.
// `tests/it/fleet_shown.rs` starts the edges and this, and does what this asks for, line by line.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { allInspected, compare, inspect, open, step, told, visit } from "./browser.mjs";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has the gateway's test do something. */
async function have(what) {
    console.log(what);
    assert.equal((await lines.next()).value, "done");
}

const browser = await open();
try {
    const { page, seen } = await visit(browser);
    const heading = (name) => page.getByRole("heading", { level: 1, name }).waitFor();
    const own = page.getByRole("region", { name: "This edge", exact: true });
    const alone = page.getByRole("region", { name: "On this edge alone", exact: true });
    const edges = page.getByRole("region", { name: "Edges", exact: true });
    const row = (name) => edges.getByRole("row").filter({ hasText: name });
    // Leases end after fifteen seconds, and the page looks every ten.
    const patient = { timeout: 60_000 };

    await step("the overview says how the gateway stands to its fleet, and leads there", async () => {
        await page.goto(told.link);
        await heading("Overview");
        const gateway = page.getByRole("region", { name: "The gateway" });
        await gateway.getByText("current").waitFor(patient);
        await inspect(page, "overview-fleet");
        await gateway.getByRole("link", { name: "prod" }).click();
        await heading("Fleet");
    });

    await step("both edges are shown, with who leads and how fast changes come", async () => {
        await own.getByText("current").waitFor();
        await row("edge-0").getByText("leads").waitFor(patient);
        await row("edge-1 (this one)").getByText(/\d+ ms, \d+ ms/).waitFor(patient);
        await row("edge-0").getByText("just now").waitFor();
        await inspect(page, "fleet");
    });

    await step("an edge that has died is told apart, and how it is forgotten", async () => {
        await have("kill edge-0");
        await row("edge-0").getByText("not heard of").waitFor(patient);
        await row("edge-1 (this one)").getByText("leads").waitFor(patient);
        await edges.getByText("postern fleet forget EDGE").waitFor();
        await inspect(page, "fleet-dead-edge");
    });

    await step("without etcd it says so, and what holds on this edge alone", async () => {
        await have("kill etcd");
        await page.getByText("cut off from its fleet").waitFor(patient);
        await have("revoke alone");
        await alone.getByText("revoked").waitFor(patient);
        await edges.getByText("They cannot be shown").waitFor();
        await inspect(page, "fleet-away");
    });

    await step("with etcd again, what held alone is the fleet's", async () => {
        await have("start etcd");
        await own.getByText("current").waitFor(patient);
        await alone.waitFor({ state: "detached", ...patient });
        await row("edge-1 (this one)").waitFor();
    });

    await step("an edge whose log went back says that it is stuck, and what to decide", async () => {
        await have("older etcd");
        await page.getByText("This edge does not go on.").waitFor(patient);
        await page.getByText("postern fleet accept").first().waitFor();
        await inspect(page, "fleet-stuck");
    });

    allInspected(["/", "/fleet"]);
    await compare(seen);
    assert.deepEqual(seen.complaints, []);
    console.log("all good");
} finally {
    await browser.close();
    process.stdin.destroy();
}
