//! The languages of the pages: English, and Japanese for browsers that ask for it.

use super::text::Text;

/// A language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    English,
    Japanese,
}

impl Language {
    /// What an `Accept-Language` header prefers.
    pub fn of(accept: Option<&str>) -> Language {
        let weight = |wanted: &str| {
            let ranges = accept.unwrap_or_default().split(',').filter_map(|range| {
                let mut parts = range.split(';');
                let tag = parts.next()?.trim().to_ascii_lowercase();
                let named = tag == wanted || tag.starts_with(&format!("{wanted}-"));
                let weight = parts.find_map(|part| part.trim().strip_prefix("q=")?.parse::<f32>().ok());
                named.then_some(weight.unwrap_or(1.0))
            });
            ranges.fold(0.0, f32::max)
        };
        if weight("ja") > weight("en") { Language::Japanese } else { Language::English }
    }

    /// Its tag.
    pub fn tag(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Japanese => "ja",
        }
    }

    /// A text in this language.
    pub fn say(self, text: &Text) -> &'static str {
        match self {
            Language::English => text.english,
            Language::Japanese => text.japanese,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn japanese_is_spoken_with_browsers_that_prefer_it_to_english() {
        for (accept, expected) in [
            (None, "en"),
            (Some(""), "en"),
            (Some("ja"), "ja"),
            (Some("ja-JP,ja;q=0.9,en;q=0.8"), "ja"),
            (Some("en-US,en;q=0.9,ja;q=0.8"), "en"),
            (Some("de,ja;q=0.5,en;q=0.7"), "en"),
            (Some("de, JA-jp ; q=0.5"), "ja"),
            (Some("jam"), "en"),
            (Some("ja;q=NaN"), "en"),
            (Some(";;q=,=,"), "en"),
        ] {
            assert_eq!(Language::of(accept).tag(), expected, "{accept:?}");
        }
    }
}
