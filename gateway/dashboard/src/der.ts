// DER (X.690), as far as requests and PKCS #12 files need it: values are written, and put together.

export type Bytes = Uint8Array<ArrayBuffer>;

export function bytes(...parts: (number | Uint8Array)[]): Bytes {
    const all = parts.map((part) => (typeof part === "number" ? Uint8Array.of(part) : part));
    const out = new Uint8Array(all.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of all) {
        out.set(part, at);
        at += part.length;
    }
    return out;
}

/** A value with its tag and length. */
export function der(tag: number, ...parts: Uint8Array[]): Bytes {
    const content = bytes(...parts);
    if (content.length < 0x80) return bytes(tag, content.length, content);
    const length: number[] = [];
    for (let rest = content.length; rest > 0; rest >>= 8) length.unshift(rest & 0xff);
    return bytes(tag, 0x80 | length.length, Uint8Array.from(length), content);
}

export const sequence = (...parts: Uint8Array[]) => der(0x30, ...parts);
export const set = (...parts: Uint8Array[]) => der(0x31, ...parts);
export const octets = (content: Uint8Array) => der(0x04, content);
export const NULL = der(0x05);

/** An unsigned number of big-endian bytes. */
export function integer(value: Uint8Array): Bytes {
    let start = 0;
    while (start < value.length - 1 && value[start] === 0) start += 1;
    const short = value.subarray(start);
    return der(0x02, (short[0] ?? 0) >= 0x80 ? bytes(0, short) : short);
}

/** A number below 2³². */
export function number(value: number): Bytes {
    return integer(Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value));
}

/** An object identifier, from its numbers with dots between them. */
export function oid(text: string): Bytes {
    const [first = 0, second = 0, ...rest] = text.split(".").map(Number);
    const out: number[] = [];
    for (const one of [first * 40 + second, ...rest]) {
        const groups = [one & 0x7f];
        for (let left = Math.floor(one / 128); left > 0; left = Math.floor(left / 128)) {
            groups.unshift((left & 0x7f) | 0x80);
        }
        out.push(...groups);
    }
    return der(0x06, Uint8Array.from(out));
}

export function pem(label: string, content: Uint8Array): string {
    let binary = "";
    for (const byte of content) binary += String.fromCharCode(byte);
    const lines = btoa(binary).match(/.{1,64}/g) ?? [];
    return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

export function fromBase64(text: string): Bytes {
    const binary = atob(text.replace(/\s/g, ""));
    const out = new Uint8Array(binary.length);
    for (let at = 0; at < binary.length; at += 1) out[at] = binary.charCodeAt(at);
    return out;
}

/** The first thing in a PEM. */
export function fromPem(text: string): Bytes {
    return fromBase64(/-----BEGIN [^-]+-----([^-]+)-----END/.exec(text)?.[1] ?? "");
}
