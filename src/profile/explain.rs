//! Which profile and server answer for a URL, and why: the decision of [`Profile::route`], told step by step.

use super::{Alternatives, Application, Balance, Candidates, Probe, Profile, Route, routing_path};
use crate::failure::Failure;

/// The way of a request to its server.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// One sentence for each step.
    pub steps: Vec<String>,
    /// What the request is answered with, if no server answers.
    pub failure: Option<Failure>,
}

impl Profile {
    /// Explains which server answers for `url`: a path, with or without query, or a whole URL with its host.
    pub fn explain(&self, url: &str) -> Explanation {
        let (host, target) = split(url);
        let raw = target.split(['?', '#']).next().unwrap_or_default();
        let path = String::from_utf8_lossy(&routing_path(raw.as_bytes())).into_owned();
        let mut steps = vec![
            "The web server's directives (CSP, CSPFileTypes, SetHandler) decide first whether the gateway gets the request."
                .to_owned(),
        ];
        if path != raw {
            steps.push(format!("{raw} is matched as {path}; the application gets it as it was sent."));
        }
        let route = self.route(host, &path);
        if let Route::Management = route {
            steps.push(format!(
                "{path} is reserved for the management pages, in any case and behind an instance's name."
            ));
        } else if let Route::Probe(probe) = route {
            let (key, answers) = match probe {
                Probe::Metrics => ("Sclera_Metrics_Path", "metrics"),
                Probe::Live => ("Sclera_Live_Path", "whether the gateway lives"),
                Probe::Ready => ("Sclera_Ready_Path", "whether the gateway is ready"),
            };
            steps.push(format!("{path} is {key} of [SYSTEM]: the gateway itself answers it with {answers}."));
        } else {
            self.explain_application(host, &path, &route, &mut steps);
        }
        let failure = route.failure(self);
        match (&failure, &route) {
            (Some(failure), _) => {
                let status = failure.code.http_status();
                steps.push(format!("The answer is {status}: {failure}"));
            }
            (None, Route::Server { server, application, candidates }) => {
                if let Some(application) = application {
                    self.explain_alternatives(application, candidates, &mut steps);
                }
                let server = &self.servers[*server];
                let (address, port) = (&server.address.value, server.port.value);
                let answers = if candidates.servers.len() > 1 { "is the first of them" } else { "answers" };
                steps.push(format!("Server {} ({}) {answers}, at {address}:{port}.", server.name, server.origin));
            }
            (None, _) => {}
        }
        Explanation { steps, failure }
    }

    fn explain_application(&self, host: Option<&str>, path: &str, route: &Route, steps: &mut Vec<String>) {
        let chosen = match route {
            Route::Server { application, .. } | Route::ServerDisabled { application, .. } => *application,
            Route::ApplicationDisabled(application) => Some(*application),
            Route::NoServer { .. } | Route::Management | Route::Probe(_) => self.chosen(host, path),
        };
        let Some(application) = chosen else {
            let default = &self.system.default_server;
            steps.push(format!("No application path matches {path}."));
            steps.push(format!("Default_Server={} ({}) is for such paths.", default.value, self.place_of_default()));
            return;
        };
        let kind = if application.host().is_some() { "profile of this host" } else { "longest path that matches" };
        steps.push(format!("{} ({}) is the {kind}, by whole segments.", application.path, application.origin));
        let also: Vec<&str> = self
            .matching(host, path)
            .filter(|other| other.path != application.path)
            .map(|it| it.path.as_str())
            .collect();
        if !also.is_empty() {
            steps.push(format!("It goes before {}.", also.join(", ")));
        }
        match &application.default_server {
            _ if !application.enabled => {}
            Some(server) => {
                let place = server.origin.as_ref().map(ToString::to_string).unwrap_or_default();
                steps.push(format!("Its Default_Server is {} ({place}).", server.value));
            }
            None => {
                let default = &self.system.default_server.value;
                steps.push(format!("It names no Default_Server; {default} is it ({}).", self.place_of_default()));
            }
        }
    }

    /// Which servers may answer besides the first, when, and which of those that the file names may not.
    fn explain_alternatives(&self, application: &Application, candidates: &Candidates, steps: &mut Vec<String>) {
        let weighed = candidates.mode == Alternatives::LoadBalancing;
        let told = |&index: &usize| match &self.servers[index] {
            server if weighed && server.weight != 1 => format!("{} (Sclera_Weight={})", server.name, server.weight),
            server => server.name.clone(),
        };
        let names = candidates.servers.iter().map(told).collect::<Vec<_>>().join(", ");
        let how = match (candidates.mode, candidates.balance) {
            (Alternatives::Disabled, _) => return,
            (Alternatives::FailOver, _) => "FailOver: the first that can be used answers",
            (Alternatives::LoadBalancing, Balance::RoundRobin) => {
                "LoadBalancing: new sessions are given to them in turn"
            }
            (Alternatives::LoadBalancing, Balance::LeastBusy) => {
                "LoadBalancing: a new session is given to the least busy"
            }
        };
        let place = application.alternatives_for.place("Alternative_Servers");
        steps.push(format!("Its servers are {names}. {how}; a session stays with its server ({place})."));
        for line in &application.alternatives {
            let name = &line.server.value;
            let index = self.server(name);
            let reason = match index.map(|index| &self.servers[index]) {
                _ if index.is_some_and(|index| candidates.servers.contains(&index)) => continue,
                None => "the file has no section of that name",
                Some(_) if !line.enabled => "its line is disabled",
                Some(server) if !server.enabled => "it is not enabled in [SYSTEM_INDEX]",
                Some(_) => "there are too many, or another line disables it",
            };
            steps.push(format!("{name} is not among them: {reason} ({}).", line.server.place("Alternative_Server")));
        }
    }

    fn place_of_default(&self) -> String {
        match &self.system.default_server.origin {
            Some(origin) => origin.to_string(),
            None => "no Default_Server in [SYSTEM]".to_owned(),
        }
    }

    /// The profiles that could answer, the longest first.
    fn matching<'a>(&'a self, host: Option<&'a str>, path: &'a str) -> impl Iterator<Item = &'a Application> {
        let host = host.unwrap_or_default();
        let bare = if host.to_ascii_lowercase().starts_with("www.") { &host[4..] } else { host };
        let mut matching: Vec<&Application> = self
            .applications
            .iter()
            .filter(|application| {
                let own = application.host();
                let of_host = own.is_none_or(|own| own.eq_ignore_ascii_case(host) || own.eq_ignore_ascii_case(bare));
                let prefix = application.path_of_host().trim_end_matches('/');
                of_host && path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .collect();
        matching.sort_by_key(|application| std::cmp::Reverse((application.host().is_some(), application.path.len())));
        matching.into_iter()
    }

    fn chosen<'a>(&'a self, host: Option<&'a str>, path: &'a str) -> Option<&'a Application> {
        self.matching(host, path).next()
    }
}

/// The host and the target of a URL; a bare path has no host.
fn split(url: &str) -> (Option<&str>, &str) {
    let Some((_, rest)) = url.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', '?'])) else {
        return (None, url);
    };
    let (authority, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let end = host.rfind(':').filter(|&colon| !host[colon..].contains(']')).unwrap_or(host.len());
    (Some(&host[..end]), if target.is_empty() { "/" } else { target })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the guide's sections on paths, virtual hosts and reserved URLs.
    const FILE: &str = "[SYSTEM]\nDefault_Server=MAIN\n[SYSTEM_INDEX]\nMAIN=Enabled\nBOOKS=Enabled\nOFF=Disabled\n\
        [MAIN]\nIp_Address=main\n[BOOKS]\nIp_Address=books\nTCP_Port=1973\nSclera_Weight=3\n[OFF]\nIp_Address=off\n\
        [APP_PATH_INDEX]\n/=Enabled\n/csp=Enabled\n/Accounts=Enabled\n/Accounts/Invoices=Enabled\n/closed=Disabled\n\
        /off=Enabled\n/lost=Enabled\n//virtualhost1.com/csp/sys/=Enabled\n/over=Enabled\n/spread=Enabled\n/dark=Enabled\n\
        [APP_PATH:/Accounts/Invoices]\nDefault_Server=BOOKS\n[APP_PATH:/off]\nDefault_Server=OFF\n\
        [APP_PATH:/lost]\nDefault_Server=NOWHERE\n[APP_PATH://virtualhost1.com/csp/sys/]\nDefault_Server=BOOKS\n\
        [APP_PATH:/over]\nDefault_Server=OFF\nAlternative_Servers=FailOver\nAlternative_Server_2=1~~~~~~BOOKS\n\
        Alternative_Server_1=1~~~~~~main\nAlternative_Server_3=1~~~~~~NOWHERE\n\
        [APP_PATH:/spread]\nAlternative_Servers=LoadBalancing\nSclera_Balance=least-busy\nAlternative_Server_0=1~MAIN\n\
        Alternative_Server_1=1~BOOKS\nAlternative_Server_2=1~OFF\n\
        [APP_PATH:/dark]\nDefault_Server=MAIN\nAlternative_Servers=FailOver\nAlternative_Server_0=0~MAIN\n";

    #[test]
    fn the_examples_of_the_guide_are_explained_as_they_were() {
        let profile = Profile::parse(std::path::Path::new("CSP.ini"), FILE.as_bytes()).unwrap().profile;
        let mut told = String::new();
        for url in [
            "/Accounts/Invoices/list.csp?id=7",
            "/Accounts/ledger.csp",
            "/accounts/ledger.csp",
            "/Accounts/InvoicesOld/",
            "/",
            "/csp/%62in/../x",
            "http://www.virtualhost1.com/csp/sys/UtilHome.csp",
            "https://virtualhost1.com:8443/csp/sys",
            "http://other.com/csp/sys/UtilHome.csp",
            "/csp/bin/systems/module.cxw",
            "/iris/csp/bin/Systems/Module.cxw",
            "/csp/bin/RunTime/Module.cxw",
            "/closed/a",
            "/off/a",
            "/lost/a",
            "/over/a",
            "/spread/a",
            "/dark/a",
        ] {
            told += &format!("{url}\n");
            for step in profile.explain(url).steps.iter().skip(1) {
                told += &format!("    {step}\n");
            }
        }
        crate::profile::reference::compare("src/profile/explain.golden.txt", &told);
    }
}
