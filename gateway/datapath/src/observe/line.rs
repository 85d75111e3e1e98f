//! One line of the access log being written, with the fields that are asked for.
//!
//! Escaping is [`super::json`]'s, what a line says [`super::record`]'s.

use std::time::SystemTime;

use super::json::Object;
use config::{LogField, LogFields};

/// A line, or an object inside it.
pub(super) struct Line<'b> {
    /// For what is always there.
    pub(super) object: Object<'b>,
    fields: LogFields,
}

/// Writes a line with its end.
pub(super) fn write(
    out: &mut Vec<u8>,
    fields: LogFields,
    stands_for: u32,
    fill: impl FnOnce(&mut Line<'_>),
) {
    let mut line = Line {
        object: Object::open(out),
        fields,
    };
    fill(&mut line);
    if stands_for > 1 {
        line.object.number("stands_for", stands_for.into());
    }
    line.object.close();
    out.push(b'\n');
}

impl Line<'_> {
    pub(super) fn has(&self, field: LogField) -> bool {
        self.fields.has(field)
    }

    /// A text when there is one.
    pub(super) fn text(&mut self, field: LogField, key: &'static str, value: &str) {
        if self.has(field) {
            self.object.text_if(key, value);
        }
    }

    /// What a client said, which need not be text.
    pub(super) fn said(&mut self, field: LogField, key: &'static str, value: &[u8]) {
        if self.has(field) {
            self.object.text_if(key, &String::from_utf8_lossy(value));
        }
    }

    pub(super) fn number(&mut self, field: LogField, key: &'static str, value: u64) {
        if self.has(field) {
            self.object.number(key, value);
        }
    }

    pub(super) fn flag(&mut self, field: LogField, key: &'static str, value: bool) {
        if self.has(field) {
            self.object.flag(key, value);
        }
    }

    pub(super) fn time(&mut self, field: LogField, key: &'static str, value: SystemTime) {
        if self.has(field) {
            self.object.time(key, value);
        }
    }

    /// An object of the fields of a group, when one of them is asked for.
    pub(super) fn object(
        &mut self,
        key: &'static str,
        group: LogFields,
        fill: impl FnOnce(&mut Line<'_>),
    ) {
        if !self.fields.has_any(group) {
            return;
        }
        let mut inner = Line {
            fields: self.fields,
            object: self.object.object(key),
        };
        fill(&mut inner);
        inner.object.close();
    }
}
