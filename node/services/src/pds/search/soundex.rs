//! Names as they sound, and how little two words may differ to be taken for each other.

/// Soundex: the first letter and three digits; `None` for a word without a letter from A to Z.
pub(in crate::pds) fn soundex(word: &str) -> Option<String> {
    let mut letters = word.chars().flat_map(plain).filter(char::is_ascii_uppercase);
    let first = letters.next()?;
    let mut out = String::from(first);
    let mut last = digit(first);
    for letter in letters {
        let now = digit(letter);
        match (letter, now) {
            // Between two letters of one sound these count as nothing.
            ('H' | 'W', _) => continue,
            (_, Some(sound)) if now != last => out.push(sound),
            _ => {}
        }
        last = now;
        if out.len() == 4 {
            break;
        }
    }
    while out.len() < 4 {
        out.push('0');
    }
    Some(out)
}

const fn digit(letter: char) -> Option<char> {
    match letter {
        'B' | 'F' | 'P' | 'V' => Some('1'),
        'C' | 'G' | 'J' | 'K' | 'Q' | 'S' | 'X' | 'Z' => Some('2'),
        'D' | 'T' => Some('3'),
        'L' => Some('4'),
        'M' | 'N' => Some('5'),
        'R' => Some('6'),
        _ => None,
    }
}

/// A letter of the national character set as it is written without accents, in capitals.
fn plain(letter: char) -> impl Iterator<Item = char> {
    let base = match letter {
        'À'..='Å' | 'à'..='å' | 'Ā'..='ą' => "A",
        'Æ' | 'æ' => "AE",
        'Ç' | 'ç' | 'Ć'..='č' => "C",
        'Ď'..='đ' | 'Ð' | 'ð' => "D",
        'È'..='Ë' | 'è'..='ë' | 'Ē'..='ě' => "E",
        'Ĝ'..='ģ' => "G",
        'Ĥ'..='ħ' => "H",
        'Ì'..='Ï' | 'ì'..='ï' | 'Ĩ'..='ı' => "I",
        'Ĵ' | 'ĵ' => "J",
        'Ķ'..='ĸ' => "K",
        'Ĺ'..='ł' => "L",
        'Ñ' | 'ñ' | 'Ń'..='ŋ' => "N",
        'Ò'..='Ö' | 'Ø' | 'ò'..='ö' | 'ø' | 'Ō'..='ő' => "O",
        'Œ' | 'œ' => "OE",
        'Ŕ'..='ř' => "R",
        'Ś'..='š' => "S",
        'ß' => "SS",
        'Ţ'..='ŧ' => "T",
        'Ù'..='Ü' | 'ù'..='ü' | 'Ũ'..='ų' => "U",
        'Ŵ' | 'ŵ' => "W",
        'Ý' | 'ý' | 'ÿ' | 'Ŷ'..='Ÿ' => "Y",
        'Ź'..='ž' => "Z",
        _ => "",
    };
    let own = base.is_empty().then(|| letter.to_ascii_uppercase());
    base.chars().chain(own)
}

/// A word as words are compared: capitals, without accents and without white space around it.
pub(in crate::pds) fn folded(word: &str) -> String {
    word.trim().chars().flat_map(plain).collect()
}

/// Whether two words differ in one letter, or in two neighbours that changed places.
pub(in crate::pds) fn is_slip(one: &str, other: &str) -> bool {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let (short, long) = if one.len() <= other.len() {
        (&one, &other)
    } else {
        (&other, &one)
    };
    let first = short.iter().zip(long).take_while(|(a, b)| a == b).count();
    let (short, long) = (&short[first..], &long[first..]);
    match long.len() - short.len() {
        0 => match (short, long) {
            ([], []) => false,
            ([_, rest @ ..], [_, others @ ..]) if rest == others => true,
            ([a, b, rest @ ..], [c, d, others @ ..]) => a == d && b == c && rest == others,
            _ => false,
        },
        1 => long[1..] == *short,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{folded, is_slip, soundex};

    #[test]
    fn names_that_sound_alike_have_one_code() {
        for (word, code) in [
            ("Robert", "R163"),
            ("Rupert", "R163"),
            ("Ashcraft", "A261"),
            ("Tymczak", "T522"),
            ("Pfister", "P236"),
            ("Honeyman", "H555"),
            ("Smith", "S530"),
            ("Smythe", "S530"),
            ("Łukasz", "L220"),
            ("o", "O000"),
        ] {
            assert_eq!(soundex(word).as_deref(), Some(code), "{word}");
        }
        assert_eq!(soundex("7-'"), None);
    }

    #[test]
    fn accents_and_case_do_not_tell_words_apart() {
        assert_eq!(folded(" Łukasiewicz-Ñandú "), "LUKASIEWICZ-NANDU");
        assert_eq!(folded("o'neill"), "O'NEILL");
    }

    #[test]
    fn slips_are_one_letter_or_two_that_changed_places() {
        for (one, other) in [
            ("SMITH", "SMIHT"),
            ("SMITH", "SMYTH"),
            ("SMITH", "SMIT"),
            ("SMITH", "SMITHE"),
        ] {
            assert!(is_slip(one, other) && is_slip(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("SMITH", "SMITH"),
            ("SMITH", "SMHTI"),
            ("SMITH", "SMITHSON"),
            ("", "AB"),
        ] {
            assert!(!is_slip(one, other) && !is_slip(other, one), "{one} {other}");
        }
    }
}
