// Text in PEM, as several forms take it.

import { FileInput, TextArea } from "../inputs";

/** Bytes of a file that are read; what the gateway takes is shorter. */
const FILE_BYTES_MAX = 1_000_000;

/** Text in PEM: pasted, or a file that is dropped on it or chosen. */
export function Pem(props: {
    label: string;
    hint: string;
    value: string;
    set: (text: string) => void;
    placeholder?: string;
    /** Ends of names of files that are offered. */
    accept?: string;
}) {
    return (
        <>
            <TextArea {...props} rows={8} dropped={FILE_BYTES_MAX} required />
            <FileInput
                label={`Or choose its file: ${props.label}`}
                accept={props.accept ?? ".pem,.crt,.cer,.key,.crl"}
                most={FILE_BYTES_MAX}
                set={props.set}
            />
        </>
    );
}
