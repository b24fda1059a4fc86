//! Test Server Connection: a server tried out stage by stage, as `sclera test` does it.

use std::time::Duration;

use askama::Template;
use serde_json::Value;

use super::change::{self, Complaint, Entered, Rejected, Scope};
use super::layout::Layout;
use super::text;
use super::{Group, Page, Response, Trouble, Visit};
use crate::profile::{Profile, Role};
use crate::trial::{self, Report};
use zeroize::Zeroizing;

/// Its row.
pub const PAGE: Page = Page {
    name: "test",
    title: text::TEST_CONNECTION,
    group: Some(Group::Management),
    below: "",
    get: |visit| show(visit, None),
    post: Some(connect),
};

#[derive(Template)]
#[template(path = "test.html")]
struct TestPage {
    layout: Layout,
    servers: Vec<(String, bool)>,
    trial: Option<TrialView>,
    can_test: bool,
}

/// What a trial found, for a page.
pub struct TrialView {
    pub server: String,
    pub target: String,
    pub credential: &'static str,
    pub stages: Vec<StageView>,
    pub certificates: Vec<CertificateView>,
    pub warnings: Vec<String>,
    /// Code, what happened, and what to do.
    pub failure: Option<(String, String, &'static str)>,
    pub total: String,
}

/// A stage.
pub struct StageView {
    pub name: String,
    pub passed: bool,
    pub milliseconds: String,
    pub found: String,
}

/// A certificate of one of the two chains.
pub struct CertificateView {
    pub of_gateway: bool,
    pub subject: String,
    pub issuer: String,
    pub days_left: i64,
}

/// The longest that a page lets a connection take.
const LONGEST_CONNECT: Duration = Duration::from_secs(15);

fn show(visit: &Visit, trial: Option<TrialView>) -> Result<Response, Trouble> {
    let chosen = trial.as_ref().map(|trial| trial.server.clone()).or_else(|| visit.request.query_value("name"));
    let saved = saved(visit);
    let names = saved.servers.iter().map(|server| server.name.clone());
    let is_chosen = |name: &str| chosen.as_ref().is_some_and(|chosen| chosen.eq_ignore_ascii_case(name));
    let page = TestPage {
        layout: visit.layout("test"),
        servers: names.map(|name| (name.clone(), is_chosen(&name))).collect(),
        trial,
        can_test: visit.who.role >= Role::Operate,
    };
    Ok(Response::page(200, &page))
}

fn connect(visit: &Visit) -> Result<Response, Trouble> {
    visit.require(Role::Operate)?;
    let name = visit.form.get("name").unwrap_or_default().to_owned();
    let trial = TrialView::run(visit, saved(visit), &name)?;
    show(visit, Some(trial))
}

/// The settings as they stand in the file: whoever has just saved them wants these tested, and not what this worker still has
/// in force for two seconds. Of a file with errors, what is in force.
fn saved(visit: &Visit) -> Profile {
    let source = change::source(visit).ok();
    let loaded = source.and_then(|files| Profile::load(&files.path, &files.environment.refreshed()).ok());
    loaded.map_or_else(|| visit.profile.as_ref().clone(), |loaded| loaded.profile)
}

/// Tries a server of a profile out.
fn run(visit: &Visit, mut profile: Profile, name: &str) -> Result<Report, Trouble> {
    let position = profile.server(name).ok_or(Trouble::NotFound)?;
    profile.run_commands_of(position, None);
    let mut server = profile.servers.swap_remove(position);
    server.connect_timeout = server.connect_timeout.min(LONGEST_CONNECT);
    let disabled = (!server.enabled).then(|| text::IS_DISABLED.with(visit.language, &[&server.name]));
    visit.audit(&format!("tests the connection to server {}", server.name));
    let mut report = trial::run(server);
    report.warnings.extend(disabled);
    Ok(report)
}

/// The same for programs: `{"server": "LOCAL", "settings": {"TCP_Port": "1973"}}`.
pub fn call(visit: &Visit) -> Result<Value, Trouble> {
    let sent = visit.sent()?;
    let name = sent["server"].as_str().ok_or_else(|| Trouble::Wrong("server: name one".to_owned()))?;
    let settings = match &sent["settings"] {
        Value::Null => return Ok(run(visit, saved(visit), name)?.to_json()),
        settings => entered(settings)?,
    };
    // They can name a command to run, or send stored passwords elsewhere: as much as saving them can.
    visit.require(Role::Edit)?;
    let scope = Scope::Server(name.to_owned());
    let before = change::read(visit)?;
    let mut after = before.clone();
    let complaints = change::apply(&mut after, &scope, None, &settings);
    if !complaints.is_empty() {
        return Err(Rejected::Complaints(complaints).into_trouble());
    }
    let tried = change::try_out(change::source(visit)?, &before, &after);
    let profile = tried.map_err(|complaints| Rejected::Complaints(complaints).into_trouble())?;
    let broken = || Rejected::Complaints(vec![Complaint::general("CSP.ini has errors")]).into_trouble();
    Ok(run(visit, profile.ok_or_else(broken)?, name)?.to_json())
}

/// The settings of a JSON object: a text or a number, or `null` for blank.
pub fn entered(settings: &Value) -> Result<Vec<(String, Entered)>, Trouble> {
    let Value::Object(settings) = settings else {
        return Err(Trouble::Wrong("settings: send an object of keys and values".to_owned()));
    };
    let one = |(key, value): (&String, &Value)| {
        let entered = match value {
            Value::Null => Entered::Blank,
            Value::String(text) if text.trim().is_empty() => Entered::Blank,
            Value::String(text) => Entered::Value(Zeroizing::new(text.trim().to_owned())),
            Value::Number(number) => Entered::Value(Zeroizing::new(number.to_string())),
            _ => return Err(Trouble::Wrong(format!("{key}: send a text, a number or null"))),
        };
        Ok((key.clone(), entered))
    };
    settings.iter().map(one).collect()
}

impl TrialView {
    /// Runs a trial. Blocks for seconds.
    pub fn run(visit: &Visit, profile: Profile, name: &str) -> Result<TrialView, Trouble> {
        let report = run(visit, profile, name)?;
        let last = report.stages.len();
        let milliseconds = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
        let stages = report.stages.iter().enumerate().map(|(place, stage)| StageView {
            name: stage.name.to_string(),
            passed: report.failure.is_none() || place + 1 < last,
            milliseconds: milliseconds(stage.took),
            found: stage.found.clone(),
        });
        let certificate = |of_gateway: bool| {
            move |it: &trial::Certificate| CertificateView {
                of_gateway,
                subject: it.facts.subject.clone(),
                issuer: it.facts.issuer.clone(),
                days_left: it.days_left,
            }
        };
        let superserver = report.superserver.iter().map(certificate(false));
        Ok(TrialView {
            stages: stages.collect(),
            certificates: superserver.chain(report.gateway.iter().map(certificate(true))).collect(),
            total: milliseconds(report.stages.iter().map(|stage| stage.took).sum()),
            failure: report.failure.as_ref().map(|failure| {
                (format!("{} {}", failure.code, failure.code.name()), failure.detail.clone(), failure.code.remedy())
            }),
            warnings: report.warnings.clone(),
            server: report.server,
            target: report.target,
            credential: report.credential,
        })
    }
}
