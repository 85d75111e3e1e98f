// Where one is: the part of the address behind `#`, so that every page can be bookmarked and the
// server has only one. A link to sign in (`#sign-in=CODE`) is taken out of the address at once.

import { useEffect, useState } from "preact/hooks";

function current(): string {
    const path = location.hash.slice(1);
    return path.startsWith("/") ? path : "/";
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
