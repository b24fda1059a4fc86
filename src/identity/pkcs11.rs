//! Private keys that never leave a hardware module, named by a URI (RFC 7512):
//!
//! ```text
//! SSLCC_Certificate_Key_File=pkcs11:token=clinic;object=gateway?module-path=/usr/lib/softhsm/libsofthsm2.so
//! ```
//!
//! The PIN is `SSLCC_Private_Key_Password`. A signature is made by the module while a connection is opened; a slow one holds
//! up the event loop for that long, which resumption makes rare.

use std::sync::Arc;

use rustls::sign::SigningKey;

#[cfg(not(feature = "pkcs11"))]
pub(super) fn load(_uri: &str, _pin: Option<&str>) -> Result<Arc<dyn SigningKey>, String> {
    Err("this build has no PKCS#11; build it with the cargo feature pkcs11".to_owned())
}

#[cfg(feature = "pkcs11")]
pub(super) use hardware::load;

#[cfg(feature = "pkcs11")]
mod hardware {
    use std::collections::HashMap;
    use std::path::{Path, PathBuf};
    use std::sync::LazyLock;

    use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
    use cryptoki::error::{Error, RvError};
    use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
    use cryptoki::mechanism::{Mechanism, MechanismType};
    use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
    use cryptoki::session::{Session, UserType};
    use cryptoki::types::AuthPin;
    use parking_lot::Mutex;
    use pkcs8::der::Encode;
    use pkcs8::der::asn1::Uint;
    use rustls::sign::Signer;
    use rustls::{SignatureAlgorithm, SignatureScheme};
    use sha2::{Digest, Sha256, Sha384};

    use super::{Arc, SigningKey};
    use crate::privileges::is_roots_alone;

    /// Modules in use, by path and process: a module must be initialised once, and anew after a fork.
    static MODULES: LazyLock<Mutex<HashMap<(u32, PathBuf), Pkcs11>>> = LazyLock::new(Mutex::default);

    /// A key, and the session in which it is used; one signature at a time.
    struct Key {
        session: Mutex<Session>,
        handle: ObjectHandle,
        kind: Kind,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Kind {
        Rsa,
        P256,
        P384,
    }

    /// What a URI names.
    #[derive(Debug, Default)]
    struct Named {
        module: Option<PathBuf>,
        token: Option<String>,
        object: Option<String>,
        id: Option<Vec<u8>>,
    }

    pub(in crate::identity) fn load(uri: &str, pin: Option<&str>) -> Result<Arc<dyn SigningKey>, String> {
        let named = parse(uri)?;
        let path = named.module.clone().ok_or("the URI names no module; add ?module-path=FILE")?;
        let module = module(&path)?;
        let slot = slot(&module, &named)?;
        let session = module.open_ro_session(slot).map_err(|error| format!("no session with the token: {error}"))?;
        if let Some(pin) = pin.filter(|pin| !pin.is_empty()) {
            match session.login(UserType::User, Some(&AuthPin::new(pin.into()))) {
                Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                Err(error) => return Err(format!("the token refuses SSLCC_Private_Key_Password as PIN: {error}")),
            }
        }
        let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Sign(true)];
        template.extend(named.object.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
        template.extend(named.id.clone().map(Attribute::Id));
        let found =
            session.find_objects(&template).map_err(|error| format!("the token cannot be searched: {error}"))?;
        let [handle] = found[..] else {
            return Err(format!("{} private keys match the URI, not one (is the PIN set?)", found.len()));
        };
        let kind = kind(&session, handle)?;
        Ok(Arc::new(Shared(Arc::new(Key { session: Mutex::new(session), handle, kind }))))
    }

    fn module(path: &Path) -> Result<Pkcs11, String> {
        let mut modules = MODULES.lock();
        // The loader would make another path of one with `$LIB` in it.
        let path = path.canonicalize().map_err(|error| format!("module {}: {error}", path.display()))?;
        let key = (std::process::id(), path.clone());
        if let Some(module) = modules.get(&key) {
            return Ok(module.clone());
        }
        let problem = |error: Error| format!("module {}: {error}", path.display());
        // CSP.ini names it, and the check before a start runs as root.
        if rustix::process::geteuid().is_root() && !is_roots_alone(&path) {
            let path = path.display();
            return Err(format!(
                "others than root can write module {path} or a directory above it, so root does not load it"
            ));
        }
        let module = Pkcs11::new(&path).map_err(problem)?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(problem(error)),
        }
        modules.insert(key, module.clone());
        Ok(module)
    }

    fn slot(module: &Pkcs11, named: &Named) -> Result<cryptoki::slot::Slot, String> {
        let slots = module.get_slots_with_token().map_err(|error| format!("the module tells no tokens: {error}"))?;
        let mut labels = Vec::new();
        for slot in slots {
            let Ok(token) = module.get_token_info(slot) else { continue };
            let label = token.label().trim().to_owned();
            if named.token.as_ref().is_none_or(|wanted| *wanted == label) && token.token_initialized() {
                return Ok(slot);
            }
            labels.push(label);
        }
        Err(format!("no token matches the URI; there are: {}", labels.join(", ")))
    }

    fn kind(session: &Session, handle: ObjectHandle) -> Result<Kind, String> {
        const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        const P384: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
        let wanted = [AttributeType::KeyType, AttributeType::EcParams];
        let attributes = session.get_attributes(handle, &wanted).map_err(|error| error.to_string())?;
        let is = |kind: KeyType| attributes.contains(&Attribute::KeyType(kind));
        let curve = attributes.iter().find_map(|attribute| match attribute {
            Attribute::EcParams(curve) => Some(curve.as_slice()),
            _ => None,
        });
        match curve {
            _ if is(KeyType::RSA) => Ok(Kind::Rsa),
            Some(curve) if is(KeyType::EC) && curve == P256 => Ok(Kind::P256),
            Some(curve) if is(KeyType::EC) && curve == P384 => Ok(Kind::P384),
            _ => Err("the key is neither RSA nor ECDSA over P-256 or P-384".to_owned()),
        }
    }

    fn parse(uri: &str) -> Result<Named, String> {
        let rest = uri.strip_prefix(crate::profile::PKCS11_SCHEME).unwrap_or(uri);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut named = Named::default();
        for attribute in path.split(';').chain(query.split('&')).filter(|attribute| !attribute.is_empty()) {
            let (name, value) = attribute.split_once('=').ok_or_else(|| format!("{attribute:?} is no attribute"))?;
            let value = unescape(value).ok_or_else(|| format!("{name} holds a broken % sequence"))?;
            let text = || String::from_utf8(value.clone()).map_err(|_| format!("{name} is not UTF-8"));
            match name {
                "module-path" => named.module = Some(PathBuf::from(text()?)),
                "token" => named.token = Some(text()?),
                "object" => named.object = Some(text()?),
                "id" => named.id = Some(value),
                "type" if value == b"private" => {}
                "pin-value" => {
                    return Err("a PIN does not belong into the URI; set SSLCC_Private_Key_Password".to_owned());
                }
                other => return Err(format!("the attribute {other} is not supported")),
            }
        }
        Ok(named)
    }

    fn unescape(text: &str) -> Option<Vec<u8>> {
        let mut bytes = text.bytes();
        let mut plain = Vec::new();
        while let Some(byte) = bytes.next() {
            plain.push(match byte {
                b'%' => {
                    let digit = |byte: u8| char::from(byte).to_digit(16);
                    u8::try_from(digit(bytes.next()?)? << 4 | digit(bytes.next()?)?).ok()?
                }
                other => other,
            });
        }
        Some(plain)
    }

    #[derive(Clone)]
    struct Shared(Arc<Key>);

    impl std::fmt::Debug for Shared {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "Pkcs11({:?})", self.0.kind)
        }
    }

    impl SigningKey for Shared {
        fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
            let ours: &[SignatureScheme] = match self.0.kind {
                Kind::Rsa => &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256],
                Kind::P256 => &[SignatureScheme::ECDSA_NISTP256_SHA256],
                Kind::P384 => &[SignatureScheme::ECDSA_NISTP384_SHA384],
            };
            let scheme = *ours.iter().find(|scheme| offered.contains(scheme))?;
            Some(Box::new(Signature { key: self.0.clone(), scheme }))
        }

        fn algorithm(&self) -> SignatureAlgorithm {
            match self.0.kind {
                Kind::Rsa => SignatureAlgorithm::RSA,
                Kind::P256 | Kind::P384 => SignatureAlgorithm::ECDSA,
            }
        }
    }

    struct Signature {
        key: Arc<Key>,
        scheme: SignatureScheme,
    }

    impl std::fmt::Debug for Signature {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "Signature({:?})", self.scheme)
        }
    }

    impl Signer for Signature {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
            let session = self.key.session.lock();
            let sign = |mechanism: &Mechanism<'_>, data: &[u8]| {
                let signed = session.sign(mechanism, self.key.handle, data);
                signed.map_err(|error| rustls::Error::General(format!("the PKCS#11 module does not sign: {error}")))
            };
            match self.scheme {
                SignatureScheme::RSA_PKCS1_SHA256 => sign(&Mechanism::Sha256RsaPkcs, message),
                SignatureScheme::RSA_PSS_SHA256 => {
                    let params = PkcsPssParams {
                        hash_alg: MechanismType::SHA256,
                        mgf: PkcsMgfType::MGF1_SHA256,
                        s_len: 32.into(),
                    };
                    sign(&Mechanism::Sha256RsaPkcsPss(params), message)
                }
                SignatureScheme::ECDSA_NISTP384_SHA384 => {
                    to_der(&sign(&Mechanism::Ecdsa, Sha384::digest(message).as_slice())?)
                }
                _ => to_der(&sign(&Mechanism::Ecdsa, Sha256::digest(message).as_slice())?),
            }
        }

        fn scheme(&self) -> SignatureScheme {
            self.scheme
        }
    }

    /// A module gives the two numbers of an ECDSA signature one after the other; TLS wants a sequence of them.
    fn to_der(raw: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let broken = |_| rustls::Error::General("the PKCS#11 module gave a broken signature".to_owned());
        let (r, s) = raw.split_at(raw.len() / 2);
        let mut both = Vec::with_capacity(raw.len() + 8);
        for number in [r, s] {
            Uint::new(number).and_then(|number| number.encode_to_vec(&mut both)).map_err(broken)?;
        }
        // Numbers of P-384 and below make less than 128 bytes, whose length is one byte.
        let length = u8::try_from(both.len()).ok().filter(|length| *length < 128);
        let length = length.ok_or_else(|| rustls::Error::General("the signature is too long".to_owned()))?;
        Ok([&[0x30, length], both.as_slice()].concat())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn uris_name_module_token_and_object_and_hold_no_pin() {
            let named = parse("pkcs11:token=My%20Token;object=gw;id=%01%ff;type=private?module-path=/m.so").unwrap();
            assert_eq!((named.token.as_deref(), named.object.as_deref()), (Some("My Token"), Some("gw")));
            assert_eq!((named.id, named.module), (Some(vec![1, 255]), Some("/m.so".into())));
            for wrong in ["pkcs11:token", "pkcs11:object=%4", "pkcs11:colour=red", "pkcs11:?pin-value=1"] {
                assert!(parse(wrong).is_err(), "{wrong}");
            }
            assert!(load("pkcs11:token=x", None).unwrap_err().contains("module-path"));
            assert!(load("pkcs11:token=x?module-path=/absent.so", None).unwrap_err().contains("/absent.so"));
        }
    }
}
