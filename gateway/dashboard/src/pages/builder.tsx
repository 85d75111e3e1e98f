// The Expression Builder: groups joined by Or, of rows joined by And.

import type { Form, FormRow } from "../api";
import { aboutField } from "../fields";
import { Chips, Choose, TextInput } from "../inputs";
import type { List, Vocabulary } from "../rules";
import { example, proposals } from "../values";

/** Operators by the type of the field, with what people call them. */
const OPERATORS: Record<string, string> = {
    is_true: "is true",
    eq: "equals",
    ne: "does not equal",
    lt: "is less than",
    le: "is at most",
    gt: "is greater than",
    ge: "is at least",
    contains: "contains",
    matches: "matches regex",
    wildcard: "wildcard",
    strict_wildcard: "strict wildcard",
    starts_with: "starts with",
    ends_with: "ends with",
    in: "is in",
    in_list: "is in list",
};

const OF_TEXT = [
    "eq", "ne", "contains", "matches", "wildcard", "strict_wildcard", "starts_with", "ends_with",
    "in", "in_list",
];
const MAP = "Map<Array<String>>";
const OF_TYPE: Record<string, string[]> = {
    Boolean: ["is_true"],
    Integer: ["eq", "ne", "lt", "le", "gt", "ge", "in", "in_list"],
    "IP address": ["eq", "ne", "in", "in_list"],
    String: OF_TEXT,
    [MAP]: ["eq", "ne", "contains", "matches", "wildcard", "strict_wildcard", "in"],
};

/** The kind of the lists that values of a field of this type may be in. */
function listKind(type: string): List["kind"] {
    if (type === "IP address") return "ip";
    return type === "Integer" ? "asn" : "hostname";
}

function operators(type: string): string[] {
    return OF_TYPE[type] ?? [];
}

/** A row for a field, keeping what still fits. */
function fitted(row: FormRow, type: string): FormRow {
    const possible = operators(type);
    const operator = possible.includes(row.operator) ? row.operator : (possible[0] ?? "eq");
    const { key: _, ...rest } = row;
    const keyed = type === MAP ? { key: row.key ?? "" } : {};
    return { ...rest, ...keyed, operator, values: operator === "is_true" ? [] : (row.values ?? []) };
}

export const FIRST_ROW: FormRow = {
    field: "cf.tls_client_auth.cert_verified",
    operator: "is_true",
    negated: true,
    values: [],
};

export function Builder(props: {
    form: Form;
    set: (form: Form) => void;
    vocabulary: Vocabulary;
    hosts: string[];
    lists: List[];
}) {
    const { form, set } = props;
    const replace = (group: number, rows: FormRow[]) => {
        const groups = form.groups.map((one, place) => (place === group ? { rows } : one));
        set({ groups: groups.filter((one) => one.rows.length > 0) });
    };
    return (
        <div class="builder">
            {form.groups.map((group, place) => (
                <>
                    {place > 0 && <p class="join">Or</p>}
                    <fieldset class="inset">
                        <legend>{form.groups.length > 1 ? `Alternative ${place + 1}` : "All of"}</legend>
                        {group.rows.map((row, at) => (
                            <>
                                {at > 0 && <p class="join">And</p>}
                                <Row
                                    name={`Row ${at + 1} of ${place + 1}`}
                                    row={row}
                                    vocabulary={props.vocabulary}
                                    hosts={props.hosts}
                                    lists={props.lists}
                                    set={(next) =>
                                        replace(
                                            place,
                                            group.rows.map((one, n) => (n === at ? next : one)),
                                        )
                                    }
                                    remove={
                                        form.groups.length === 1 && group.rows.length === 1
                                            ? null
                                            : () =>
                                                  replace(
                                                      place,
                                                      group.rows.filter((_, n) => n !== at),
                                                  )
                                    }
                                />
                            </>
                        ))}
                        <button
                            type="button"
                            onClick={() => replace(place, [...group.rows, FIRST_ROW])}
                        >
                            And
                        </button>
                    </fieldset>
                </>
            ))}
            <button
                type="button"
                onClick={() => set({ groups: [...form.groups, { rows: [FIRST_ROW] }] })}
            >
                Or
            </button>
        </div>
    );
}

function Row(props: {
    name: string;
    row: FormRow;
    vocabulary: Vocabulary;
    hosts: string[];
    lists: List[];
    set: (row: FormRow) => void;
    remove: (() => void) | null;
}) {
    const { row, set, name } = props;
    const type = (field: string) =>
        props.vocabulary.fields.find((one) => one.name === field)?.type ?? "String";
    const now = type(row.field);
    const values = row.values ?? [];
    const known = proposals(row.field, props.hosts);
    const placeholder = example(row.field, row.operator) ?? "";
    const one = (value: string) => set({ ...row, values: [value] });
    return (
        <div class="builder-row" role="group" aria-label={name}>
            <label>
                Field
                <select
                    value={row.field}
                    onChange={(event) => {
                        const field = event.currentTarget.value;
                        set(fitted({ ...row, field, values: [] }, type(field)));
                    }}
                >
                    {props.vocabulary.fields
                        .filter((one) => operators(one.type).length > 0)
                        .map((one) => (
                            <option value={one.name}>{one.name}</option>
                        ))}
                </select>
            </label>
            {now === MAP && (
                <label>
                    Key
                    <input
                        value={row.key ?? ""}
                        spellcheck={false}
                        onInput={(event) => set({ ...row, key: event.currentTarget.value })}
                    />
                </label>
            )}
            <label>
                Operator
                <select
                    value={`${row.negated === true ? "not " : ""}${row.operator}`}
                    onChange={(event) => {
                        const chosen = event.currentTarget.value;
                        const negated = chosen.startsWith("not ");
                        const operator = negated ? chosen.slice(4) : chosen;
                        const kept = operator === "in" ? values : values.slice(0, 1);
                        set({ ...row, operator, negated, values: operator === "is_true" ? [] : kept });
                    }}
                >
                    {operators(now).map((one) => (
                        <>
                            <option value={one}>{OPERATORS[one]}</option>
                            <option value={`not ${one}`}>not: {OPERATORS[one]}</option>
                        </>
                    ))}
                </select>
            </label>
            {row.operator === "in" && (
                <Chips
                    label="Values"
                    hint="Enter one and press Enter."
                    values={values}
                    set={(next) => set({ ...row, values: next })}
                    known={known}
                    placeholder={placeholder}
                />
            )}
            {row.operator === "in_list" && (
                <ChooseList
                    value={values[0] ?? ""}
                    set={one}
                    lists={props.lists.filter((list) => list.kind === listKind(now))}
                />
            )}
            {!["is_true", "in", "in_list"].includes(row.operator) && (
                <TextInput
                    label="Value"
                    value={values[0] ?? ""}
                    set={one}
                    known={known}
                    placeholder={placeholder}
                />
            )}
            <p class="hint about">{aboutField(row.field)}</p>
            {props.remove !== null && (
                <button type="button" class="icon" aria-label={`Remove ${name}`} onClick={props.remove}>
                    <span aria-hidden="true">✕</span>
                </button>
            )}
        </div>
    );
}

/** A list by its name. One that is not there any more stays until another is chosen. */
function ChooseList(props: { value: string; set: (name: string) => void; lists: List[] }) {
    const { value, lists } = props;
    const isThere = value === "" || lists.some((list) => list.name === value);
    return (
        <Choose
            label="List"
            {...(lists.length === 0
                ? { hint: "There is no list of this kind yet: `postern list create` makes one." }
                : {})}
            value={value}
            set={props.set}
            of={[
                ["", "Choose a list"],
                ...(isThere ? [] : [[value, `${value} (gone)`] as const]),
                ...lists.map(({ name }) => [name, name] as const),
            ]}
        />
    );
}
