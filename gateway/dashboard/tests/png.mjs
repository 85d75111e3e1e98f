// Pictures of pages with few colours: a screenshot in a palette is a third of one in true colour.

import { deflateSync, inflateSync } from "node:zlib";

const COLOURS_MAX = 64;

/** Bytes of pixels from a PNG of 8 bits a channel, without interlacing, as Chromium makes them. */
function decode(png) {
    let at = 8;
    let head = null;
    const parts = [];
    while (at < png.length) {
        const length = png.readUInt32BE(at);
        const kind = png.toString("latin1", at + 4, at + 8);
        const data = png.subarray(at + 8, at + 8 + length);
        if (kind === "IHDR") head = data;
        if (kind === "IDAT") parts.push(data);
        at += length + 12;
    }
    const [width, height] = [head.readUInt32BE(0), head.readUInt32BE(4)];
    const channels = head[9] === 6 ? 4 : 3;
    const raw = inflateSync(Buffer.concat(parts));
    const stride = width * channels;
    const pixels = Buffer.alloc(stride * height);
    for (let y = 0; y < height; y += 1) {
        const filter = raw[y * (stride + 1)];
        for (let x = 0; x < stride; x += 1) {
            const left = x < channels ? 0 : pixels[y * stride + x - channels];
            const up = y === 0 ? 0 : pixels[(y - 1) * stride + x];
            const corner = x < channels || y === 0 ? 0 : pixels[(y - 1) * stride + x - channels];
            // The filters of PNG (ISO/IEC 15948 §9.2).
            const predicted = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter];
            pixels[y * stride + x] = raw[y * (stride + 1) + 1 + x] + predicted;
        }
    }
    return { width, height, channels, pixels };
}

function paeth(left, up, corner) {
    const estimate = left + up - corner;
    const [a, b, c] = [left, up, corner].map((one) => Math.abs(estimate - one));
    if (a <= b && a <= c) return left;
    return b <= c ? up : corner;
}

/** The same picture in its most frequent colours. */
export function inFewColours(png) {
    const { width, height, channels, pixels } = decode(png);
    const counts = new Map();
    const colours = new Uint32Array(width * height);
    for (let at = 0; at < colours.length; at += 1) {
        const [r, g, b] = pixels.subarray(at * channels, at * channels + 3);
        colours[at] = (r << 16) | (g << 8) | b;
        counts.set(colours[at], (counts.get(colours[at]) ?? 0) + 1);
    }
    const palette = [...counts].sort((one, other) => other[1] - one[1]).slice(0, COLOURS_MAX);
    const known = new Map(palette.map(([colour], place) => [colour, place]));
    const distance = (one, other) =>
        [16, 8, 0].reduce((sum, bit) => sum + (((one >> bit) & 255) - ((other >> bit) & 255)) ** 2, 0);
    const place = (colour) => {
        let best = known.get(colour);
        if (best === undefined) {
            const distances = palette.map(([one]) => distance(one, colour));
            best = distances.indexOf(Math.min(...distances));
            known.set(colour, best);
        }
        return best;
    };
    const rows = Buffer.alloc((width + 1) * height);
    for (let y = 0; y < height; y += 1) {
        for (let x = 0; x < width; x += 1) {
            rows[y * (width + 1) + 1 + x] = place(colours[y * width + x]);
        }
    }
    const head = Buffer.alloc(13);
    head.writeUInt32BE(width, 0);
    head.writeUInt32BE(height, 4);
    head.set([8, 3, 0, 0, 0], 8);
    const table = Buffer.from(palette.flatMap(([one]) => [one >> 16, (one >> 8) & 255, one & 255]));
    const data = deflateSync(rows, { level: 9 });
    const chunks = [["IHDR", head], ["PLTE", table], ["IDAT", data], ["IEND", Buffer.alloc(0)]];
    return Buffer.concat([png.subarray(0, 8), ...chunks.map(([kind, body]) => chunk(kind, body))]);
}

function chunk(kind, body) {
    const whole = Buffer.alloc(body.length + 12);
    whole.writeUInt32BE(body.length, 0);
    whole.write(kind, 4, "latin1");
    body.copy(whole, 8);
    whole.writeUInt32BE(crc(whole.subarray(4, body.length + 8)), body.length + 8);
    return whole;
}

function crc(bytes) {
    let sum = ~0;
    for (const byte of bytes) {
        sum ^= byte;
        for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
    }
    return ~sum >>> 0;
}
