//! Process configuration: sysctl-style text to [`Config`].
