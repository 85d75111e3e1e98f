//! What a verification asks of BoringSSL beyond what boring shows.

use std::ffi::c_int;

use boring::error::ErrorStack;
use boring::x509::verify::X509VerifyParamRef;
use boring::x509::{X509Ref, X509StoreContextRef};
use foreign_types::ForeignTypeRef;

/// Requires clientAuth wherever an extendedKeyUsage is there (RFC 5280 §4.2.1.12).
pub(crate) fn set_purpose_tls_client(
    parameters: &mut X509VerifyParamRef,
) -> Result<(), ErrorStack> {
    // SAFETY: `X509_VERIFY_PARAM_set_purpose` wants a live parameter object; the reference is one,
    // borrowed exclusively for the length of the call.
    let done = unsafe {
        boring_sys::X509_VERIFY_PARAM_set_purpose(
            parameters.as_ptr(),
            boring_sys::X509_PURPOSE_SSL_CLIENT,
        )
    };
    if done == 1 {
        Ok(())
    } else {
        Err(ErrorStack::get())
    }
}

/// Makes a verification go on where BoringSSL cannot verify a name constraint's type, or takes a
/// client's common name for a host's. It says so in the end: the result is
/// `UNSUPPORTED_CONSTRAINT_TYPE` or `NAME_CONSTRAINTS_WITHOUT_SANS`, and all constraints are the
/// caller's to check.
pub(crate) fn leave_constraints(context: &mut X509StoreContextRef) {
    // SAFETY: the reference is a live context, and the callback is a function of the type asked
    // for that lives as long as the program.
    unsafe {
        boring_sys::X509_STORE_CTX_set_verify_cb(context.as_ptr(), Some(go_on));
    }
}

unsafe extern "C" fn go_on(ok: c_int, context: *mut boring_sys::X509_STORE_CTX) -> c_int {
    // SAFETY: BoringSSL passes the context that it works on, which outlives the call.
    let error = unsafe { boring_sys::X509_STORE_CTX_get_error(context) };
    let is_left = [
        boring_sys::X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE,
        boring_sys::X509_V_ERR_NAME_CONSTRAINTS_WITHOUT_SANS,
    ]
    .contains(&error);
    c_int::from(ok == 1 || is_left)
}

/// What BoringSSL has read in a certificate's extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExtensionFacts {
    /// One is critical and not understood.
    pub(crate) has_unknown_critical: bool,
    /// Subject and issuer have one name.
    pub(crate) is_self_issued: bool,
    /// How many issuers may stand between it and a leaf.
    pub(crate) path_length: Option<u32>,
    /// It may issue certificates of TLS clients, by keyUsage and extendedKeyUsage.
    pub(crate) issues_tls_clients: bool,
}

/// Reads them; `None` when an extension is malformed.
pub(crate) fn extension_facts(certificate: &X509Ref) -> Option<ExtensionFacts> {
    let certificate = certificate.as_ptr();
    // SAFETY: the reference is a live certificate; what is computed of it BoringSSL keeps in it,
    // under a lock of its own.
    let flags = unsafe { boring_sys::X509_get_extension_flags(certificate) };
    // SAFETY: as above.
    let path_length = unsafe { boring_sys::X509_get_pathlen(certificate) };
    // SAFETY: as above.
    let purpose = unsafe {
        boring_sys::X509_check_purpose(certificate, boring_sys::X509_PURPOSE_SSL_CLIENT, 1)
    };
    let has = |flag: i32| flags & flag.cast_unsigned() != 0;
    (!has(boring_sys::EXFLAG_INVALID)).then(|| ExtensionFacts {
        has_unknown_critical: has(boring_sys::EXFLAG_CRITICAL),
        is_self_issued: has(boring_sys::EXFLAG_SI),
        path_length: u32::try_from(path_length).ok(),
        issues_tls_clients: purpose == 1,
    })
}
