//! The class `Test`: what drivers and gateways need to try calls, types, output and errors.

use crate::link::{AskError, Link, PIECE};
use crate::session::Answer;
use sclera::wire::element::{Element, Value};
use std::borrow::Cow;

/// The class name.
pub const NAME: &[u8] = b"Test";

/// Actions that let somebody in to call the class.
pub const ACTIONS: &str = "[Actions]\n\
    ModifyService:Name=%Service_Bindings,Enabled=1,AutheEnabled=$$$AuthePassword\n\
    CreateUser:Name=alice,Password=secret,Enabled=1\n";

/// Most bytes that `Big` returns: as much as fits a message that the gateway side would take.
const BIGGEST: i64 = 64 * 1024 * 1024;

/// Runs a method. `output` is where `Write` goes; `None` if the client takes no output.
pub async fn call(method: &[u8], arguments: &[Element<'_>], output: Option<&mut Link>) -> Result<Answer, AskError> {
    let first = arguments.first().map(|argument| argument.value.clone().into_owned()).unwrap_or(Value::Undefined);
    Ok(match method {
        b"Echo" => Answer::Value(first),
        b"Len" => Answer::Value(Value::Integer(length(&first) as i64)),
        b"Big" => match first.to_integer() {
            Some(count @ 0..=BIGGEST) => Answer::Value(Value::Bytes(Cow::Owned((0..count).map(|k| k as u8).collect()))),
            _ => Answer::Error(format!("<ILLEGAL VALUE> Big takes a number from 0 to {BIGGEST}")),
        },
        b"Write" => {
            if let Some(link) = output {
                write(arguments, link).await?;
            }
            Answer::Value(Value::Integer(1))
        }
        b"Error" => Answer::Error("<DIVIDE>Error+1^Test.1 as asked for".to_owned()),
        b"Nothing" => Answer::Value(Value::Undefined),
        b"ByRef" => {
            let count = arguments.iter().filter(|argument| argument.by_reference).count();
            let references = (0..count).map(|number| Value::text(&format!("new-{number}"))).collect();
            Answer::WithReferences(Value::text("ret"), references)
        }
        other => Answer::Error(format!("<METHOD DOES NOT EXIST> *{},Test", String::from_utf8_lossy(other))),
    })
}

/// Characters of text, bytes of bytes.
fn length(value: &Value<'_>) -> usize {
    match value {
        Value::Bytes(bytes) => bytes.len(),
        other => other.to_text().chars().count(),
    }
}

/// Redirects each argument as one piece of output, long ones in several.
async fn write(arguments: &[Element<'_>], link: &mut Link) -> Result<(), AskError> {
    for argument in arguments {
        let data = match &argument.value {
            Value::Bytes(bytes) => bytes.clone(),
            other => Cow::Owned(other.to_text().into_bytes()),
        };
        for piece in data.chunks(PIECE) {
            link.redirect(piece, &[]).await?;
        }
    }
    Ok(())
}
