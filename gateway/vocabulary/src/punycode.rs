//! The ASCII form of an internationalised host name (RFC 5891, RFC 3492): a hint for people who wrote
//! the other one. Names are never converted unasked: which characters are the same is a question of
//! tables (UTS #46) that this crate does not have.

/// The `xn--` form, when it can be told without such tables: letters are made small, and text with
/// combining marks of its own has none.
pub(crate) fn ascii_form(name: &str) -> Option<String> {
    let mut labels = Vec::new();
    for label in name.split(['.', '\u{3002}', '\u{ff0e}']) {
        let label = label.to_lowercase();
        if label.is_ascii() {
            labels.push(label);
            continue;
        }
        let is_plain = |one: char| one.is_alphanumeric() || one == '-';
        if !label.chars().all(is_plain) {
            return None;
        }
        labels.push(format!("xn--{}", encode(&label)?));
    }
    Some(labels.join("."))
}

const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;

/// RFC 3492 §6.3.
fn encode(label: &str) -> Option<String> {
    let basic: String = label.chars().filter(char::is_ascii).collect();
    let mut out = basic.clone();
    if !basic.is_empty() {
        out.push('-');
    }
    let start = u32::try_from(basic.len()).ok()?;
    let total = u32::try_from(label.chars().count()).ok()?;
    let (mut n, mut delta, mut bias, mut handled) = (0x80_u32, 0_u32, 72_u32, start);
    while handled < total {
        let next = label.chars().map(u32::from).filter(|one| *one >= n).min()?;
        delta = (next - n).checked_mul(handled + 1)?.checked_add(delta)?;
        n = next;
        for one in label.chars().map(u32::from) {
            if one < n {
                delta = delta.checked_add(1)?;
            }
            if one != n {
                continue;
            }
            let (mut q, mut k) = (delta, BASE);
            loop {
                let t = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
                if q < t {
                    break;
                }
                out.push(digit(t + (q - t) % (BASE - t))?);
                q = (q - t) / (BASE - t);
                k += BASE;
            }
            out.push(digit(q)?);
            bias = adapt(delta, handled + 1, handled == start);
            delta = 0;
            handled += 1;
        }
        delta = delta.checked_add(1)?;
        n = n.checked_add(1)?;
    }
    Some(out)
}

fn digit(value: u32) -> Option<char> {
    char::from_digit(value, BASE).and_then(|_| {
        let letters = "abcdefghijklmnopqrstuvwxyz0123456789";
        letters.chars().nth(usize::try_from(value).ok()?)
    })
}

/// RFC 3492 §6.1.
fn adapt(delta: u32, count: u32, is_first: bool) -> u32 {
    let mut delta = if is_first { delta / DAMP } else { delta / 2 };
    delta += delta / count;
    let mut k = 0;
    while delta > ((BASE - T_MIN) * T_MAX) / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_registries_write_them() {
        for (name, ascii) in [
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("BÜCHER.example", Some("xn--bcher-kva.example")),
            ("münchen.de", Some("xn--mnchen-3ya.de")),
            ("пример.испытание", Some("xn--e1afmkfd.xn--80akhbyknj4f")),
            ("例え.テスト", Some("xn--r8jz45g.xn--zckzah")),
            ("ليهمابتكلموشعربي؟", None),
            ("他们为什么不说中文", Some("xn--ihqwcrb4cv8a8dqg056pqjye")),
            ("u\u{308}.example", None),
            ("a b\u{fc}.example", None),
            ("plain.example", Some("plain.example")),
        ] {
            assert_eq!(ascii_form(name).as_deref(), ascii, "{name}");
        }
    }
}
