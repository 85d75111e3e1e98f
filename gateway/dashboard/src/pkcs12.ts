// A PKCS #12 file (RFC 7292) of a key and its certificate, made by the browser's WebCrypto: for keys
// that never leave this page. Key and certificate are encrypted with AES-256 by PBES2 (RFC 8018).

import { NULL, bytes, der, number, octets, oid, sequence, set } from "./der";
import type { Bytes } from "./der";

const DATA = oid("1.2.840.113549.1.7.1");
const ENCRYPTED_DATA = oid("1.2.840.113549.1.7.6");
const SHROUDED_KEY_BAG = oid("1.2.840.113549.1.12.10.1.2");
const CERT_BAG = oid("1.2.840.113549.1.12.10.1.3");
const X509_CERTIFICATE = oid("1.2.840.113549.1.9.22.1");
const LOCAL_KEY_ID = oid("1.2.840.113549.1.9.21");
const FRIENDLY_NAME = oid("1.2.840.113549.1.9.20");
const PBES2 = oid("1.2.840.113549.1.5.13");
const PBKDF2 = oid("1.2.840.113549.1.5.12");
const HMAC_SHA256 = oid("1.2.840.113549.2.9");
const AES256_CBC = oid("2.16.840.1.101.3.4.1.42");
const SHA256 = oid("2.16.840.1.101.3.4.2.1");

/** How often a password is hashed: for the encryption, and for the MAC, which is no help to guess. */
const ROUNDS = 100_000;
const MAC_ROUNDS = 2_048;

const explicit = (content: Bytes) => der(0xa0, content);
const random = (count: number) => crypto.getRandomValues(new Uint8Array(count));

/** A text with two bytes for each UTF-16 unit. */
function wide(text: string): Bytes {
    const units = [...text].flatMap((c) => c.split(""));
    return Uint8Array.from(units.flatMap((c) => [c.charCodeAt(0) >> 8, c.charCodeAt(0) & 0xff]));
}

/** What is encrypted, with how. */
async function encrypted(
    password: string,
    content: Bytes,
): Promise<{ algorithm: Bytes; cipher: Bytes }> {
    const [salt, iv] = [random(16), random(16)];
    const text = new TextEncoder().encode(password);
    const base = await crypto.subtle.importKey("raw", text, "PBKDF2", false, ["deriveKey"]);
    const how = { name: "PBKDF2", salt, iterations: ROUNDS, hash: "SHA-256" };
    const aes = { name: "AES-CBC", length: 256 };
    const key = await crypto.subtle.deriveKey(how, base, aes, false, ["encrypt"]);
    const cipher = new Uint8Array(await crypto.subtle.encrypt({ name: "AES-CBC", iv }, key, content));
    const derived = sequence(octets(salt), number(ROUNDS), sequence(HMAC_SHA256, NULL));
    const algorithm = sequence(
        PBES2,
        sequence(sequence(PBKDF2, derived), sequence(AES256_CBC, octets(iv))),
    );
    return { algorithm, cipher };
}

/** The key of the MAC: RFC 7292 appendix B.2 with SHA-256, of which one block is enough. */
async function macKey(password: string, salt: Bytes): Promise<Bytes> {
    const BLOCK = 64;
    const filled = (text: Bytes) => {
        const size = Math.ceil(text.length / BLOCK) * BLOCK;
        return Uint8Array.from({ length: size }, (_, at) => text[at % text.length] ?? 0);
    };
    const purpose = new Uint8Array(BLOCK).fill(3);
    let digest = bytes(purpose, filled(salt), filled(wide(`${password}\0`)));
    for (let round = 0; round < MAC_ROUNDS; round += 1) {
        digest = new Uint8Array(await crypto.subtle.digest("SHA-256", digest));
    }
    return digest;
}

/** The file. `pkcs8` and `certificate` are DER; `name` is what devices show it as. */
export async function pkcs12(of: {
    pkcs8: Bytes;
    certificate: Bytes;
    name: string;
    password: string;
}): Promise<Bytes> {
    const id = new Uint8Array(await crypto.subtle.digest("SHA-1", of.certificate));
    const attributes = set(
        sequence(FRIENDLY_NAME, set(der(0x1e, wide(of.name)))),
        sequence(LOCAL_KEY_ID, set(octets(id))),
    );
    const key = await encrypted(of.password, of.pkcs8);
    const keyBag = sequence(
        SHROUDED_KEY_BAG,
        explicit(sequence(key.algorithm, octets(key.cipher))),
        attributes,
    );
    const certificate = sequence(X509_CERTIFICATE, explicit(octets(of.certificate)));
    const certBag = sequence(CERT_BAG, explicit(certificate), attributes);
    const certs = await encrypted(of.password, sequence(certBag));
    const safe = sequence(
        sequence(
            ENCRYPTED_DATA,
            explicit(
                sequence(number(0), sequence(DATA, certs.algorithm, der(0x80, certs.cipher))),
            ),
        ),
        sequence(DATA, explicit(octets(sequence(keyBag)))),
    );
    const salt = random(16);
    const hmac = { name: "HMAC", hash: "SHA-256" };
    const raw = await macKey(of.password, salt);
    const signing = await crypto.subtle.importKey("raw", raw, hmac, false, ["sign"]);
    const mac = new Uint8Array(await crypto.subtle.sign("HMAC", signing, safe));
    const digest = sequence(sequence(SHA256, NULL), octets(mac));
    return sequence(
        number(3),
        sequence(DATA, explicit(octets(safe))),
        sequence(digest, octets(salt), number(MAC_ROUNDS)),
    );
}
