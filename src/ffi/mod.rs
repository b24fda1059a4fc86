//! The C ABI. The contract stands once, at the head of `include/sclera.h` (`src/ffi/contract.h` holds its text); every
//! function here is an instance of it.
//!
//! All exports go through [`export`], which writes the C function and its guard in one form: a panic never crosses the
//! boundary, it becomes the return type's failure value and a last error.

#![allow(non_camel_case_types)]

pub mod answer;
pub mod connection;
pub mod exchange;
pub mod gateway;
pub mod protocol;
pub mod trial;
pub mod worker;

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The ABI number of this library; a host compares it with the `SCLERA_ABI` that it was compiled with.
pub const SCLERA_ABI: u32 = 1;

/// Results of functions. 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum sclera_result {
    SCLERA_OK = 0,
    /// A pointer is NULL that must not be, a string is not UTF-8, or a struct's `size` is smaller than the first release's.
    SCLERA_INVALID_ARGUMENT = 1,
    /// CSP.ini or a file that it names is wrong; each finding went to the log function.
    SCLERA_CONFIGURATION = 2,
    /// No connection could be had, or the method that was called ended with an error; sclera_last_error says how.
    SCLERA_FAILED = 3,
    /// The operating system refused something; sclera_last_error says what.
    SCLERA_SYSTEM = 4,
    /// The function has no meaning in this state.
    SCLERA_WRONG_STATE = 5,
    /// A fault in Sclera was caught. Free the object.
    SCLERA_PANIC = 6,
    /// The connection has broken, or is in doubt: it can only be given back. sclera_last_error says how it came.
    SCLERA_BROKEN = 7,
}

/// Borrowed bytes, not NUL-terminated. `data` may be NULL if `length` is 0.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct sclera_slice {
    pub data: *const u8,
    pub length: usize,
}

/// A name and its value.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct sclera_pair {
    pub name: sclera_slice,
    pub value: sclera_slice,
}

/// Defines an exported function together with its guard.
macro_rules! export {
    ($(#[$attribute:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $return:ty $body:block) => {
        $(#[$attribute])*
        ///
        /// # Safety
        ///
        /// The contract at the head of `include/sclera.h` holds for every pointer.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> $return {
            $crate::ffi::guard(|| $body)
        }
    };
}
pub(crate) use export;

export! {
    /// The ABI number of the library that was loaded. Compare it with SCLERA_ABI before anything else.
    fn sclera_abi() -> u32 {
        SCLERA_ABI
    }
}

export! {
    /// The library's version, such as "0.1.0". Static.
    fn sclera_version() -> *const c_char {
        const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
        VERSION.as_ptr()
    }
}

export! {
    /// What the last function on this thread that failed has to say. Never NULL; empty if none has failed. Valid until
    /// the next call of any Sclera function on this thread.
    fn sclera_last_error() -> *const c_char {
        LAST_ERROR.with_borrow(|error| error.as_ptr())
    }
}

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Remembers `text` for [`sclera_last_error`] and gives `result` back.
pub fn failed(result: sclera_result, text: &str) -> sclera_result {
    LAST_ERROR.with_borrow_mut(|error| *error = c_string(text));
    result
}

fn invalid(what: &str) -> sclera_result {
    failed(sclera_result::SCLERA_INVALID_ARGUMENT, what)
}

/// Text as C wants it; a NUL inside, which none of our texts has, becomes a space.
fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

/// Runs a function body; a panic becomes the failure value of the return type.
pub fn guard<T: AfterPanic>(body: impl FnOnce() -> T) -> T {
    // Unwind safety: after a panic the contract allows nothing but freeing the object.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        failed(sclera_result::SCLERA_PANIC, "a fault in Sclera was caught; please report it");
        T::after_panic()
    })
}

/// What a return type becomes after a panic.
pub trait AfterPanic {
    /// See the trait.
    fn after_panic() -> Self;
}

macro_rules! after_panic {
    ($($type:ty => $value:expr),* $(,)?) => {
        $(impl AfterPanic for $type {
            fn after_panic() -> Self {
                $value
            }
        })*
    };
}

after_panic! {
    () => (),
    bool => false,
    u32 => 0,
    i32 => -1,
    usize => 0,
    *const c_char => c"".as_ptr(),
    sclera_slice => sclera_slice::EMPTY,
    sclera_result => sclera_result::SCLERA_PANIC,
    exchange::sclera_step => exchange::sclera_step::SCLERA_STEP_ABORT,
    protocol::sclera_protocol_state => protocol::sclera_protocol_state::SCLERA_PROTOCOL_FAILED,
}

impl sclera_slice {
    const EMPTY: sclera_slice = sclera_slice { data: std::ptr::null(), length: 0 };

    fn of(bytes: &[u8]) -> sclera_slice {
        sclera_slice { data: bytes.as_ptr(), length: bytes.len() }
    }

    /// The bytes behind it.
    ///
    /// # Safety
    ///
    /// `data` is NULL, or `length` bytes from it stay readable and unchanged during the call.
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: as above; a NULL is not dereferenced.
        unsafe { slice(self.data, self.length) }
    }
}

/// A C array as a slice; NULL is empty.
///
/// # Safety
///
/// `data` is NULL, or `length` elements from it stay readable and unchanged during the call.
unsafe fn slice<'a, T>(data: *const T, length: usize) -> &'a [T] {
    match data.is_null() || length == 0 {
        true => &[],
        // SAFETY: not NULL, and the caller vouches for the rest.
        false => unsafe { std::slice::from_raw_parts(data, length) },
    }
}

/// A C string as text; `None` if it is NULL or not UTF-8.
///
/// # Safety
///
/// `text` is NULL or NUL-terminated, and stays readable and unchanged during the call.
unsafe fn text<'a>(text: *const c_char) -> Option<&'a str> {
    match text.is_null() {
        true => None,
        // SAFETY: not NULL, and the caller vouches for the rest.
        false => unsafe { CStr::from_ptr(text) }.to_str().ok(),
    }
}

/// An object or a struct of the caller; `None` for NULL.
///
/// # Safety
///
/// `pointer` is NULL, or points to a live `T` that nobody changes during the call.
unsafe fn shared<'a, T>(pointer: *const T) -> Option<&'a T> {
    // SAFETY: the caller vouches for it.
    unsafe { pointer.as_ref() }
}

/// An object that is changed; `None` for NULL.
///
/// # Safety
///
/// `pointer` is NULL, or points to a live `T` that nobody else uses during the call.
unsafe fn exclusive<'a, T>(pointer: *mut T) -> Option<&'a mut T> {
    // SAFETY: the caller vouches for it.
    unsafe { pointer.as_mut() }
}

/// Gives an object to the caller.
///
/// # Safety
///
/// `out` is NULL or may be written to.
unsafe fn give<T>(out: *mut *mut T, object: T) -> sclera_result {
    match out.is_null() {
        true => invalid("the place for the new object is NULL"),
        false => {
            // SAFETY: not NULL, and the caller vouches for the rest.
            unsafe { *out = Box::into_raw(Box::new(object)) };
            sclera_result::SCLERA_OK
        }
    }
}

/// Takes an object back from the caller; `None` for NULL.
///
/// # Safety
///
/// `object` is NULL, or came from [`give`] and is used by nobody any more.
unsafe fn take<T>(object: *mut T) -> Option<Box<T>> {
    match object.is_null() {
        true => None,
        // SAFETY: it came from Box::into_raw, once.
        false => Some(unsafe { Box::from_raw(object) }),
    }
}

/// A struct that begins with its size, so that it may grow at its end in later releases.
///
/// # Safety
///
/// The first field is `size: usize`, and every field may be all zeros, which is then the default of fields that a caller
/// of an older release does not know.
unsafe trait Sized1: Copy {
    /// Its size in the first release that had it.
    const FIRST: usize;
}

/// How many bytes of a sized struct its caller has.
///
/// # Safety
///
/// `pointer` is NULL, or points to a struct whose `size` field tells how many of its bytes are valid.
unsafe fn known<T: Sized1>(pointer: *const T, name: &str) -> Result<usize, sclera_result> {
    if pointer.is_null() {
        return Err(invalid(&format!("{name} is NULL")));
    }
    // SAFETY: not NULL; the size is the first field of every such struct, and always there.
    let size = unsafe { *pointer.cast::<usize>() };
    match size < T::FIRST {
        true => Err(invalid(&format!("{name}.size is {size}; set it to sizeof the struct, at least {}", T::FIRST))),
        false => Ok(size.min(size_of::<T>())),
    }
}

/// A sized struct of the caller; fields that it does not have are 0.
///
/// # Safety
///
/// As [`known`].
unsafe fn sized<T: Sized1>(pointer: *const T, name: &str) -> Result<T, sclera_result> {
    // SAFETY: the caller vouches for it.
    let length = unsafe { known(pointer, name) }?;
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: so many bytes are there on both sides, which do not overlap; what is not copied is 0, which is a value of
    // every field.
    unsafe {
        std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), length);
        Ok(value.assume_init())
    }
}

/// Fills a sized struct of the caller as far as it has the fields; its `size` is kept.
///
/// # Safety
///
/// As [`known`], and it may be written to.
unsafe fn fill<T: Sized1>(pointer: *mut T, name: &str, value: T) -> sclera_result {
    // SAFETY: the caller vouches for it.
    let length = match unsafe { known(pointer, name) } {
        Ok(length) => length,
        Err(result) => return result,
    };
    let skip = size_of::<usize>();
    // SAFETY: so many bytes are there on both sides, which do not overlap; the size, which comes first, is left alone.
    unsafe {
        let from = (&raw const value).cast::<u8>().add(skip);
        std::ptr::copy_nonoverlapping(from, pointer.cast::<u8>().add(skip), length - skip);
    }
    sclera_result::SCLERA_OK
}

/// Fills a struct of the caller that does not grow.
///
/// # Safety
///
/// `out` is NULL or may be written to.
unsafe fn fill_plain<T>(out: *mut T, value: T) -> sclera_result {
    match out.is_null() {
        true => invalid("the place for the value is NULL"),
        false => {
            // SAFETY: not NULL, and the caller vouches for the rest.
            unsafe { out.write(value) };
            sclera_result::SCLERA_OK
        }
    }
}

/// Marks structs whose first field is `size`, each with its size in the first release.
macro_rules! sized_structs {
    ($($type:ty: $first:expr),* $(,)?) => {
        $(
            const _: () = assert!(std::mem::offset_of!($type, size) == 0 && $first <= size_of::<$type>());
            // SAFETY: `size` is the first field, which the line above checks; the others are numbers, flags, and pointers
            // that may be NULL.
            unsafe impl Sized1 for $type {
                const FIRST: usize = $first;
            }
        )*
    };
}

sized_structs! {
    gateway::sclera_options: std::mem::offset_of!(gateway::sclera_options, workers),
    gateway::sclera_user: size_of::<gateway::sclera_user>(),
    exchange::sclera_request: size_of::<exchange::sclera_request>(),
    exchange::sclera_wants: size_of::<exchange::sclera_wants>(),
    exchange::sclera_response: size_of::<exchange::sclera_response>(),
    exchange::sclera_failure: std::mem::offset_of!(exchange::sclera_failure, stage),
    protocol::sclera_target: size_of::<protocol::sclera_target>(),
}

#[cfg(test)]
mod tests {
    use super::exchange::sclera_failure;
    use super::*;

    #[test]
    fn a_struct_of_an_older_release_is_read_and_filled_as_far_as_it_goes() {
        let first = sclera_failure::FIRST;
        let value = sclera_failure { code: 400, http_status: 502, ..sclera_failure::default() };
        for (size, expected) in [
            (first, true),
            (size_of::<sclera_failure>(), true),
            (size_of::<sclera_failure>() + 64, true),
            (first - 1, false),
            (0, false),
        ] {
            let mut theirs = sclera_failure { size, stage: c"theirs".as_ptr(), ..sclera_failure::default() };
            // SAFETY: the struct is larger than any size given here that is used.
            let filled = unsafe { fill(&raw mut theirs, "failure", value) } == sclera_result::SCLERA_OK;
            assert_eq!(filled, expected, "{size}");
            assert_eq!(theirs.size, size, "the size is the caller's");
            if filled {
                assert_eq!((theirs.code, theirs.http_status), (400, 502));
                assert_eq!(theirs.stage.is_null(), size > first, "what an older caller does not have is not touched");
            }
            let theirs = sclera_failure { size, stage: c"theirs".as_ptr(), ..sclera_failure::default() };
            // SAFETY: as above.
            let read = unsafe { sized(&raw const theirs, "failure") };
            let kept = read.ok().map(|read| !read.stage.is_null());
            assert_eq!(kept, expected.then_some(size > first), "beyond the size everything is 0: {size}");
        }
        // SAFETY: NULL is allowed.
        assert!(unsafe { sized::<sclera_failure>(std::ptr::null(), "failure") }.is_err());
    }
}
