//! Spans of time as sshd_config(5) writes them under "TIME FORMATS": `90`, `1m30s`, `1h`.

/// The seconds; `None` for `none`, which is as if nothing were said. Otherwise says what is wrong.
pub(super) fn seconds(text: &str) -> Result<Option<u32>, String> {
    if text == "none" {
        return Ok(None);
    }
    total(text).map(Some).ok_or_else(|| format!("expected a time such as 90 or 1m30s, found \"{text}\""))
}

fn total(text: &str) -> Option<u32> {
    let (mut total, mut rest) = (0u32, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u32 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let unit = rest.chars().next();
        rest = &rest[unit.map_or(0, char::len_utf8)..];
        let factor = match unit.map(|unit| unit.to_ascii_lowercase()) {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            Some('w') => 604_800,
            Some(_) => return None,
        };
        total = total.checked_add(number.checked_mul(factor)?)?;
    }
    (!text.is_empty() && i32::try_from(total).is_ok()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_openssh_reads_them() {
        let check = |text: &str, expected| assert_eq!(seconds(text), Ok(expected), "{text}");
        check("none", None);
        check("0", Some(0));
        check("90", Some(90));
        check("1m30s", Some(90));
        check("1M30", Some(90));
        check("1w", Some(604_800));
        for wrong in ["", "m", "1x", "-1", "99999999999", "1m ", "4000w", "4294967295"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
