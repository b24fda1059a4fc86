//! The help of settings in Japanese; in English it stands in the table of settings.

use super::language::Language;
use crate::profile::parameter::Parameter;
use crate::profile::parameter::SectionKind::{self, Application, Server, System};

/// What a setting means, in one sentence.
pub fn of(row: &Parameter, language: Language) -> &'static str {
    match language {
        Language::English => row.help,
        Language::Japanese => japanese(row).unwrap_or(row.help),
    }
}

fn japanese(row: &Parameter) -> Option<&'static str> {
    let own = |(section, key, _): &&(SectionKind, &str, &str)| *section == row.section && *key == row.key;
    JAPANESE.iter().find(own).map(|(.., help)| *help)
}

/// A row for each setting that has a field.
const JAPANESE: &[(SectionKind, &str, &str)] = &[
    (System, "Default_Server", "アプリケーションでサーバーが指定されていないパスに使用するサーバー。"),
    (System, "MAX_CONNECTIONS", "すべてのサーバーへの接続の最大合計数。"),
    (System, "Server_Response_Timeout", "応答中にサーバーが何も送らずにいられる秒数。"),
    (System, "Queued_Request_Timeout", "要求が接続の空きを待てる秒数。"),
    (System, "No_Activity_Timeout", "未使用の接続を閉じるまでの秒数。空白の場合は閉じません。"),
    (
        System,
        "Sclera_Maximum_Age",
        "この秒数を過ぎた接続は未使用になり次第閉じられます (一部は最大 1 割早く)。0 の場合は閉じません。",
    ),
    (
        System,
        "Sclera_Resolve_Interval",
        "サーバー名のアドレスをバックグラウンドで引き直すまでの秒数。0 の場合は接続のたびに引き直します。",
    ),
    (System, "Sclera_Queue_Limit", "各ワーカーで、サーバーへの接続の空きを待てる要求の最大数。空白の場合は無制限。"),
    (
        System,
        "Sclera_Runtime_Directory",
        "すべてのワーカーが共有し、`sclera status` が読むメモリ (ledger) のディレクトリ。存在しない場合は作成されます。",
    ),
    (System, "Sclera_Password_Command_Timeout", "パスワードを出力する {command} の最大実行秒数。"),
    (System, "Sclera_Encode_Passwords", "Web サーバーの起動時に、ファイル内の平文パスワードを符号化するかどうか。"),
    (
        System,
        "Sclera_Eject_After",
        "代替サーバーを持つサーバーを一時的に除外するまでの連続失敗回数。失敗の種類によっては即座に除外されます。",
    ),
    (System, "Sclera_Slow_Start", "復帰したサーバーの負荷を元の割合に戻すまでの秒数。"),
    (System, "Sclera_Health_Interval", "代替サーバーを持つサーバーの能動的な検査の間隔 (秒)。0 の場合は検査しません。"),
    (System, "Sclera_Retries", "害がない場合に要求を再送する最大回数。"),
    (Server, "Ip_Address", "スーパーサーバーの名前またはアドレス。"),
    (Server, "TCP_Port", "スーパーサーバーの TCP ポート。"),
    (Server, "Minimum_Server_Connections", "未使用でも閉じずに維持する接続数。"),
    (Server, "Maximum_Server_Connections", "このサーバーへの最大接続数。空白の場合は MAX_CONNECTIONS に従います。"),
    (Server, "Maximum_Session_Connections", "1 つのセッションが同時に使用できる最大接続数。"),
    (
        Server,
        "Connection_Security_Level",
        "通信の保護方法。0 は保護なし、4 または 10 は TLS。1 から 3 の Kerberos は使用できません。",
    ),
    (Server, "Username", "ゲートウェイがログインするユーザー名。相互 TLS を使う場合は空白にします。"),
    (Server, "Password", "ゲートウェイがログインするパスワード。相互 TLS を使う場合は空白にします。"),
    (Server, "SSLCC_Protocol_Min", "最小の TLS バージョン。16 は 1.2、32 は 1.3。これより古いものは使用しません。"),
    (Server, "SSLCC_Protocol_Max", "最大の TLS バージョン。16 は 1.2、32 は 1.3。"),
    (
        Server,
        "SSLCC_Protocol",
        "プロトコル範囲の旧形式 (バージョンの合計)。Min と Max のどちらも設定されていない場合に使用します。",
    ),
    (Server, "SSLCC_Verify_Peer", "検証できないスーパーサーバーへの接続を拒否するかどうか。"),
    (Server, "SSLCC_Cipher_Suites", "TLS 1.2 用の OpenSSL 暗号文字列。Sclera で何も選択しない語は報告されます。"),
    (Server, "SSLCC_Cipher_Suites_1_3", "TLS 1.3 用の暗号スイート (優先順)。"),
    (Server, "SSLCC_Certificate_File", "ゲートウェイの証明書と中間証明書の PEM ファイル。"),
    (Server, "SSLCC_Certificate_Key_File", "その証明書の秘密鍵の PEM ファイル、または pkcs11: URI。"),
    (Server, "SSLCC_Key_Type", "秘密鍵の種類。鍵自体から判別した種類が優先されます。"),
    (Server, "SSLCC_Private_Key_Password", "秘密鍵のパスワード。"),
    (Server, "SSLCC_CA_Certificate_File", "スーパーサーバーの証明書に署名した CA の PEM ファイル。"),
    (
        Server,
        "Sclera_Verify_Name",
        "スーパーサーバーの証明書が Ip_Address に対して発行されていることを要求するかどうか。",
    ),
    (
        Server,
        "Sclera_Server_Name",
        "スーパーサーバーの証明書に期待する名前またはアドレス。SNI としても送られます。空白の場合は Ip_Address を使用します。",
    ),
    (
        Server,
        "Sclera_Verification",
        "スーパーサーバーの検証内容。full はすべて、chain は署名と有効期間のみ、key は固定した公開鍵のみ。",
    ),
    (
        Server,
        "Sclera_Pinned_Key",
        "Sclera_Verification=key の場合のスーパーサーバーの公開鍵。sha256// とダイジェストの base64。",
    ),
    (Server, "Sclera_CRL_File", "スーパーサーバーのチェーンに含まれるすべての CA の失効リストの PEM ファイル。"),
    (
        Server,
        "Sclera_Key_Log_File",
        "通信の解析用に TLS の秘密情報を書き込むファイル。これを読める人はすべての通信を解読できます。",
    ),
    (Server, "Sclera_Namespace", "接続時に指定するネームスペース。"),
    (Server, "Sclera_Connect_Timeout", "名前解決、接続、TLS、ログインの合計の制限秒数。"),
    (Server, "Sclera_Dialect", "サーバーとの通信に使う方式。このリリースでは client のみです。"),
    (Server, "Sclera_Weight", "負荷分散時の、他のサーバーに対するこのサーバーの負荷の比率。"),
    (Application, "Default_Server", "このパスに応答するサーバー。"),
    (
        Application,
        "Sclera_Balance",
        "LoadBalancing で新しいセッションを分散する方法。順番、または処理中の要求が最も少ないサーバー。",
    ),
    (System, "Instance_Host_Name", "システム変数 CSPIHN としてサーバーに伝えるホストとポート。"),
    (System, "MAX_CACHE_SIZE", "応答を保持する共有メモリの大きさ。"),
    (System, "Web_Server_ID_Cookie", "クッキー CSPWSERVERID を設定するかどうか。"),
    (System, "SM_Forms", "管理ページを使用できるかどうか。無効にすると、ファイルを編集しない限り有効に戻せません。"),
    (System, "Username", "管理用ログインのユーザー名。これまたは Password を設定すると、ログインが必要になります。"),
    (System, "Password", "管理用ログインのパスワード。Argon2id ハッシュで保存されます。"),
    (System, "SM_Timeout", "管理用ログインが操作なしで維持される秒数。"),
    (
        System,
        "Custom_SM_Login_Form",
        "独自のログイン・ページ。送信するファイル、またはブラウザを転送する Web サーバーのパス。",
    ),
    (
        System,
        "System_Manager",
        "管理ページを利用できるクライアントのアドレス。例: 10.0.0.7、10.0.0.4-6、10.0.*.*、fd00::/8 (コンマ区切り)。空白の場合はこのマシンのみ。",
    ),
    (
        System,
        "Accept_X_Forwarded_For",
        "このマシンまたは System_Manager にあるプロキシ経由のクライアントを、X-Forwarded-For の最後のアドレスで判定するかどうか。",
    ),
    (System, "System_Manager_UNPW_Override", "System_Manager にあるマシンのログインを不要にするかどうか。"),
    (
        System,
        "Sclera_Manage_Role",
        "ログイン不要のクライアントに許可する操作。view は表示、operate はテストと接続の操作も、edit は設定の変更も可能。",
    ),
    (
        System,
        "Sclera_Manage_Hosts",
        "ログインなしで管理ページを呼び出せる名前 (コンマまたは空白区切り)。アドレス、localhost、このマシンの名前は常に使用できます。それ以外の名前では、System_Manager にあるクライアントは表示のみ可能です。",
    ),
    (
        System,
        "Sclera_Manage_Users",
        "追加の管理ユーザーのファイル。1 行に名前、役割、Argon2id ハッシュをコロン区切りで記述します (`sclera passwd` が書き込みます)。",
    ),
    (
        System,
        "Sclera_Metrics_Path",
        "メトリックを読み取るパス。例: /metrics (Web サーバーのディレクティブでゲートウェイに渡されている必要があります)。空白の場合は提供しません。",
    ),
    (
        System,
        "Sclera_Metrics_Clients",
        "メトリックを読み取れるクライアントのアドレス (System_Manager と同じ形式)。空白の場合はこのマシンのみ。",
    ),
    (System, "Sclera_Live_Path", "ワーカーが応答する限り 200 を返すパス。空白の場合は提供しません。"),
    (
        System,
        "Sclera_Ready_Path",
        "使用できるサーバーが 1 つ以上あれば 200、なければ 503 を返すパス。空白の場合は提供しません。",
    ),
    (System, "Timeout_All_Connections", "最小接続数の接続も未使用時に閉じるかどうか。"),
    (
        System,
        "Env_Parameters",
        "イベント・ログに記録する内容を表す文字: e (失敗)、v1 から v9 (対話)、s、c、t、p など。0 の場合はこれらを記録しません。",
    ),
    (
        System,
        "Event_Log_File",
        "イベント・ログのファイル、CSP.log を置くディレクトリ、または stdout。空白の場合は CSP.ini と同じ場所の CSP.log。",
    ),
    (System, "Event_Log_Rotation_Size", "イベント・ログをローテーションする大きさ。"),
    (
        System,
        "Retain_All_Log_Files",
        "ローテーションしたイベント・ログを日時の付いた名前ですべて保持するかどうか。保持しない場合は .old が 1 つ残ります。",
    ),
    (System, "Maximum_Logged_Request_Size", "本文を記録するレベルで記録する本文の最大の大きさ。"),
    (
        System,
        "Sclera_Log_Format",
        "イベント・ログの形式。native は元の製品と同じ行、json は 1 行に 1 つの JSON オブジェクト。",
    ),
    (
        System,
        "Sclera_Debug_Expiry",
        "v6 から v9、t、Sclera_Trace、Sclera_Key_Log_File が、Web サーバーの起動または CSP.ini の変更から有効な秒数。",
    ),
    (
        System,
        "Sclera_Trace",
        "全体をトレースする要求。パスの先頭部分とブラウザのアドレスを空白またはコンマで区切ります。空白の場合はトレースしません。",
    ),
    (
        System,
        "Sclera_Trace_Directory",
        "トレースした要求を保存するディレクトリ。空白の場合はイベント・ログと同じ場所の CSP.trace。",
    ),
    (System, "Sclera_Trace_Entries", "保存するトレースの数。古いものから削除されます。"),
    (System, "Sclera_Trace_Body_Size", "トレースに保存する本文の最大の大きさ。"),
    (System, "SA_Exclude_File_Types", "ステート・アウェア・セッションのロックの外で処理するファイル・タイプ。"),
    (System, "Server_Error", "エラー用の独自ページ。"),
    (System, "Server_Busy", "空き接続がない場合の独自ページ。"),
    (System, "Server_Unavailable", "サーバーまたはアプリケーションが無効な場合の独自ページ。"),
    (System, "Server_Timeout", "応答タイムアウト用の独自ページ。"),
    (System, "Connection_Closed", "ステート・アウェア・セッションが終了した場合の独自ページ。"),
    (System, "READONLY", "0: ファイルへの書き込み可。1: 書き込み可、変更の記録は CSPRT.ini に保存。2: 書き込み不可。"),
    (System, "REGISTRY_METHODS", "接続したサーバーがゲートウェイを管理できるかどうか。"),
    (System, "IRISCONNECT_LIBRARY_PATH", "TLS ライブラリのディレクトリ。Sclera は独自の TLS を使用します。"),
    (System, "DPAPI", "Windows でパスワードを暗号化するかどうか。"),
    (System, "Document_Root", "ASP リダイレクト用の Web ドキュメントのルート。"),
    (System, "ASP_Directory", "ASP リダイレクトの一時ファイルのディレクトリ。"),
    (System, "WS_Service_Status", "ネットワーク・サービス・デーモンが HTTP に直接応答するかどうか。"),
    (System, "NSD_Document_Root", "デーモンが直接提供するドキュメントのルート。"),
    (Server, "Mirror_Aware", "サーバーのミラーのプライマリを探すかどうか。"),
    (Server, "Product", "サーバーの製品。"),
    (Server, "Service_Principal_Name", "Kerberos 用のスーパーサーバー名。"),
    (Server, "Keytable", "Kerberos 用のキー・テーブル。"),
    (Application, "Alternative_Servers", "代替サーバーの用途: FailOver、LoadBalancing、または Disabled。"),
    (Application, "Alternative_Server_<n>", "代替サーバーの名前と、有効かどうか。"),
    (Application, "Extra_CGI_Env_Variables", "アプリケーションに渡す追加の変数。"),
    (Application, "Proc_Class", "このパスのすべての要求を処理するクラス。"),
    (Application, "GZIP_Compression", "応答を圧縮するかどうか。"),
    (Application, "GZIP_Minimum_File_Size", "圧縮する応答の最小の大きさ。"),
    (Application, "GZIP_Exclude_File_Types", "圧縮しないファイル・タイプ。"),
    (Application, "Response_Size_Notification", "応答の大きさをブラウザに通知する方法。"),
    (Application, "Response_Size_Notification_Always", "応答の大きさを常に通知するかどうか。"),
    (Application, "KeepAlive", "ブラウザの接続を維持するかどうか。"),
    (Application, "Non_Parsed_Headers", "Web サーバーが応答ヘッダをそのままにするかどうか。"),
    (Application, "NameSpace", "アプリケーションのネームスペース。"),
];

#[cfg(test)]
mod tests {
    use super::super::fields::NO_FIELDS;
    use super::*;
    use crate::profile::parameter::ALL;

    #[test]
    fn every_setting_that_has_a_field_has_its_help_in_both_languages_and_no_other_has() {
        let fields = || ALL.iter().filter(|row| !NO_FIELDS.contains(&row.key));
        let missing: Vec<String> = fields()
            .filter(|row| japanese(row).is_none())
            .map(|row| format!("({:?}, {:?}, {:?}),", row.section, row.key, row.help))
            .collect();
        assert!(missing.is_empty(), "add to JAPANESE, translated:\n{}", missing.join("\n"));
        for (section, key, help) in JAPANESE {
            assert!(fields().any(|row| row.section == *section && row.key == *key), "{section:?} {key} is no setting");
            assert!(help.ends_with('。'), "{key}");
        }
        assert_eq!(JAPANESE.len(), fields().count(), "no setting stands twice");
    }
}
