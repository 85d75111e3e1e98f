//! Why a connection is not used again, on either side.

vocabulary::words! {
    /// Why a connection is not used for another request.
    pub enum NotKept("a reason to close a connection", without serde) {
        /// The request's body is not over.
        Uploading = "uploading",
        /// The answer is not over.
        Answering = "answering",
        /// One side said `Connection: close`.
        Close = "close",
        /// HTTP/1.0 without `Connection: keep-alive`.
        OldVersion = "http10",
        /// The answer ended with the connection.
        UntilClose = "until_close",
        /// It speaks another protocol.
        Switched = "switched",
        /// The answer cannot have a body and says that it has one: nobody knows whether it comes.
        Promised = "promised",
        /// The answer has both a length and a coding.
        Ambiguous = "length_and_coding",
        /// Bytes came behind the answer, which nobody asked for.
        Surplus = "surplus",
        /// The request was refused: nobody knows where the next one would begin.
        Refused = "refused",
    }
}
