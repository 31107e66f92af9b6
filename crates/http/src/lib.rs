//! HTTP/1.x as a state machine: bytes in, events out. No sockets, no clock, no Python.
