// A page in Chromium opens a WebSocket to the host that it came from, and says what it hears.

import { createRequire } from "node:module";

const told = JSON.parse(process.argv[2]);
const { chromium } = createRequire(`${told.home}/package.json`)("playwright-core");
const [address, port] = told.address.split(":");
const browser = await chromium.launch({
  executablePath: told.chromium,
  timeout: 180_000,
  args: [
    "--no-sandbox",
    "--ignore-certificate-errors",
    `--host-resolver-rules=MAP ${told.host} ${address}`,
  ],
});
try {
  const page = await browser.newPage();
  // The first start of a browser on a busy machine takes long.
  page.setDefaultTimeout(180_000);
  await page.goto(`https://${told.host}:${port}/page`);
  const heard = await page.evaluate(
    (url) =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(url);
        const heard = [];
        socket.binaryType = "arraybuffer";
        socket.onopen = () => {
          socket.send("hello");
          socket.send(new Uint8Array(300000));
        };
        socket.onmessage = ({ data }) => {
          heard.push(typeof data === "string" ? data : data.byteLength);
          if (heard.length === 2) {
            socket.close();
          }
        };
        socket.onclose = ({ wasClean }) => resolve({ heard, wasClean });
        socket.onerror = () => reject(new Error("the WebSocket failed"));
      }),
    `wss://${told.host}:${port}/socket`,
  );
  console.log(JSON.stringify(heard));
} finally {
  await browser.close();
}
