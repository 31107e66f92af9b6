# Run by `python -c THIS FD PACKAGE_DIR EXTENSION PADDING`: makes the interpreter an rgunicorn forkserver. Old syntax only:
# an interpreter that is too old has to get as far as the check.
import sys


def _refuse(why):
    sys.stderr.write("rgunicorn: %s is %s; rgunicorn needs CPython 3.10 or newer\n" % (sys.executable, why))
    sys.exit(1)


def _start():
    version = "%d.%d" % sys.version_info[:2]
    implementation = getattr(getattr(sys, "implementation", None), "name", "an unknown Python")
    if sys.version_info < (3, 10):
        _refuse("Python " + version)
    if implementation != "cpython":
        _refuse("%s %s" % (implementation, version))
    if "t" in sys.abiflags:
        _refuse("a free-threaded build of Python " + version)
    fd, package_dir, extension = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    # `-c` put the working directory there; the app's path is settled by the settings.
    if sys.path and sys.path[0] == "" and not getattr(sys.flags, "safe_path", False):
        del sys.path[0]

    import importlib.util as util

    def load(name, path, search=None):
        spec = util.spec_from_file_location(name, path, submodule_search_locations=search)
        module = util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    package = package_dir + "/rgunicorn"
    rgunicorn = load("rgunicorn", package + "/__init__.py", [package])
    rgunicorn._rgunicorn = load("rgunicorn._rgunicorn", extension)
    # Nothing of this is to be seen in `__main__`, where multiprocessing and the app may look.
    for name in ("_start", "_refuse", "sys"):
        del globals()[name]
    from rgunicorn.forkserver import main

    main(fd)


_start()
