"""What the course's notebooks and command line call. Importing this package changes nothing."""

import sys

# nbformat imports jsonschema, and that a package which builds 35 parsers (2 s of every start) for
# a kind of address that no notebook holds; jsonschema does without where it is not installed.
_SLOW = "rfc3987_syntax"
if not {_SLOW, "jsonschema"} & sys.modules.keys():
    sys.modules[_SLOW] = None  # type: ignore[assignment]  # the import system's word for "not here"
    try:
        import jsonschema  # noqa: F401
    except ImportError:
        pass  # tools.doctor says what is not installed
    finally:
        del sys.modules[_SLOW]
