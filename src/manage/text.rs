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
pub const DONE: &[(&str, &Text)] = &[
    ("saved", DONE_SAVED),
    ("unchanged", DONE_UNCHANGED),
    ("deleted", DONE_DELETED),
    ("undone", DONE_UNDONE),
    ("closing", DONE_CLOSING),
    ("ordered", DONE_ORDERED),
    ("cleared", DONE_CLEARED),
];

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
    WARN_OTHER_NAME: "These pages were called by a name that could be another site's, so they only show. Log in with a password, call them by address, or add the name to Sclera_Manage_Hosts.", "他のサイトのものである可能性のある名前で呼び出されたため、表示のみ可能です。パスワードを設定してログインするか、アドレスで呼び出すか、その名前を Sclera_Manage_Hosts に追加してください。";
    WARN_CLEAR_PASSWORD: "The management password stands in clear text in CSP.ini. Set it again to store a hash.", "管理用パスワードが CSP.ini に平文で保存されています。再設定するとハッシュで保存されます。";
    WARN_PLAIN_HTTP: "This page comes without TLS: whoever listens on the way reads passwords and pages. Use https.", "このページは TLS で保護されていません。経路上でパスワードや内容を読み取られる恐れがあります。https を使用してください。";
    UNVERIFIABLE: "The management password is a hash of the original gateway, which cannot be checked: nobody can log in with it. Set it anew with `sclera passwd`.", "管理用パスワードは元のゲートウェイのハッシュ形式であり、検証できないためログインできません。`sclera passwd` で再設定してください。";

    // Event log.
    EVENT_LOG: "View Event Log", "イベント・ログの表示";
    LOG_NOT_A_FILE: "The event log is not kept in a file that this page can read.", "イベント・ログはこのページで読めるファイルに保存されていません。";
    LOG_ORDER: "Order", "順序";
    NEWEST: "Newest first", "新しい順";
    OLDEST: "Oldest first", "古い順";
    LOG_LEVEL: "Level", "レベル";
    LOG_CODE: "Code", "コード";
    REQUEST_ID: "Request id", "リクエスト ID";
    LOG_SHOW: "Show", "表示";
    LOG_TIME: "Time (UTC)", "時刻 (UTC)";
    LOG_TEXT: "Event", "イベント";
    LOG_WORDS: "Words", "語句";
    LOG_FIRST: "First page", "最初のページ";
    LOG_PREVIOUS: "Previous page", "前のページ";
    LOG_NEXT: "Next page", "次のページ";
    LOG_EMPTY: "No entry is like this.", "該当する項目はありません。";
    CLEAR_LOG: "Clear Log", "ログの消去";
    CONFIRM_CLEAR: "Yes, delete every entry of the event log", "イベント・ログのすべての項目を消去する";

    // View HTTP Trace.
    HTTP_TRACE: "View HTTP Trace", "HTTP トレースの表示";
    TRACE_IS_OFF: "Nothing is traced now. Set HTTP Trace (Sclera_Trace) in Default Parameters to path prefixes or client addresses; it ends by itself after Sclera_Debug_Expiry.", "現在トレースは行われていません。既定パラメータの HTTP Trace (Sclera_Trace) にパスの先頭部分またはクライアントのアドレスを設定してください。Sclera_Debug_Expiry の後に自動的に終了します。";
    TRACE_ALL: "All requests", "すべての要求";
    TRACE_REQUEST: "Request", "要求";
    TRACE_RESPONSE: "Response", "応答";
    TRACE_STATUS: "Answer", "結果";
    CLEAR_TRACE: "Clear trace", "トレースの消去";

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

    // Profiles.
    DEFAULT_PARAMETERS: "Default Parameters", "既定パラメータ";
    SERVER_ACCESS: "Server Access", "サーバー・アクセス";
    SERVER_PROFILE: "Server profile", "サーバー・プロファイル";
    APPLICATION_ACCESS: "Application Access", "アプリケーション・アクセス";
    APPLICATION_PROFILE: "Application profile", "アプリケーション・プロファイル";
    SERVERS_CAPTION: "Server access profiles of CSP.ini", "CSP.ini のサーバー・アクセス・プロファイル";
    APPLICATIONS_CAPTION: "Application access profiles of CSP.ini", "CSP.ini のアプリケーション・アクセス・プロファイル";
    NAME: "Name", "名前";
    PATH: "Application path", "アプリケーション・パス";
    STATUS: "Status", "状態";
    ADDRESS: "Address", "アドレス";
    PROTECTION: "Protection", "通信の保護";
    CREDENTIAL: "Credential", "認証方法";
    SERVER: "Server", "サーバー";
    ALTERNATIVES: "Alternative servers", "代替サーバー";
    ACTIONS: "Actions", "操作";
    ADD: "Add", "追加";
    EDIT: "Edit", "編集";
    COPY: "Copy", "コピー";
    DELETE: "Delete", "削除";
    ENABLE: "Enable", "有効にする";
    DISABLE: "Disable", "無効にする";
    ENABLED: "Enabled", "有効";
    DISABLED: "Disabled", "無効";
    NONE_YET: "There are none yet.", "まだありません。";
    SAVE: "Save Configuration", "構成を保存";
    TEST_THESE: "Test these settings", "この設定でテスト";
    CANCEL: "Cancel", "キャンセル";
    BLANK: "(blank)", "(空白)";
    NOTHING: "(nothing)", "(なし)";
    INHERITED: "Inherited value: {} ({})", "継承値: {} ({})";
    DEFAULT: "Default: {}", "既定値: {}";
    OVERRIDDEN: "In force is {} from {}, which goes over CSP.ini.", "{} が有効です。{} が CSP.ini より優先されます。";
    NEEDS_RESTART: "In force after a restart of the web server.", "Web サーバーの再起動後に有効になります。";
    NOT_HEEDED_YET: "Not heeded by this release.", "このリリースではまだ使用されません。";
    WITHOUT_EFFECT: "Without effect:", "効果なし:";
    SECRET_SET: "set", "設定済み";
    SECRET_NOT_SET: "not set", "未設定";
    SECRET_KEEP: "Keep as it is ({})", "変更しない ({})";
    SECRET_REPLACE: "Replace by a new one", "新しい値に置き換える";
    SECRET_CLEAR: "Clear", "消去";
    SECRET_NEW: "New value of {}", "{} の新しい値";
    SECRET_AGAIN: "New value of {}, again", "{} の新しい値 (確認)";
    SLOT_ENABLED: "{}: status", "{}: 状態";
    MISTAKES: "Nothing was saved. Correct what is marked:", "保存されませんでした。次の項目を修正してください:";
    CONFLICT: "Somebody else has changed these settings since you loaded the form; nothing was saved. Compare, and save again to put yours in place.", "フォームを開いた後に、この設定が他の人によって変更されました。保存されていません。内容を比較し、自分の変更を適用する場合はもう一度保存してください。";
    CONFLICT_CAPTION: "Settings that differ", "異なる設定";
    SETTING: "Setting", "設定";
    IN_THE_FILE: "Now in the file", "現在のファイルの値";
    YOURS: "Yours", "入力した値";
    CERTIFICATE_IGNORED: "The certificate is being ignored:", "証明書は無視されています:";
    CLEAR_LOGIN: "Clear user name and password", "ユーザー名とパスワードを消去";
    GROUP_SERVER: "Server", "サーバー";
    GROUP_STATELESS: "Stateless Parameters", "ステートレス・パラメータ";
    GROUP_SECURITY: "Connection Security", "接続セキュリティ";
    GROUP_TLS: "SSL/TLS Parameters", "SSL/TLS パラメータ";
    GROUP_OPTIONAL: "Optional Parameters", "オプション・パラメータ";
    GROUP_ERROR_PAGES: "Error Pages", "エラー・ページ";
    GROUP_ALTERNATIVES: "Alternative Servers", "代替サーバー";
    GROUP_APPLICATION: "Application", "アプリケーション";
    GROUP_RESPONSE: "Responses", "応答";
    GROUP_GATEWAY: "Web Gateway", "Web ゲートウェイ";
    GROUP_ACCESS: "Security", "セキュリティ";
    GROUP_CONNECTIONS: "Connections to InterSystems IRIS", "InterSystems IRIS への接続";
    GROUP_LOG: "Event Logging", "イベント・ログ";
    GROUP_FURTHER: "Further settings", "その他の設定";
    GROUP_WITHOUT_EFFECT: "Settings without effect in Sclera", "Sclera では効果のない設定";

    // Deleting.
    DELETE_QUESTION: "Delete {}? Its settings are removed from CSP.ini.", "{} を削除しますか? 設定は CSP.ini から削除されます。";
    DELETE_YES: "Yes: delete", "はい、削除します";
    STILL_NAMED: "{} cannot be deleted, because it is still named by:", "{} は次の設定で使用されているため削除できません:";

    // Last change.
    LAST_CHANGE: "Last Change", "最後の変更";
    NO_CHANGE: "Nothing has been changed on these pages.", "このページからの変更はまだありません。";
    CHANGED_BY: "Changed at {} (UTC) by {}", "{} (UTC) に {} が変更";
    CHANGE_CAPTION: "What was changed", "変更内容";
    BEFORE: "Before", "変更前";
    AFTER: "After", "変更後";
    UNDO: "Undo this change", "この変更を元に戻す";
    NOT_LATEST: "CSP.ini has been changed since by other means; this change cannot be undone here.", "その後 CSP.ini が別の方法で変更されたため、ここでは元に戻せません。";

    // Test.
    TEST_CONNECTION: "Test Server Connection", "サーバー接続テスト";
    TEST_HELP: "Connects, logs in, and asks the superserver who the gateway is.", "接続してログインし、ゲートウェイがどのユーザーとして認識されるかをスーパーサーバーに問い合わせます。";
    CONNECT: "Connect", "接続";
    TEST_GOOD: "Server connection test was successful: {} at {}, by {}, in {} ms.", "サーバー接続テストに成功しました (Server connection test was successful): {}、{}、認証 {}、{} ms。";
    TEST_BAD: "Server connection test failed: {} at {}, by {}.", "サーバー接続テストに失敗しました: {}、{}、認証 {}。";
    TEST_CAPTION: "Stages", "段階";
    STAGE: "Stage", "段階";
    RESULT: "Result", "結果";
    PASSED: "passed", "成功";
    FAILED: "failed", "失敗";
    TIME: "Time (ms)", "時間 (ms)";
    FOUND: "Found", "詳細";
    WHAT_TO_DO: "What to do:", "対処方法:";
    CERTIFICATES_CAPTION: "Certificates", "証明書";
    WHOSE: "Whose", "所有者";
    OF_GATEWAY: "gateway", "ゲートウェイ";
    OF_SUPERSERVER: "superserver", "スーパーサーバー";
    SUBJECT: "Subject", "サブジェクト";
    ISSUER: "Issued by", "発行者";
    DAYS_LEFT: "Days left", "残り日数";
    IS_DISABLED: "Server {} is not enabled: requests for it get 503 until it is.", "サーバー {} は有効ではありません。有効にするまで要求には 503 を返します。";

    // Mutual TLS.
    MUTUAL_TLS: "Mutual TLS", "相互 TLS";
    USER_IS: "User at the superserver (CN)", "スーパーサーバーでのユーザー (CN)";
    IN_EFFECT: "Credential in effect", "有効な認証方法";
    WHY: "Why", "理由";
    SERIAL: "Serial number", "シリアル番号";
    CHAIN_CAPTION: "The gateway's certificate and its chain", "ゲートウェイの証明書とチェーン";
    CHECKS_CAPTION: "What the doctor finds", "診断結果";
    VERDICT: "Verdict", "判定";
    CHECK: "Check", "検査項目";
    NO_CERTIFICATE: "No certificate is in use.", "証明書は使用されていません。";

    // System Status.
    SYSTEM_STATUS: "System Status", "システム・ステータス";
    CONNECTIONS_CAPTION: "Connections to InterSystems IRIS", "InterSystems IRIS への接続";
    SERVERS_STATUS_CAPTION: "InterSystems IRIS Servers", "InterSystems IRIS サーバー";
    PATHS_CAPTION: "Application Paths", "アプリケーション・パス";
    FAILURES_CAPTION: "Failures since the start of counting", "計測開始以降の失敗";
    NO_FAILURES: "There have been none.", "失敗はありません。";
    SORT_HINT: "The heading of a column sorts by it.", "列見出しを選択すると、その列で並べ替えます。";
    REFRESH: "Refresh", "最新の情報に更新";
    NUMBER: "Number", "番号";
    GATEWAY_PID: "Gateway PID", "ゲートウェイ PID";
    IRIS_PID: "IRIS PID", "IRIS プロセス ID";
    IDLE_TIME: "Idle time / Timeout", "アイドル時間 / タイムアウト";
    AGE: "Age", "経過時間";
    ACTIVITY: "Activity", "処理した要求数";
    FREE: "Free", "空き";
    IN_USE: "In Use", "使用中";
    OPENING: "Opening", "接続中";
    CONNECTION: "Connection", "接続";
    INTERRUPT: "Interrupt", "中断";
    CLOSE: "Close", "閉じる";
    CLOSE_CONNECTIONS: "Close connections", "接続を閉じる";
    CLOSE_ALL: "Close all connections", "すべての接続を閉じる";
    DRAIN: "Drain", "新規セッションを停止";
    MARK_ONLINE: "Mark online", "オンラインにする";
    HEALTH: "Health", "正常性";
    TOTAL_CONNECTIONS: "Total Connections", "合計接続数";
    CONNECTIONS_IN_USE: "Connections In-Use", "使用中の接続数";
    TOTAL_ACTIVITY: "Total Activity", "合計要求数";
    QUEUED_REQUESTS: "Queued Requests", "待機中の要求数";
    MEDIAN_TIME: "Median time (ms)", "応答時間の中央値 (ms)";
    SLOW_TIME: "95% within (ms)", "95% の応答時間 (ms)";
    OFFLINE: "Offline", "オフライン";
    CURRENT: "current", "現在使用中";
    CODE: "Code", "コード";
    COUNT: "Count", "回数";
    GONE_ON: "Connection {} has gone on meanwhile: it is another one, or has another request. Nothing was done; look again.", "接続 {} の状況はすでに変わっています (別の接続または別の要求)。何も行われませんでした。もう一度確認してください。";
    DONE_CLOSING: "The connections are closed: idle ones at once, others after their request unless it was interrupted.", "接続を閉じました。アイドル状態の接続は直ちに、その他は要求の完了後または中断後に閉じられます。";
    DONE_CLEARED: "All entries are deleted.", "すべての項目を消去しました。";
    DONE_ORDERED: "The order is in force in all workers.", "操作はすべてのワーカーに反映されました。";
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
