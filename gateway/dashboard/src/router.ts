// Where one is: the part of the address behind `#`, so that every page can be bookmarked and the
// server has only one. A link to sign in (`#sign-in=CODE`) is taken out of the address at once.

import { useEffect, useState } from "preact/hooks";

function current(): string {
    const [path] = address();
    return path.startsWith("/") ? path : "/";
}

/** The path in the address, and what is asked for behind its `?`. */
function address(): [string, string] {
    const hash = location.hash.slice(1);
    const at = hash.indexOf("?");
    return at < 0 ? [hash, ""] : [hash.slice(0, at), hash.slice(at + 1)];
}

/** Values that are in the address where they are not the usual ones: a link takes them along, and
 * reloading keeps them. */
export function useInAddress<T extends Record<string, string>>(
    usual: T,
): [T, (part: Partial<T>) => void] {
    const read = (): T => {
        const asked = new URLSearchParams(address()[1]);
        const names = Object.keys(usual).map((name) => [name, asked.get(name) ?? usual[name]]);
        return Object.fromEntries(names) as T;
    };
    const [values, set] = useState(read);
    useEffect(() => {
        const [here] = address();
        const moved = () => {
            if (address()[0] === here) set(read());
        };
        addEventListener("hashchange", moved);
        return () => removeEventListener("hashchange", moved);
    }, []);
    const change = (part: Partial<T>) => {
        const next = { ...values, ...part };
        const unusual = Object.entries(next).filter(([name, value]) => value !== usual[name]);
        const query = new URLSearchParams(unusual).toString();
        history.replaceState(null, "", `#${address()[0]}${query === "" ? "" : `?${query}`}`);
        set(next);
    };
    return [values, change];
}

/** The segments of the path, decoded. */
export function usePath(): string[] {
    const [path, set] = useState(current);
    useEffect(() => {
        const moved = () => set(current());
        addEventListener("hashchange", moved);
        return () => removeEventListener("hashchange", moved);
    }, []);
    return path.split("/").filter(Boolean).map(decoded);
}

function decoded(segment: string): string {
    try {
        return decodeURIComponent(segment);
    } catch {
        return segment;
    }
}

export function link(...segments: string[]): string {
    return `#/${segments.map(encodeURIComponent).join("/")}`;
}

export function go(...segments: string[]): void {
    location.hash = link(...segments).slice(1);
}

/** The code of a sign-in link, which is then gone from the address and the history. */
export function takeCode(): string | null {
    const code = /^#sign-in=([\w-]+)$/.exec(location.hash)?.[1] ?? null;
    if (code !== null) history.replaceState(null, "", "#/");
    return code;
}
