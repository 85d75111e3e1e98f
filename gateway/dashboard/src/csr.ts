// A key pair and a certificate signing request (PKCS #10, RFC 2986), made by the browser's WebCrypto:
// the private key never leaves this page. The DER is written by hand, since it is a few lines.

const bytes = (...parts: (number | Uint8Array)[]): Uint8Array => {
    const all = parts.map((part) => (typeof part === "number" ? Uint8Array.of(part) : part));
    const out = new Uint8Array(all.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of all) {
        out.set(part, at);
        at += part.length;
    }
    return out;
};

function der(tag: number, ...parts: Uint8Array[]): Uint8Array {
    const content = bytes(...parts);
    if (content.length < 0x80) return bytes(tag, content.length, content);
    const length: number[] = [];
    for (let rest = content.length; rest > 0; rest >>= 8) length.unshift(rest & 0xff);
    return bytes(tag, 0x80 | length.length, Uint8Array.from(length), content);
}

const sequence = (...parts: Uint8Array[]) => der(0x30, ...parts);

/** An unsigned number of big-endian bytes. */
function integer(value: Uint8Array): Uint8Array {
    let start = 0;
    while (start < value.length - 1 && value[start] === 0) start += 1;
    const short = value.subarray(start);
    return der(0x02, (short[0] ?? 0) >= 0x80 ? bytes(0, short) : short);
}

/** Attribute types of names: 2.5.4.N. */
const NAMES = { country: 6, state: 8, location: 7, organization: 10, unit: 11, name: 3 } as const;

export type Subject = Partial<Record<keyof typeof NAMES, string>>;

function name(subject: Subject): Uint8Array {
    const parts = (Object.keys(NAMES) as (keyof typeof NAMES)[]).flatMap((part) => {
        const value = subject[part]?.trim();
        if (value === undefined || value === "") return [];
        const type = der(0x06, Uint8Array.of(0x55, 0x04, NAMES[part]));
        // A country is a PrintableString (RFC 5280 appendix A.1), everything else UTF-8.
        const text = der(part === "country" ? 0x13 : 0x0c, new TextEncoder().encode(value));
        return [der(0x31, sequence(type, text))];
    });
    return sequence(...parts);
}

/** ecdsa-with-SHA256, 1.2.840.10045.4.3.2. */
const ECDSA_SHA256 = sequence(
    der(0x06, Uint8Array.of(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02)),
);

export function pem(label: string, content: Uint8Array): string {
    let binary = "";
    for (const byte of content) binary += String.fromCharCode(byte);
    const lines = btoa(binary).match(/.{1,64}/g) ?? [];
    return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

export interface Made {
    csr: string;
    privateKey: string;
}

/** A new P-256 key with a request for a subject. */
export async function makeRequest(subject: Subject): Promise<Made> {
    const algorithm = { name: "ECDSA", namedCurve: "P-256" };
    const pair = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const spki = new Uint8Array(await crypto.subtle.exportKey("spki", pair.publicKey));
    const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey));
    const version = integer(Uint8Array.of(0));
    const attributes = der(0xa0);
    const info = sequence(version, name(subject), spki, attributes);
    const hash = { name: "ECDSA", hash: "SHA-256" };
    const raw = new Uint8Array(
        await crypto.subtle.sign(hash, pair.privateKey, info as BufferSource),
    );
    // WebCrypto gives r and s one behind the other; requests have them as two numbers.
    const half = raw.length / 2;
    const signature = sequence(integer(raw.subarray(0, half)), integer(raw.subarray(half)));
    const request = sequence(info, ECDSA_SHA256, der(0x03, bytes(0, signature)));
    return {
        csr: pem("CERTIFICATE REQUEST", request),
        privateKey: pem("PRIVATE KEY", pkcs8),
    };
}
