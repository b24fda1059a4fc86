//! Last Change: who changed what on these pages, and the way back.

use askama::Template;
use serde_json::{Value, json};

use super::change::{self, Difference, Rejected};
use super::layout::Layout;
use super::text;
use super::{Group, Page, Response, Trouble, Visit};
use crate::profile::Role;

/// Its row.
pub const PAGE: Page = Page {
    name: "last-change",
    title: text::LAST_CHANGE,
    group: Some(Group::Configuration),
    below: "",
    get: show,
    post: Some(undo),
};

#[derive(Template)]
#[template(path = "last_change.html")]
struct LastChangePage {
    layout: Layout,
    change: Option<ChangeView>,
    can_edit: bool,
}

/// The change.
struct ChangeView {
    time: String,
    who: String,
    is_latest: bool,
    differences: Vec<Difference>,
}

fn show(visit: &Visit) -> Result<Response, Trouble> {
    let view = |it: change::LastChange| ChangeView {
        time: it.time,
        who: it.who,
        is_latest: it.is_latest,
        differences: it.differences,
    };
    let page = LastChangePage {
        layout: visit.layout("last-change"),
        change: change::last(visit)?.map(view),
        can_edit: visit.who.role >= Role::Edit,
    };
    Ok(Response::page(200, &page))
}

fn undo(visit: &Visit) -> Result<Response, Trouble> {
    visit.require(Role::Edit)?;
    change::undo(visit).map_err(Rejected::into_trouble)?;
    Ok(Response::go_to("?page=last-change&done=undone"))
}

/// The last change, for programs.
pub fn call(visit: &Visit) -> Result<Value, Trouble> {
    let change = change::last(visit)?.map(|it| {
        json!({
            "time": it.time, "who": it.who, "can_be_undone": it.is_latest, "differences": to_json(&it.differences),
        })
    });
    Ok(json!({ "last_change": change }))
}

/// Undoes it, for programs.
pub fn call_undo(visit: &Visit) -> Result<Value, Trouble> {
    let differences = change::undo(visit).map_err(Rejected::into_trouble)?;
    Ok(json!({ "differences": to_json(&differences) }))
}

/// What changed, for programs.
pub fn to_json(differences: &[Difference]) -> Vec<Value> {
    let one = |it: &Difference| json!({ "section": it.section, "key": it.key, "before": it.before, "after": it.after });
    differences.iter().map(one).collect()
}
