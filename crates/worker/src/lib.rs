//! The extension module `rgunicorn._rgunicorn`: what runs inside forkserver and workers.
//!
//! `engine` is HTTP behind one pollable descriptor; `wsgi` turns a request into a call of the app; `access_log` writes its
//! line. `fork`, `title` and `sys` are the only modules with `unsafe`, besides the FFI fast paths in `wsgi::ffi`.

mod access_log;
mod channel;
mod engine;
mod fork;
mod json;
mod link;
mod log_writer;
mod sys;
mod title;
mod wakeup;
mod wsgi;

use pyo3::prelude::*;

/// The module as Python sees it.
#[pymodule]
fn _rgunicorn(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("WIRE_VERSION", rgunicorn_wire::WIRE_VERSION)?;
    module.add("BUILD_ID", rgunicorn_wire::BUILD_ID)?;
    module.add("VERSION", rgunicorn_wire::VERSION)?;
    module.add("GUNICORN_VERSION", rgunicorn_wire::GUNICORN_VERSION)?;
    module.add_function(wrap_pyfunction!(fork::fork_worker, module)?)?;
    module.add_function(wrap_pyfunction!(title::set_title, module)?)?;
    module.add_function(wrap_pyfunction!(sys::socket_name, module)?)?;
    module.add_function(wrap_pyfunction!(sys::exit_within, module)?)?;
    module.add_class::<channel::Channel>()?;
    module.add_class::<wakeup::WakeupFd>()?;
    module.add_class::<log_writer::LogWriter>()?;
    module.add_class::<link::Link>()?;
    module.add_class::<engine::Engine>()?;
    module.add_class::<wsgi::FileWrapper>()?;
    module.add_class::<wsgi::Input>()?;
    Ok(())
}
