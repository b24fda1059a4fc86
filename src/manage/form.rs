//! What a form sent.

use zeroize::Zeroizing;

use super::Request;

/// The fields, in their order. They wipe themselves, for the passwords among them.
#[derive(Default)]
pub struct Form {
    fields: Vec<(String, Zeroizing<String>)>,
}

/// The most fields that are looked at.
const MOST_FIELDS: usize = 2000;

impl Form {
    /// Empty if the body is no form.
    pub fn of(request: &Request) -> Form {
        let kind = request.header("content-type").unwrap_or_default();
        let is_form = kind.split(';').next().is_some_and(|it| it.trim() == "application/x-www-form-urlencoded");
        if request.method != "POST" || !is_form {
            return Form::default();
        }
        let pairs = form_urlencoded::parse(&request.body).take(MOST_FIELDS);
        Form { fields: pairs.map(|(name, value)| (name.into_owned(), Zeroizing::new(value.into_owned()))).collect() }
    }

    /// The first field of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}
