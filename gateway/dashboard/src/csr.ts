// A key pair and a certificate signing request (PKCS #10, RFC 2986), made by the browser's WebCrypto:
// the private key never leaves this page.

import { NULL, bytes, der, integer, oid, pem, sequence, set } from "./der";
import type { Bytes } from "./der";

/** Attribute types of names: 2.5.4.N. */
const NAMES = { country: 6, state: 8, location: 7, organization: 10, unit: 11, name: 3 } as const;

export type Subject = Partial<Record<keyof typeof NAMES, string>>;

function name(subject: Subject): Bytes {
    const parts = (Object.keys(NAMES) as (keyof typeof NAMES)[]).flatMap((part) => {
        const value = subject[part]?.trim();
        if (value === undefined || value === "") return [];
        // A country is a PrintableString (RFC 5280 appendix A.1), everything else UTF-8.
        const text = der(part === "country" ? 0x13 : 0x0c, new TextEncoder().encode(value));
        return [set(sequence(oid(`2.5.4.${NAMES[part]}`), text))];
    });
    return sequence(...parts);
}

/** The kinds of keys that a browser makes. */
export type KeyKind = "ecdsa" | "rsa";

interface Kind {
    /** What WebCrypto makes, and signs with. */
    make: EcKeyGenParams | RsaHashedKeyGenParams;
    sign: AlgorithmIdentifier | EcdsaParams;
    /** The signature's AlgorithmIdentifier. */
    algorithm: Bytes;
    /** A signature of WebCrypto's as a request has it. */
    signature: (raw: Bytes) => Bytes;
}

const KINDS: Record<KeyKind, Kind> = {
    ecdsa: {
        make: { name: "ECDSA", namedCurve: "P-256" },
        sign: { name: "ECDSA", hash: "SHA-256" },
        algorithm: sequence(oid("1.2.840.10045.4.3.2")),
        // WebCrypto gives r and s one behind the other; requests have them as two numbers.
        signature: (raw) => {
            const half = raw.length / 2;
            return sequence(integer(raw.subarray(0, half)), integer(raw.subarray(half)));
        },
    },
    rsa: {
        make: {
            name: "RSASSA-PKCS1-v1_5",
            modulusLength: 2048,
            publicExponent: Uint8Array.of(1, 0, 1),
            hash: "SHA-256",
        },
        sign: { name: "RSASSA-PKCS1-v1_5" },
        algorithm: sequence(oid("1.2.840.113549.1.1.11"), NULL),
        signature: (raw) => raw,
    },
};

export interface Made {
    csr: string;
    /** PKCS #8, in PEM and in DER. */
    privateKey: string;
    pkcs8: Bytes;
}

/** A new key with a request for a subject. */
export async function makeRequest(subject: Subject, kind: KeyKind): Promise<Made> {
    const { make, sign, algorithm, signature } = KINDS[kind];
    const made = await crypto.subtle.generateKey(make, true, ["sign", "verify"]);
    const pair = made as CryptoKeyPair;
    const spki = new Uint8Array(await crypto.subtle.exportKey("spki", pair.publicKey));
    const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey));
    const version = integer(Uint8Array.of(0));
    const attributes = der(0xa0);
    const info = sequence(version, name(subject), spki, attributes);
    const raw = new Uint8Array(await crypto.subtle.sign(sign, pair.privateKey, info));
    const request = sequence(info, algorithm, der(0x03, bytes(0, signature(raw))));
    return {
        csr: pem("CERTIFICATE REQUEST", request),
        privateKey: pem("PRIVATE KEY", pkcs8),
        pkcs8,
    };
}
