//! Numbers for people, in few columns.

/// A rate in six columns at most.
pub(super) fn rate(value: f64) -> String {
    match value {
        value if value < 0.005 => "0".into(),
        value if value < 9.95 => format!("{value:.1}").replace("0.0", "<0.1"),
        value if value < 9_999.5 => format!("{value:.0}"),
        value if value < 999_500.0 => format!("{:.0}k", value / 1e3),
        value if value < 999.5e6 => format!("{:.1}M", value / 1e6),
        value => format!("{:.1}G", value / 1e9),
    }
}

pub(super) fn whole(count: u64) -> String {
    match count {
        0..=99_999 => count.to_string(),
        100_000..=99_999_999 => format!("{}k", count / 1_000),
        _ => format!("{}M", count / 1_000_000),
    }
}

pub(super) fn seconds(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value < 1e-6 => format!("{:.0}ns", value * 1e9),
        Some(value) if value < 999.5e-6 => format!("{:.0}us", value * 1e6),
        Some(value) if value < 9.95e-3 => format!("{:.1}ms", value * 1e3),
        Some(value) if value < 999.5e-3 => format!("{:.0}ms", value * 1e3),
        Some(value) => format!("{value:.1}s"),
    }
}

/// `3d 4h`, the two parts that matter.
pub(super) fn uptime(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let seconds = whole.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, shown) in [
            (0.0, "0"),
            (0.01, "<0.1"),
            (0.5, "0.5"),
            (9.96, "10"),
            (1_234.0, "1234"),
            (12_345.0, "12k"),
            (1.5e6, "1.5M"),
            (3e9, "3.0G"),
        ] {
            assert_eq!(rate(value), shown);
        }
        for (value, shown) in [
            (None, "-"),
            (Some(4e-8), "40ns"),
            (Some(85e-6), "85us"),
            (Some(1.24e-3), "1.2ms"),
            (Some(0.25), "250ms"),
            (Some(2.0), "2.0s"),
        ] {
            assert_eq!(seconds(value), shown);
        }
        for (value, shown) in [
            (5.9, "5s"),
            (61.0, "1m 1s"),
            (7_300.0, "2h 1m"),
            (180_000.0, "2d 2h"),
            (-1.0, "0s"),
        ] {
            assert_eq!(uptime(value), shown);
        }
        assert_eq!(
            [12, 99_999, 123_456, u64::MAX / 1_000].map(whole),
            ["12", "99999", "123k", "18446744073M"]
        );
    }
}
