"""The first file of gateway.pyz that runs: any Python since 2.6 can read it, and is told if it is too old."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("gateway: Python 3.11 or later is needed, and this is Python %d.%d" % sys.version_info[:2])  # noqa: UP031

import pyz_start

pyz_start.start()
