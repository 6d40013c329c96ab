//! The chart `charts/trimtab`, with both versions of Helm: what it renders for all kinds of values, what it refuses, what its
//! alerts do, and how it is installed, upgraded and removed. Whether the manager then works is `install`.

mod alerts;
mod lifecycle;
mod rendered;
mod roles;
mod values;
