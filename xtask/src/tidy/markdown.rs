//! What a Markdown document links to, names in backquotes, and can be linked to by.
//!
//! Knows as much of Markdown as our documents use: fences, code spans, inline and reference links,
//! images, HTML's `src`, `href`, `id` and `name`, headings that begin with `#`. Not its nesting.

use std::collections::{BTreeSet, HashMap};

/// A document's outward side. Lines count from 1.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// What may stand behind `#` in a link to it.
    pub(super) anchors: BTreeSet<String>,
    /// Targets of links and images.
    pub(super) links: Vec<(usize, String)>,
    /// What stands in backquotes, fenced blocks left out.
    pub(super) codes: Vec<(usize, String)>,
}

impl Document {
    pub(super) fn read(text: &str) -> Self {
        let mut document = Self::default();
        let mut visible = visible(text);
        let headings = visible.lines().filter_map(heading);
        document.anchors = anchors(headings);

        let codes = take_codes(&mut visible);
        let line_of = |place: usize| {
            let before = visible.get(..place).unwrap_or_default();
            before.matches('\n').count() + 1
        };
        for (place, code) in codes {
            document.codes.push((line_of(place), code));
        }
        for (place, _) in visible.match_indices("](") {
            if let Some(target) = visible.get(place + 2..).and_then(destination) {
                document.links.push((line_of(place), target.to_owned()));
            }
        }
        for attribute in [" src=\"", " href=\"", " id=\"", " name=\""] {
            for (place, _) in visible.match_indices(attribute) {
                let rest = visible.get(place + attribute.len()..).unwrap_or_default();
                let value = rest.split('"').next().unwrap_or_default().to_owned();
                if attribute.contains("id") || attribute.contains("name") {
                    document.anchors.insert(value);
                } else {
                    document.links.push((line_of(place), value));
                }
            }
        }
        for (index, line) in visible.lines().enumerate() {
            if let Some(target) = reference(line) {
                document.links.push((index + 1, target.to_owned()));
            }
        }
        document.links.sort();
        document
    }
}

/// The text without fenced blocks and comments, in lines of the same numbers.
fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    let mut fence: Option<&str> = None;
    let mut comment = false;
    for line in text.lines() {
        let trimmed = line.trim_start();
        match fence {
            Some(open) => {
                // The closing fence is at least as long, and nothing follows it.
                let end = trimmed.trim_end();
                let mark = open.chars().next();
                if end.starts_with(open) && end.chars().all(|c| Some(c) == mark) {
                    fence = None;
                }
            }
            None if comment => comment = !line.contains("-->"),
            None if trimmed.starts_with("<!--") => comment = !line.contains("-->"),
            None => match opens(trimmed) {
                Some(open) => fence = Some(open),
                None => visible.push_str(line),
            },
        }
        visible.push('\n');
    }
    visible
}

/// The fence with which a line opens a block.
fn opens(line: &str) -> Option<&str> {
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = line.chars().take_while(|c| *c == mark).count();
    let (fence, info) = line.split_at_checked(length)?;
    (length >= 3 && !info.contains('`')).then_some(fence)
}

fn heading(line: &str) -> Option<&str> {
    let level = line.chars().take_while(|c| *c == '#').count();
    let text = line.get(level..)?.strip_prefix(' ')?;
    (1..=6)
        .contains(&level)
        .then(|| text.trim().trim_end_matches('#').trim_end())
}

/// What GitHub and mdBook name the headings in links. A name that was there before gets a number.
fn anchors<'a>(headings: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    headings
        .map(|heading| {
            let name = anchor(heading);
            let count = seen.entry(name.clone()).or_default();
            *count += 1;
            match *count {
                1 => name,
                count => format!("{name}-{}", count - 1),
            }
        })
        .collect()
}

fn anchor(heading: &str) -> String {
    let mut text = heading.to_owned();
    // Of a link in a heading only the text counts.
    while let Some(start) = text.find("](")
        && let Some(length) = text.get(start..).and_then(|rest| rest.find(')'))
    {
        text.replace_range(start..=start + length, "");
    }
    let kept = text.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ => c.is_alphanumeric().then_some(c),
    });
    kept.flat_map(char::to_lowercase).collect()
}

/// Takes the code spans out and leaves blanks, so that what they say is not read as Markdown.
fn take_codes(text: &mut String) -> Vec<(usize, String)> {
    let mut codes = Vec::new();
    let mut place = 0;
    while let Some(found) = text.get(place..).and_then(|rest| rest.find('`')) {
        let start = place + found;
        let run = backquotes(text, start);
        place = start + run;
        let escaped = text
            .get(..start)
            .is_some_and(|before| before.ends_with('\\'));
        if escaped {
            continue;
        }
        let Some(end) = closing(text, place, run) else {
            continue;
        };
        let code = text.get(place..end).unwrap_or_default();
        codes.push((start, code.replace('\n', " ").trim().to_owned()));
        let blank: String = code
            .bytes()
            .map(|byte| if byte == b'\n' { '\n' } else { ' ' })
            .collect();
        text.replace_range(place..end, &blank);
        place = end + run;
    }
    codes
}

/// Where the run of backquotes lies that closes a span. No span reaches over an empty line.
fn closing(text: &str, from: usize, run: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    let paragraph = rest.split("\n\n").next().unwrap_or_default().len();
    let mut place = from;
    while let Some(found) = text.get(place..).and_then(|rest| rest.find('`')) {
        let start = place + found;
        if start >= from + paragraph {
            return None;
        }
        let length = backquotes(text, start);
        if length == run {
            return Some(start);
        }
        place = start + length;
    }
    None
}

fn backquotes(text: &str, from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    rest.bytes().take_while(|byte| *byte == b'`').count()
}

/// The target behind `](`, without its title.
fn destination(rest: &str) -> Option<&str> {
    let rest = rest.trim_start();
    if let Some(angled) = rest.strip_prefix('<') {
        return angled.split(['>', '\n']).next();
    }
    let mut depth = 0_usize;
    let end = rest.find(|c: char| {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return true,
            ')' => depth -= 1,
            _ => {}
        }
        c.is_whitespace()
    });
    rest.get(..end?)
}

/// The target of a line `[label]: target`. `[^1]: text` is a footnote.
fn reference(line: &str) -> Option<&str> {
    let (label, target) = line.trim_start().strip_prefix('[')?.split_once("]:")?;
    let plain = !label.starts_with('^') && !label.contains(['[', ']']);
    let target = target.split_whitespace().next()?;
    plain.then(|| target.trim_matches(['<', '>']))
}

#[cfg(test)]
mod tests {
    use super::Document;

    #[test]
    fn links_are_found_and_what_only_looks_like_one_is_not() {
        for (text, expected) in [
            (
                "[a](b.md) and [c](d.md#e \"title\")",
                &["b.md", "d.md#e"][..],
            ),
            ("![picture](x.svg)", &["x.svg"]),
            ("[![badge](x.svg)](y.md)", &["x.svg", "y.md"]),
            ("[a](<b c.md>)", &["b c.md"]),
            ("[a](b_(c).md)", &["b_(c).md"]),
            ("[a]\n\n[a]: b.md\n[^1]: no link", &["b.md"]),
            ("<p><img alt=\"\" src=\"x.svg\"></p>", &["x.svg"]),
            ("`[a](b.md)` and ``x ` [a](b.md)``", &[]),
            ("```sh\n[a](b.md)\n```\n~~~\n```\n[a](b.md)\n~~~\n", &[]),
            ("<!-- [a](b.md)\n[c](d.md) -->\n[e](f.md)", &["f.md"]),
            ("a lone ` here\n\n[a](b.md) and another `", &["b.md"]),
            ("\\`[a](b.md)\\`", &["b.md"]),
        ] {
            let document = Document::read(text);
            let links: Vec<&str> = document.links.iter().map(|(_, link)| &**link).collect();
            assert_eq!(links, expected, "{text}");
        }
    }

    #[test]
    fn headings_are_linked_to_as_on_github() {
        let text = "# Postern: how *fast*?\n## The `rules`\n## Twice\n### Twice ###\n\
                    ## A [link](x.md) & more\n#no heading\n```\n# neither\n```\n\
                    <a id=\"own\"></a>\n## Größe_x\n";
        let document = Document::read(text);
        let anchors: Vec<&str> = document.anchors.iter().map(String::as_str).collect();
        assert_eq!(
            anchors,
            [
                "a-link--more",
                "größe_x",
                "own",
                "postern-how-fast",
                "the-rules",
                "twice",
                "twice-1"
            ]
        );
    }

    #[test]
    fn code_spans_are_found_with_their_lines() {
        let document = Document::read("`a`\nx `b\nc` ``d`e``\n```\n`f`\n```\n`g`");
        let codes: Vec<(usize, &str)> = document
            .codes
            .iter()
            .map(|(line, code)| (*line, &**code))
            .collect();
        assert_eq!(codes, [(1, "a"), (2, "b c"), (3, "d`e"), (7, "g")]);
    }

    #[test]
    fn every_beginning_of_a_document_can_be_read() {
        let text = "# Ä `b` [c](<d>) ![e](f(g)) ``h`\n```x\n<!-- y -->\n[a]: b\n <a id=\"ö\">`";
        for (end, _) in text.char_indices() {
            drop(Document::read(&text[..end]));
        }
    }
}
