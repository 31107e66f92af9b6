//! Python's wake-up descriptor for signals: the worker's, but code that the app runs may take it (asyncio.run leaves it at
//! -1).
//!
//! To put it back after every request would cost two system calls each time, since `signal.set_wakeup_fd` looks at the
//! descriptor. So this stands in its place and notes who calls it.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// In the place of `signal.set_wakeup_fd`.
#[pyclass(frozen, module = "rgunicorn._rgunicorn")]
pub struct WakeupFd {
    original: Py<PyAny>,
    taken: AtomicBool,
}

#[pymethods]
impl WakeupFd {
    /// Around the original.
    #[new]
    fn new(original: Py<PyAny>) -> Self {
        WakeupFd { original, taken: AtomicBool::new(false) }
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn __call__(
        &self,
        py: Python<'_>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        self.taken.store(true, Ordering::Relaxed);
        self.original.call(py, args, kwargs)
    }
}

impl WakeupFd {
    /// Whether somebody has set another descriptor since this was last asked.
    pub fn taken(&self) -> bool {
        self.taken.swap(false, Ordering::Relaxed)
    }

    /// Makes signals write to this descriptor.
    pub fn set(&self, py: Python<'_>, fd: std::os::fd::RawFd) -> PyResult<()> {
        let kwargs = PyDict::new(py);
        kwargs.set_item("warn_on_full_buffer", false)?;
        self.original.call(py, (fd,), Some(&kwargs)).map(|_| ())
    }
}
