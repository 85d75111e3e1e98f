// Settings: the keys of the configuration with their values in the running gateway. Live ones can be
// set until the next reload or start; no file is written.

import { useState } from "preact/hooks";
import type { Session } from "../api";
import { OWN, call, get, may } from "../api";
import { submitting, TextInput } from "../inputs";
import { Badge, Notice, Show, useLoaded, useTask, Value, Words } from "../ui";
import { Meanwhile, isLate } from "./meanwhile";

interface Setting {
    key: string;
    value: string;
    default: string;
    live: boolean;
    change: "live" | "reload" | "restart";
    kind: string;
    description: string;
}

const WHEN = {
    live: "can be set at once",
    reload: "needs a reload",
    restart: "taken at a reload, by a new process",
} as const;

export function Settings({ session }: { session: Session }) {
    const settings = useLoaded(() => get<Setting[]>(`${OWN}/sysctl`), []);
    const [text, setText] = useState("");
    const [said, say] = useState<string | null>(null);
    const wanted = text.trim().toLowerCase();
    return (
        <>
            <h1 tabIndex={-1}>Settings</h1>
            <p class="quiet">
                What is set here holds until the next reload or start. To keep it, write it into the
                configuration file as well.
            </p>
            {said !== null && <Notice kind="good">{said}</Notice>}
            <section class="card" aria-label="Settings">
                <TextInput label="Find in keys and their documentation" value={text} set={setText} />
                <Show of={settings} what="settings">
                    {(all) => {
                        const found = all.filter((one) =>
                            `${one.key} ${one.description}`.toLowerCase().includes(wanted),
                        );
                        return (
                            <ul class="log">
                                {found.map((one) => (
                                    <Key
                                        key={one.key}
                                        of={one}
                                        canSet={one.live && may(session, "all")}
                                        done={(now) => {
                                            say(`${one.key} is ${now} now.`);
                                            settings.reload();
                                        }}
                                    />
                                ))}
                                {found.length === 0 && <li class="quiet">No key is like that.</li>}
                            </ul>
                        );
                    }}
                </Show>
            </section>
        </>
    );
}

function Key(props: { of: Setting; canSet: boolean; done: (value: string) => void }) {
    const { of } = props;
    const [value, setValue] = useState<string | null>(null);
    const [seen, setSeen] = useState(of.value);
    const [theirs, setTheirs] = useState<string | null>(null);
    const task = useTask();
    const when = of.key === "store.path" ? "taken at a start" : WHEN[of.change];
    const path = `${OWN}/sysctl/${encodeURIComponent(of.key)}`;
    const set = () =>
        task.run(async () => {
            setTheirs(null);
            try {
                const { result } = await call<Setting>("PUT", path, { value, expected: seen });
                setValue(null);
                props.done(result.value);
            } catch (error) {
                if (!isLate(error)) throw error;
                setTheirs((await get<Setting>(path)).value);
            }
        });
    const begin = () => {
        setSeen(of.value);
        setValue(of.value);
    };
    const settle = (take: boolean) => {
        if (theirs === null) return;
        setSeen(theirs);
        if (take) setValue(theirs);
        setTheirs(null);
    };
    return (
        <li>
            <p>
                <code>{of.key}</code> ={" "}
                <strong>
                    <Value text={of.value === "" ? "(empty)" : of.value} code />
                </strong>{" "}
                {of.value !== of.default && <Badge kind="plain">not the default</Badge>}{" "}
                <span class="quiet">
                    <Words text={of.kind} />; {when}; default{" "}
                    {of.default === "" ? "(empty)" : of.default}
                </span>
            </p>
            <p>
                <Words text={of.description} />
            </p>
            {props.canSet && value === null && (
                <button type="button" aria-label={`Set ${of.key}`} onClick={begin}>
                    Set
                </button>
            )}
            {theirs !== null && (
                <Meanwhile
                    what={of.key}
                    of={[{ name: of.key, theirs, mine: value ?? "" }]}
                    take={() => settle(true)}
                    keep={() => settle(false)}
                />
            )}
            {value !== null && (
                <form class="filters" onSubmit={submitting(set)}>
                    <TextInput label={`New value of ${of.key}`} value={value} set={setValue} autofocus />
                    <button type="submit" class="primary" disabled={task.busy}>
                        Set
                    </button>
                    <button type="button" onClick={() => setValue(null)}>
                        Cancel
                    </button>
                </form>
            )}
            {task.error !== null && <Notice kind="error">{task.error}</Notice>}
        </li>
    );
}
