//! The extension module `rgunicorn._rgunicorn`: engine, gateways, access log.
