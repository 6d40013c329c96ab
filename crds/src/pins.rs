//! The grammar of pins in a pod template ([`CONFIG`](crate::names::CONFIG)), for all that reads them: the policy that carries
//! them out as CEL, and the decisions. One table of cases is run through both.

/// One entry: the source as it is written once and for all, and the end of a copy's name (one of three lengths), or that
/// there was no object.
pub const PIN: &str = "^(cm|secret)/[a-z0-9.-]{1,253}=([0-9a-f]{10}|[0-9a-f]{20}|[0-9a-f]{32}|absent)$";

/// Annotations, and which pins they hold.
pub const CASES: &[(&str, &str)] = &[
    ("", ""),
    ("cm/web=0123456789", "cm/web=0123456789"),
    ("secret/web=0123456789,cm/web=abcdef0123", "cm/web=abcdef0123,secret/web=0123456789"),
    ("cm/web=01234567890123456789", "cm/web=01234567890123456789"),
    ("cm/web=01234567890123456789012345678901", "cm/web=01234567890123456789012345678901"),
    ("cm/web=absent", "cm/web=absent"),
    // The first of two counts, of those that are pins.
    ("cm/web=0123456789,cm/web=9999999999", "cm/web=0123456789"),
    ("cm/web=x,cm/web=9999999999", "cm/web=9999999999"),
    // Nothing but a copy's name.
    ("cm/web=1", ""),
    ("cm/web=db", ""),
    ("cm/web=012345678", ""),
    ("cm/web=01234567890", ""),
    ("cm/web=012345678g", ""),
    ("cm/web=ABCDEF0123", ""),
    ("cm/web=absent2", ""),
    ("cm/web=../../../db", ""),
    // One way to write a source.
    ("configmap/web=0123456789", ""),
    ("configmaps/web=0123456789", ""),
    ("secrets/web=0123456789", ""),
    ("CM/web=0123456789", ""),
    ("sec/web=0123456789", ""),
    (" cm/web=0123456789", ""),
    ("cm/web =0123456789", ""),
    ("cm/web=0123456789 ", ""),
    ("cm/web=0123456789\n", ""),
    ("cm/Web=0123456789", ""),
    ("cm/=0123456789", ""),
    ("web=0123456789", ""),
    ("pod/web=0123456789", ""),
    ("cm/web", ""),
    ("cm/web=", ""),
    ("cm/web=0123456789=0123456789", ""),
    (",,=,=", ""),
];
