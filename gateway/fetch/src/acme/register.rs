//! Makes an account at an ACME server (RFC 8555 §7.3), with a key that there is already.
//!
//! By hand, because `instant_acme` draws the key itself and gives it away when the server has the account:
//! one whose key is lost then is nobody's. Asking twice with one key finds the same account.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use boring::bn::{BigNum, BigNumContext};
use boring::ec::EcKey;
use boring::ecdsa::EcdsaSig;
use boring::error::ErrorStack;
use boring::hash::hmac_sha256;
use boring::pkey::{PKey, Private};
use boring::sha::sha256;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use instant_acme::{BodyWrapper, Error, Problem};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::{Client, RequestError};
use crate::limits::ACME_NONCES;
use control::Secret;

const REPLAY_NONCE: &str = "replay-nonce";
/// The nonce is too old, or was used: the answer has another one.
const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";
/// Bytes of a coordinate of P-256, and of each half of its signatures (RFC 7518 §3.4).
const COORDINATE: usize = 32;

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegisterError {
    /// It cannot be asked.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It has said no.
    #[error(transparent)]
    Server(#[from] Error),
    /// The key cannot sign.
    #[error("the account's key cannot be used: {0}")]
    Key(#[from] ErrorStack),
    /// It has not done it, and says nothing that could be read of why.
    #[error("the ACME server answers {status} when it is asked for {what}")]
    Status {
        what: &'static str,
        status: StatusCode,
    },
    /// What it says is no directory, no nonce, or no account.
    #[error("the ACME server's answer has no {0}")]
    Lacks(&'static str),
}

/// An account elsewhere that the new one is tied to (RFC 8555 §7.3.4).
pub(super) struct Binding {
    pub(super) id: String,
    pub(super) key: Secret,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    new_nonce: String,
    new_account: String,
}

/// Has the server make an account for a key in PKCS#8, or find the one that it has; answers its URL.
pub(super) async fn register(
    client: &Client,
    directory: &str,
    key: &Secret,
    contact: Option<&str>,
    binding: Option<&Binding>,
) -> Result<String, RegisterError> {
    let key = PKey::private_key_from_pkcs8(key.reveal())?.ec_key()?;
    let asked = ask(client, Method::GET, directory, None).await?;
    check(&asked, "its directory")?;
    let found: Directory =
        serde_json::from_slice(asked.body()).map_err(|_other| RegisterError::Lacks("directory"))?;
    let answer = ask(client, Method::HEAD, &found.new_nonce, None).await?;
    check(&answer, "a nonce")?;
    let mut nonce = nonce_in(answer.headers());
    for _ in 0..ACME_NONCES {
        let fresh = nonce.take().ok_or(RegisterError::Lacks("nonce"))?;
        let request = new_account(&key, &found.new_account, &fresh, contact, binding)?;
        let answer = ask(client, Method::POST, &found.new_account, Some(request)).await?;
        match check(&answer, "an account") {
            Ok(()) => return account_in(answer.headers()),
            Err(RegisterError::Server(Error::Api(problem)))
                if problem.r#type.as_deref() == Some(BAD_NONCE) => {}
            Err(error) => return Err(error),
        }
        nonce = nonce_in(answer.headers());
    }
    Err(RegisterError::Lacks("nonce that it takes"))
}

/// Whether it has done what it was asked for: nothing is read in an answer before that is known.
fn check(answer: &Response<Bytes>, what: &'static str) -> Result<(), RegisterError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let read = serde_json::from_slice::<Problem>(answer.body()).ok();
    // A page of a proxy in front may be JSON, too.
    let problem = read.filter(|problem| problem.r#type.is_some() || problem.detail.is_some());
    Err(match problem {
        Some(problem) => Error::Api(problem).into(),
        None => RegisterError::Status { what, status },
    })
}

/// The URL of the account that was made or found (RFC 8555 §7.3). An empty one would be taken for none at the
/// next start.
fn account_in(headers: &HeaderMap) -> Result<String, RegisterError> {
    let url = headers.get(header::LOCATION);
    let url = url.and_then(|url| url.to_str().ok()).map(str::trim);
    let url = url.filter(|url| !url.is_empty());
    let url = url.ok_or(RegisterError::Lacks("URL of the account in `Location`"))?;
    Ok(url.to_owned())
}

async fn ask(
    client: &Client,
    method: Method,
    url: &str,
    body: Option<Value>,
) -> Result<Response<Bytes>, RegisterError> {
    let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header(
            header::USER_AGENT,
            concat!("postern/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::CONTENT_TYPE, "application/jose+json")
        .body(BodyWrapper::from(body))
        .map_err(|_no_url| RegisterError::Lacks("URL that can be asked"))?;
    Ok(client.clone().ask(request).await?)
}

fn nonce_in(headers: &HeaderMap) -> Option<String> {
    let nonce = headers.get(REPLAY_NONCE)?.to_str().ok()?;
    Some(nonce.to_owned())
}

/// The signed request (RFC 8555 §7.3).
fn new_account(
    key: &EcKey<Private>,
    url: &str,
    nonce: &str,
    contact: Option<&str>,
    binding: Option<&Binding>,
) -> Result<Value, ErrorStack> {
    let public = public_key(key)?;
    // No directory is configured without it.
    let mut wanted = Map::from_iter([("termsOfServiceAgreed".to_owned(), json!(true))]);
    if let Some(mail) = contact {
        wanted.insert("contact".into(), json!([format!("mailto:{mail}")]));
    }
    if let Some(binding) = binding {
        let head = json!({ "alg": "HS256", "kid": binding.id, "url": url });
        let sign = |text: &[u8]| Ok(hmac_sha256(binding.key.reveal(), text)?.to_vec());
        let bound = signed(&head, &public, sign)?;
        wanted.insert("externalAccountBinding".into(), bound);
    }
    let head = json!({ "alg": "ES256", "jwk": public, "nonce": nonce, "url": url });
    signed(&head, &Value::Object(wanted), |text| {
        let signature = EcdsaSig::sign(&sha256(text), key)?;
        let halves = [signature.r(), signature.s()].map(|half| half.to_vec_padded(COORDINATE));
        let [r, s] = halves;
        Ok([r?, s?].concat())
    })
}

/// The public half as a JWK (RFC 7518 §6.2).
fn public_key(key: &EcKey<Private>) -> Result<Value, ErrorStack> {
    let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
    let mut context = BigNumContext::new()?;
    let group = key.group();
    key.public_key()
        .affine_coordinates_gfp(group, &mut x, &mut y, &mut context)?;
    let text = |number: &BigNum| -> Result<String, ErrorStack> {
        Ok(encoded(&number.to_vec_padded(COORDINATE)?))
    };
    Ok(json!({ "kty": "EC", "crv": "P-256", "x": text(&x)?, "y": text(&y)? }))
}

/// A JWS in the flattened form (RFC 7515 §7.2.2).
fn signed(
    head: &Value,
    payload: &Value,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, ErrorStack>,
) -> Result<Value, ErrorStack> {
    let [head, payload] = [head, payload].map(|part| encoded(part.to_string().as_bytes()));
    let signature = sign(format!("{head}.{payload}").as_bytes())?;
    Ok(json!({ "protected": head, "payload": payload, "signature": encoded(&signature) }))
}

fn encoded(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_status_of_an_answer_counts_before_what_is_in_it() {
        let directory = r#"{ "newNonce": "https://a.test/n", "newAccount": "https://a.test/a" }"#;
        let problem = r#"{ "type": "urn:ietf:params:acme:error:rateLimited", "detail": "slower" }"#;
        for (status, body, says) in [
            (200, directory, None),
            (201, "", None),
            (503, directory, Some("answers 503")),
            (502, "<html>bad gateway</html>", Some("answers 502")),
            (404, "{}", Some("answers 404")),
            (301, "", Some("answers 301")),
            (429, problem, Some("slower")),
        ] {
            let answer = Response::builder().status(status);
            let answer = answer.body(Bytes::from_static(body.as_bytes())).unwrap();
            let told = check(&answer, "its directory").map_err(|error| error.to_string());
            match (told, says) {
                (Ok(()), None) => {}
                (Err(told), Some(says)) => assert!(told.contains(says), "{status}: {told}"),
                (told, _) => panic!("{status}: {told:?}"),
            }
        }
    }

    #[test]
    fn an_account_without_a_url_is_none() {
        let mut headers = HeaderMap::new();
        for url in [None, Some(""), Some("  ")] {
            if let Some(url) = url {
                headers.insert(header::LOCATION, HeaderValue::from_static(url));
            }
            let why = account_in(&headers).unwrap_err().to_string();
            assert!(why.contains("`Location`"), "{url:?}: {why}");
        }
        let url = "https://acme.test/account/1";
        headers.insert(header::LOCATION, HeaderValue::from_static(url));
        assert_eq!(account_in(&headers).unwrap(), url);
    }
}
