// Create Certificate: the key is made in the browser, or by the gateway, or elsewhere (own CSR). What
// is made is shown once.

import { useState } from "preact/hooks";
import type { ClientCertificate, Zone } from "../api";
import { CLOUDFLARE, OWN, call } from "../api";
import type { KeyKind, Subject } from "../csr";
import { makeRequest } from "../csr";
import type { Bytes } from "../der";
import { fromBase64, fromPem } from "../der";
import { Choose, Radio, SubmitOrCancel, submitting, TextInput } from "../inputs";
import { pkcs12 } from "../pkcs12";
import { Copy, Dialog, Messages, Notice, save, useTask } from "../ui";
import { Pem } from "./pem";

type Way = "browser" | "gateway" | "csr";

const WAYS: [Way, string, string][] = [
    ["browser", "Make a key in this browser", "The private key never leaves it."],
    ["gateway", "Let the gateway make the key", "It is sent to this page once."],
    ["csr", "Use my own CSR", "The private key stays where it was made."],
];

const KEYS: [KeyKind, string][] = [
    ["ecdsa", "ECDSA, P-256"],
    ["rsa", "RSA, 2048 bits"],
];

/** Characters that the gateway takes in a password of a PKCS #12 file. */
const PASSWORD_MAX = 64;

/** Days that the form offers. */
const VALIDITY: [number, string][] = [
    [30, "30 days"],
    [90, "90 days"],
    [365, "1 year"],
    [1825, "5 years"],
    [3650, "10 years"],
];

interface Made {
    certificate: ClientCertificate;
    privateKey: string | null;
    pkcs12: Bytes | null;
    messages: string[];
}

export function CreateCertificate(props: { zone: Zone; close: () => void; created: () => void }) {
    const { zone } = props;
    const [way, setWay] = useState<Way>("browser");
    const [name, setName] = useState("");
    const [organization, setOrganization] = useState("");
    const [csr, setCsr] = useState("");
    const [password, setPassword] = useState("");
    const [keyKind, setKeyKind] = useState<KeyKind>("ecdsa");
    const [days, setDays] = useState(3650);
    const [made, setMade] = useState<Made | null>(null);
    const task = useTask();

    const issue = async (request: string) => {
        const path = `${CLOUDFLARE}/zones/${zone.id}/client_certificates`;
        const body = { csr: request, validity_days: days };
        return await call<ClientCertificate>("POST", path, body);
    };
    const create = () =>
        task.run(async () => {
            if (way === "browser") {
                const subject: Subject = { name, organization };
                const { csr: request, privateKey, pkcs8 } = await makeRequest(subject, keyKind);
                const { result, messages } = await issue(request);
                const certificate = fromPem(result.certificate);
                const file =
                    password === "" ? null : await pkcs12({ pkcs8, certificate, name, password });
                setMade({ certificate: result, privateKey, pkcs12: file, messages });
            } else if (way === "csr") {
                const { result, messages } = await issue(csr);
                setMade({ certificate: result, privateKey: null, pkcs12: null, messages });
            } else {
                const path = `${OWN}/zones/${zone.id}/client_certificates`;
                const { result, messages } = await call<ClientCertificate>("POST", path, {
                    common_name: name,
                    organization,
                    validity_days: days,
                    ...(password === "" ? {} : { pkcs12_password: password }),
                });
                setMade({
                    certificate: result,
                    privateKey: result.private_key ?? null,
                    pkcs12: result.pkcs12 === undefined ? null : fromBase64(result.pkcs12),
                    messages,
                });
            }
            props.created();
        });

    if (made !== null) return <Shown of={made} zone={zone} close={props.close} />;
    return (
        <Dialog title="Create Certificate" close={props.close} wide>
            <form onSubmit={submitting(create)}>
                <fieldset>
                    <legend>Private key</legend>
                    {WAYS.map(([value, title, hint]) => (
                        <Radio
                            name="way"
                            title={title}
                            hint={hint}
                            checked={way === value}
                            choose={() => setWay(value)}
                        />
                    ))}
                </fieldset>
                {way === "csr" ? (
                    <Pem
                        label="Certificate signing request (CSR)"
                        hint="In PEM. Paste it, or drop the file here. Its subject becomes the certificate's."
                        placeholder="-----BEGIN CERTIFICATE REQUEST-----"
                        accept=".csr,.pem,.req"
                        value={csr}
                        set={setCsr}
                    />
                ) : (
                    <>
                        <TextInput
                            label="Name of the client"
                            hint="The certificate's common name: a device, a service, a partner."
                            value={name}
                            set={setName}
                            max={64}
                            required
                        />
                        <TextInput
                            label="Organization (optional)"
                            value={organization}
                            set={setOrganization}
                            max={64}
                        />
                    </>
                )}
                {way === "browser" && (
                    <Choose
                        label="Private key type"
                        value={keyKind}
                        set={(kind) => setKeyKind(kind === "rsa" ? "rsa" : "ecdsa")}
                        of={KEYS}
                    />
                )}
                {way !== "csr" && (
                    <TextInput
                        label="Password for a PKCS#12 file (optional)"
                        hint="With it, a file that iOS, Android and Java take is made as well."
                        type="password"
                        value={password}
                        set={setPassword}
                        max={PASSWORD_MAX}
                    />
                )}
                <Choose
                    label="Certificate Validity"
                    value={String(days)}
                    set={(chosen) => setDays(Number(chosen))}
                    of={VALIDITY.map(([count, title]) => [String(count), title])}
                />
                {task.error !== null && <Notice kind="error">{task.error}</Notice>}
                <SubmitOrCancel cancel={props.close} disabled={task.busy}>
                    {task.busy ? "Creating…" : "Create"}
                </SubmitOrCancel>
            </form>
        </Dialog>
    );
}

function Shown({ of, zone, close }: { of: Made; zone: Zone; close: () => void }) {
    const [sure, setSure] = useState(of.privateKey === null);
    const [asked, setAsked] = useState(false);
    const leave = () => {
        if (sure || asked) close();
        else setAsked(true);
    };
    const keep = () => setSure(true);
    const { certificate, privateKey, pkcs12 } = of;
    return (
        <Dialog title="The certificate was created" close={leave} wide>
            <Messages of={of.messages} />
            {privateKey !== null && (
                <Notice kind="warning">
                    The private key is shown <strong>this once</strong>. The gateway does not keep
                    it: save it now.
                </Notice>
            )}
            <h3>Certificate</h3>
            <pre class="pem" tabIndex={0} aria-label="Certificate">
                {certificate.certificate}
            </pre>
            <div class="actions start">
                <Copy text={certificate.certificate} what="the certificate" />
                <button type="button" onClick={() => save("client.pem", certificate.certificate)}>
                    Download client.pem
                </button>
            </div>
            {privateKey !== null && (
                <>
                    <h3>Private key</h3>
                    <pre class="pem" tabIndex={0} aria-label="Private key">
                        {privateKey}
                    </pre>
                    <div class="actions start" onClick={keep}>
                        <Copy text={privateKey} what="the key" />
                        <button type="button" onClick={() => save("client.key", privateKey)}>
                            Download client.key
                        </button>
                        {pkcs12 !== null && (
                            <button
                                type="button"
                                onClick={() =>
                                    save("client.p12", pkcs12, "application/x-pkcs12")
                                }
                            >
                                Download client.p12
                            </button>
                        )}
                    </div>
                </>
            )}
            <HowTo zone={zone} />
            {asked && !sure && (
                <Notice kind="error">
                    The key was not saved. Closing again loses it for good; the certificate would be
                    of no use then.
                </Notice>
            )}
            <div class="actions">
                <button type="button" class="primary" onClick={leave}>
                    Done
                </button>
            </div>
        </Dialog>
    );
}

function HowTo({ zone }: { zone: Zone }) {
    const host = `api.${zone.name}`;
    const uses: [string, string][] = [
        ["curl", `curl --cert client.pem --key client.key https://${host}/`],
        [
            "Python",
            `import requests\n\nrequests.get("https://${host}/", cert=("client.pem", "client.key"))`,
        ],
        [
            "iOS",
            `# A .p12 file: made here with a password, or of the two files.\nopenssl pkcs12 -export -in client.pem -inkey client.key -out client.p12\n# Send it to the device and install it as a profile, or load it in the app:\nSecPKCS12Import(data as CFData, [kSecImportExportPassphrase: password] as CFDictionary, &items)`,
        ],
        [
            "Android",
            `// Send client.p12 to the device, or offer to install it:\nval install = KeyChain.createInstallIntent()\ninstall.putExtra(KeyChain.EXTRA_PKCS12, bytes)\nstartActivity(install)\n// Or in one app alone: as in Java, with the SSLContext for HttpsURLConnection or OkHttp.`,
        ],
        [
            "Java",
            `KeyStore store = KeyStore.getInstance("PKCS12");\nstore.load(new FileInputStream("client.p12"), password);\nKeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");\nkeys.init(store, password);\nSSLContext context = SSLContext.getInstance("TLS");\ncontext.init(keys.getKeyManagers(), null, null);\nHttpClient client = HttpClient.newBuilder().sslContext(context).build();\nclient.send(HttpRequest.newBuilder(URI.create("https://${host}/")).build(), BodyHandlers.ofString());`,
        ],
    ];
    return (
        <>
            <h3>How to use it</h3>
            {uses.map(([name, text], place) => (
                <details open={place === 0}>
                    <summary>{name}</summary>
                    <pre class="code" tabIndex={0} aria-label={`With ${name}`}>
                        {text}
                    </pre>
                </details>
            ))}
        </>
    );
}
