// What another person has changed since one has looked: shown part by part, with the two ways on.
// Nothing newer is overwritten before one has seen it.

import { ApiError } from "../api";
import { Notice, Value } from "../ui";

/** A part that differs: its name, what it is now, and what one was about to make of it. */
export interface Difference {
    name: string;
    theirs: string;
    mine: string;
}

/** Whether a change was refused because somebody else was faster. */
export function isLate(error: unknown): boolean {
    return error instanceof ApiError && error.status === 412;
}

/** The parts of which others have made something else than there was. */
export function differences(
    before: [string, string][],
    theirs: [string, string][],
    mine: [string, string][],
): Difference[] {
    const of = (all: [string, string][], name: string) =>
        all.find(([other]) => other === name)?.[1] ?? "";
    return theirs
        .filter(([name, text]) => text !== of(before, name))
        .map(([name, text]) => ({ name, theirs: text, mine: of(mine, name) }));
}

export function Meanwhile(props: {
    /** What was changed: a rule, a host. */
    what: string;
    of: Difference[];
    take: () => void;
    keep: () => void;
}) {
    return (
        <Notice kind="error">
            <strong>Another person has changed {props.what} meanwhile.</strong> Theirs is in force now.
            {props.of.length === 0 && <p>What is shown here is the same in theirs.</p>}
            <dl class="rows">
                {props.of.map(({ name, theirs, mine }) => (
                    <div>
                        <dt>{name}</dt>
                        <dd>
                            <ins>
                                theirs: <Value text={theirs} code />
                            </ins>
                            {mine !== theirs && (
                                <span>
                                    yours: <Value text={mine} code />
                                </span>
                            )}
                        </dd>
                    </div>
                ))}
            </dl>
            <div class="actions start">
                <button type="button" onClick={props.take}>
                    Take theirs
                </button>
                <button type="button" onClick={props.keep}>
                    Go on with mine
                </button>
            </div>
        </Notice>
    );
}
