//! `ne` of what may be missing: only where that makes a rule fail open, and corrected so that it
//! does not.

use super::*;
use crate::Program;
use crate::tests::{Certificate, World};

/// What is suggested; `None` when nothing is said.
fn said(rule: Rule) -> Option<Option<String>> {
    let found = lint(&[rule], &[], true);
    let mut of_kind = found
        .into_iter()
        .filter(|lint| lint.kind == LintKind::NotEqualOfMissing);
    of_kind.next().map(|lint| lint.suggestion)
}

#[test]
fn where_missing_values_open() {
    let header = "http.request.headers[\"x\"]";
    for (blocks, expression, expected) in [
        (
            true,
            format!("{header}[0] ne \"a\""),
            Some(format!("not {header}[0] eq \"a\"")),
        ),
        (
            true,
            format!("ssl and any({header}[*] ne \"a\")"),
            Some(format!("ssl and not all({header}[*] eq \"a\")")),
        ),
        (
            true,
            format!("all({header}[*] ne \"a\")"),
            Some(format!("not any({header}[*] eq \"a\")")),
        ),
        (
            true,
            format!("any({header}[*] ne \"a\" and {header}[*] ne \"b\")"),
            Some(format!(
                "not all({header}[*] eq \"a\" or {header}[*] eq \"b\")"
            )),
        ),
        (
            true,
            format!("any({header}[*] ne \"a\" or not {header}[*] contains \"b\")"),
            Some(format!(
                "not all({header}[*] eq \"a\" and {header}[*] contains \"b\")"
            )),
        ),
        (
            true,
            format!("not not {header}[0] ne \"a\""),
            Some(format!("not {header}[0] eq \"a\"")),
        ),
        (
            true,
            "ip.src.country ne \"DE\"".into(),
            Some("not ip.src.country eq \"DE\"".into()),
        ),
        (
            true,
            "ip.geoip.asnum ne 1".into(),
            Some("not ip.geoip.asnum eq 1".into()),
        ),
        (
            true,
            "lookup_json_string(http.cookie, \"a\") ne \"b\"".into(),
            Some("not lookup_json_string(http.cookie, \"a\") eq \"b\"".into()),
        ),
        // Blocked when it is missing, and so it should stay.
        (true, format!("not {header}[0] ne \"secret\""), None),
        (
            true,
            format!("not (ssl and {header}[0] ne \"secret\")"),
            None,
        ),
        (true, format!("not any({header}[*] ne \"a\")"), None),
        (true, format!("any({header}[*] contains \"a\")"), None),
        (
            true,
            format!("any({header}[*] ne \"a\" and {header}[*] contains \"b\")"),
            None,
        ),
        // Always there.
        (true, "ip.src.subdivision_1_iso_code ne \"BE\"".into(), None),
        (true, "http.user_agent ne \"a\"".into(), None),
        // What is missing is not let around the others.
        (false, format!("{header}[0] ne \"public\""), None),
        (
            false,
            format!("not {header}[0] ne \"public\""),
            Some(format!("{header}[0] eq \"public\"")),
        ),
        (
            false,
            format!("not (ssl and any({header}[*] ne \"a\"))"),
            Some(format!("not (ssl and not all({header}[*] eq \"a\"))")),
        ),
    ] {
        let rule = if blocks {
            block("r", &expression)
        } else {
            skip("r", &expression)
        };
        let found = said(rule.clone());
        assert_eq!(found, expected.clone().map(Some), "{expression}");
        let Some(better) = expected else { continue };
        // Corrected, it is closed to who sends nothing, and there is nothing left to say.
        let better = Rule {
            expression: better.as_str().into(),
            ..rule
        };
        assert_eq!(said(better.clone()), None, "{expression}");
        let world = World::new(Certificate::None, "a.example", "/");
        let program = Program::compile(&[better, block("last", "true")]).unwrap();
        let by = if blocks { "r" } else { "last" };
        assert_eq!(
            world.decide(&program).0.as_deref(),
            Some(by),
            "{expression}"
        );
    }
    // It may do either, and there is no correction.
    assert_eq!(
        said(block("r", &format!("ssl xor {header}[0] ne \"a\""))),
        Some(None)
    );
    assert_eq!(
        said(rule("r", &format!("{header}[0] ne \"a\""), Action::Log)),
        None
    );
}
