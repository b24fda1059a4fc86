//! Every text of the pages, in both languages.
//!
//! Names of settings stay as they are in CSP.ini and in the original's pages; failures, findings and what a superserver
//! says stay in English, as they stand in the log.

use super::language::Language;

/// A text.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    pub english: &'static str,
    pub japanese: &'static str,
}

impl Text {
    /// The text with its `{}` replaced, in order.
    pub fn with(&self, language: Language, values: &[&str]) -> String {
        let mut pieces = language.say(self).split("{}");
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for (place, piece) in pieces.enumerate() {
            text += values.get(place).copied().unwrap_or_default();
            text += piece;
        }
        text
    }
}

macro_rules! texts {
    ($($name:ident: $english:literal, $japanese:literal;)*) => {
        $(
            #[doc = $english]
            pub const $name: &Text = &Text { english: $english, japanese: $japanese };
        )*

        /// Every text.
        pub const ALL: &[&Text] = &[$($name,)*];
    };
}

/// What a form can have done, as the query of the next page calls it.
pub const DONE: &[(&str, &Text)] =
    &[("saved", DONE_SAVED), ("unchanged", DONE_UNCHANGED), ("deleted", DONE_DELETED), ("undone", DONE_UNDONE)];

texts! {
    // Around the pages.
    GATEWAY: "Sclera Web Gateway", "Sclera Web ゲートウェイ";
    SKIP: "Skip to the content", "本文へ移動";
    MENU: "Menu", "メニュー";
    MANAGEMENT: "Management", "管理";
    CONFIGURATION: "Configuration", "構成";
    LOGGED_IN_AS: "Logged in as {} ({})", "{} としてログイン中 ({})";
    LOG_OUT: "Log out", "ログアウト";
    WARNING: "Warning", "警告";
    DONE_LABEL: "Done", "完了";
    TROUBLE: "This cannot be done", "実行できません";
    NOT_FOUND: "There is no such page.", "このページは存在しません。";
    WRONG_METHOD: "This page cannot be used in this way.", "このページはこの方法では使用できません。";
    OLD_FORM: "The form is too old, or it is not from this browser. Load the page again, and repeat what you did.", "フォームの有効期限が切れているか、このブラウザのものではありません。ページを再読み込みして、もう一度操作してください。";
    NEEDS_ROLE: "This takes the role {}.", "この操作には役割 {} が必要です。";
    UNAUTHORIZED: "You are not authorized to use this facility", "You are not authorized to use this facility (この機能を使用する権限がありません)";
    BACK: "Back", "戻る";
    DONE_SAVED: "The change is saved, and in force within two seconds.", "変更を保存しました。2 秒以内に有効になります。";
    DONE_UNCHANGED: "There was nothing to change.", "変更はありませんでした。";
    DONE_DELETED: "The profile is deleted.", "プロファイルを削除しました。";
    DONE_UNDONE: "The last change is undone.", "最後の変更を元に戻しました。";

    // Warnings that stand.
    WARN_EVERYONE: "System_Manager admits every client to these pages. Name the machines of administrators there.", "System_Manager によりすべてのクライアントがこのページを利用できます。管理者のマシンだけを指定してください。";
    WARN_NO_LOGIN: "Nobody has to log in here. Set Username and Password under Default Parameters, or with `sclera passwd`.", "ログインは不要な設定です。既定パラメータまたは `sclera passwd` で Username と Password を設定してください。";
    WARN_CLEAR_PASSWORD: "The management password stands in clear text in CSP.ini. Set it again to store a hash.", "管理用パスワードが CSP.ini に平文で保存されています。再設定するとハッシュで保存されます。";
    WARN_PLAIN_HTTP: "This page comes without TLS: whoever listens on the way reads passwords and pages. Use https.", "このページは TLS で保護されていません。経路上でパスワードや内容を読み取られる恐れがあります。https を使用してください。";
    UNVERIFIABLE: "The management password is a hash of the original gateway, which cannot be checked: nobody can log in with it. Set it anew with `sclera passwd`.", "管理用パスワードは元のゲートウェイのハッシュ形式であり、検証できないためログインできません。`sclera passwd` で再設定してください。";

    // Login.
    LOGIN: "Log in", "ログイン";
    USER_NAME: "User name", "ユーザー名";
    PASSWORD: "Password", "パスワード";
    LOGIN_WRONG: "User name or password is wrong.", "ユーザー名またはパスワードが正しくありません。";
    LOCKED_OUT: "Too many attempts have failed. Try again in {} s.", "失敗回数が多すぎます。{} 秒後に再試行してください。";

    // About.
    ABOUT: "About Web Gateway", "Web ゲートウェイについて";
    VERSION: "Version", "バージョン";
    WEB_SERVER: "Web server", "Web サーバー";
    TLS_LIBRARY: "TLS", "TLS";
    CONFIGURATION_FILE: "Configuration file", "構成ファイル";
    SERVERS: "Servers", "サーバー";
    APPLICATIONS: "Application paths", "アプリケーション・パス";
    PROCESS: "Worker process", "ワーカー・プロセス";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_stands_in_both_languages_with_the_same_places_to_fill() {
        let is_japanese = |text: &str| text.chars().any(|it| ('\u{3040}'..='\u{9fff}').contains(&it));
        for text in ALL {
            assert!(!text.english.is_empty() && !text.japanese.is_empty(), "{text:?}");
            assert!(!is_japanese(text.english), "{text:?}");
            assert!(is_japanese(text.japanese) || text.japanese == text.english, "{text:?}");
            let places = |text: &str| text.matches("{}").count();
            assert_eq!(places(text.english), places(text.japanese), "{text:?}");
        }
        let untranslated: Vec<&str> =
            ALL.iter().filter(|text| text.japanese == text.english).map(|text| text.english).collect();
        assert_eq!(untranslated, UNTRANSLATED);
    }

    /// Words that are the same in both.
    const UNTRANSLATED: &[&str] = &["TLS"];
}
